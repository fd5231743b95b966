"""The installed command `greenroom`: the same tasks as `invoke` in the checkout."""

from __future__ import annotations

import signal

# Blocked until the task can answer it (see `reporting.reported`): the imports below take a fifth of a second.
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})

from importlib.metadata import PackageNotFoundError, version  # noqa: E402

from invoke.program import Program  # noqa: E402

from greenroom.commands.tasks import namespace  # noqa: E402


def main() -> None:
    """Run the command line."""
    try:
        ours = version("matrix-greenroom")
    except PackageNotFoundError:  # imported from a checkout that is not installed
        ours = "unknown"
    Program(name="Greenroom", binary="greenroom", namespace=namespace, version=ours).run()
