"""A worker of `pytest -n` whose controller was killed would work on for nobody, and keep its homeserver running."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # prctl(2)


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent ends. Elsewhere than on Linux this does nothing."""
    if sys.platform != "linux":
        return
    parent = os.getppid()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the wish was made
        os.kill(os.getpid(), signal.SIGKILL)
