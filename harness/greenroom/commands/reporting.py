"""From a task to the shell: an exit code, and one clear message instead of a traceback."""

from __future__ import annotations

import errno
import functools
import os
import platform
import shlex
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable

from greenroom.errors import HarnessError, Misuse

OF_THE_MACHINE = {
    errno.ENOSPC: "free some space on that disk",
    errno.EDQUOT: "free some space: your quota is used up",
    errno.EROFS: "a folder that can be written to",
    errno.EACCES: "give yourself access to it, or use a folder of your own",
    errno.EPERM: "give yourself access to it, or use a folder of your own",
    errno.EMFILE: "a higher limit of open files (ulimit -n)",
    errno.ENOTDIR: "remove what is in the place of that folder",
    errno.EEXIST: "remove what is in the place of that folder",
    errno.EISDIR: "remove the folder that is in the place of that file",
}
"""Errors that no code can repair -> what a person can do."""


def reported(work: Callable[..., int]) -> Callable[..., None]:
    """Turn the result of a task into the exit code, and an error into one message and an exit code.

    A HarnessError has its own; Ctrl-C is 130 and a reader that went away (`| head`) 141, as in a shell; everything else
    is 1. What nobody foresaw goes into a report, with its traceback.
    """

    @functools.wraps(work)
    def run(*args: object, **kwargs: object) -> None:
        try:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # blocked until now by `tasks.py` or `cli.py`
            code = work(*args, **kwargs)
            sys.stdout.flush()
        except BrokenPipeError:
            code = 128 + signal.SIGPIPE
            _give_up_stdout()
        except (Exception, KeyboardInterrupt) as error:
            message, code = explained(error)
            print(f"greenroom: {message}", file=sys.stderr)
            try:
                sys.stdout.flush()
            except OSError:
                _give_up_stdout()
        # After a Ctrl-C inside an `exec` (as when a dataclass is made), `python -m` ends itself with SIGINT, whatever
        # the exit code is. While SIGINT is blocked it cannot (seen with Python 3.11).
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        if code:
            sys.exit(code)

    return run


def _give_up_stdout() -> None:
    """Send what is left of the output nowhere: Python flushes it once more at its end, and would fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def explained(error: BaseException) -> tuple[str, int]:
    """Return the message about an error, and its exit code."""
    if isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        return explained(error.exceptions[0])
    if isinstance(error, HarnessError):
        return str(error), error.exit_code
    # Until 3.12 Python wraps what is raised while a class gives its attributes their names, even a Ctrl-C.
    if isinstance(error, KeyboardInterrupt) or isinstance(error.__cause__, KeyboardInterrupt):
        return "interrupted", 130
    if isinstance(error, OSError) and error.errno in OF_THE_MACHINE:
        path = error.filename2 or error.filename  # of a rename the target: the source is a draft of ours
        where = f"{path}: " if path else ""
        return f"{where}{error.strerror}. Try: {OF_THE_MACHINE[error.errno]}", 1
    return f"{type(error).__name__}: {error}. This should not happen; please report it with {written_report(error)}", 1


def written_report(error: BaseException) -> str:
    """Write what is known about an unforeseen error into a private file, and return its path."""
    with tempfile.NamedTemporaryFile("w", prefix="greenroom-report-", suffix=".txt", delete=False) as report:
        report.write(f"{platform.platform()}, Python {platform.python_version()}, {shlex.join(sys.argv)}\n\n")
        report.writelines(traceback.format_exception(error))
    return report.name


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
