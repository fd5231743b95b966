"""Become another program that dies when its parent dies. Run as a script: `launcher.py PARENT_PID COMMAND...`.

`preexec_fn` would do the same in fewer lines, but it is not safe with threads. The kernel keeps the wish across exec
(prctl(2), PR_SET_PDEATHSIG), so the pid is the program's own. SIGKILL, because a paused program must die as well.
Elsewhere than on Linux it only runs the program; the run manifest then does the work at the next start.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> int:
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the wish was made
            return 1
    try:
        os.execvp(command[0], command)  # noqa: S606 - a list, never a shell
    except OSError as error:
        print(f"cannot run {command[0]}: {error.strerror}", file=sys.stderr)
        return 127


if __name__ == "__main__":
    sys.exit(main())
