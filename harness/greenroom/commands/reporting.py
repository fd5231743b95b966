"""From a task to the shell: exit codes, and errors as one clear message instead of a traceback."""

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
    """Run `python -m MODULE ARGUMENTS` here, its output going straight through."""
    try:
        argv = shlex.split(arguments)
    except ValueError as error:
        raise Misuse(f"cannot read {arguments!r}: {error}") from None
    return subprocess.run([sys.executable, "-m", module, *argv], check=False).returncode
