"""The installed command `greenroom`: the same tasks as `invoke` in the checkout."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from invoke.program import Program

from greenroom.commands.tasks import namespace


def main() -> None:
    """Run the command line."""
    try:
        ours = version("matrix-greenroom")
    except PackageNotFoundError:  # imported from a checkout that is not installed
        ours = "unknown"
    Program(name="Greenroom", binary="greenroom", namespace=namespace, version=ours).run()
