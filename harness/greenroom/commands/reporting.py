"""From a task to the shell: an exit code, and one clear message instead of a traceback."""

from __future__ import annotations

import functools
import shlex
import subprocess
import sys
from collections.abc import Callable

from greenroom.errors import HarnessError, Misuse


def reported(work: Callable[..., int]) -> Callable[..., None]:
    """Turn the result of a task into the exit code, and a HarnessError into its message and exit code."""

    @functools.wraps(work)
    def run(*args: object, **kwargs: object) -> None:
        try:
            code = work(*args, **kwargs)
        except HarnessError as error:
            print(f"greenroom: {error}", file=sys.stderr)
            code = error.exit_code
        except KeyboardInterrupt:
            code = 130
        if code:
            sys.exit(code)

    return run


def run_tool(module: str, arguments: str) -> int:
    """Run a tool in the working directory as its own script would run, and return its exit code.

    `python -m` alone would put the working directory on the tool's path (hence -P).
    """
    return subprocess.run([sys.executable, "-P", "-m", module, *split(arguments)], check=False).returncode


def split(arguments: str) -> list[str]:
    """Split `--args` as a shell would. Raises Misuse if a quote is left open."""
    try:
        return shlex.split(arguments)
    except ValueError as error:
        raise Misuse(f"cannot read --args {arguments!r}: {error}") from None
