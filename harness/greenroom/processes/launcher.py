"""Replace this process by a program that dies with its parent. Run as a script: `launcher.py with PARENT COMMAND...`.

`preexec_fn` would do the same in fewer lines, but it is not safe with threads. The kernel keeps the setting across exec
(prctl(2), PR_SET_PDEATHSIG), so the pid is the program's own. The signal is SIGKILL because a paused program must die
too. Outside Linux this only runs the program, and the next run ends a program that was left behind (see `runs.py`).

A program that outlives its parent must be noted before it does anything, or nobody would ever find it. With
`launcher.py after DESCRIPTOR COMMAND...` it begins when a byte arrives over that pipe. If the pipe ends, it never does.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # prctl(2)


def die_with_parent(parent: int) -> bool:
    """Ask the kernel to kill this process when `parent` ends. Return False if `parent` has ended already."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    return sys.platform != "linux" or os.getppid() == parent


def may_begin(gate: int) -> bool:
    """Wait for the byte that lets the program begin. Return False if whoever would send it has ended."""
    with open(gate, "rb", buffering=0) as opened:
        return bool(opened.read(1))


def main() -> int:
    """Run the command that the arguments name, in this process."""
    how, number, *command = sys.argv[1:]
    if not (die_with_parent if how == "with" else may_begin)(int(number)):
        return 1
    try:
        os.execvp(command[0], command)  # noqa: S606 - a list, never a shell
    except OSError as error:
        print(f"cannot run {command[0]}: {error.strerror}", file=sys.stderr)
        return 127


if __name__ == "__main__":
    sys.exit(main())
