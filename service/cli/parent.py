"""A child of `bidden up` never outlives it: not even when the parent was killed with -9."""

import ctypes
import os
import signal
import sys
import threading

PARENT = "BIDDEN_PARENT"  # set for children by the supervisor: its process id
_PR_SET_PDEATHSIG = 1


def watch() -> None:
    """End this process (SIGTERM) with the parent that started it; nothing when it was started by hand.

    On Linux the kernel does it (prctl(2) PR_SET_PDEATHSIG); elsewhere standard input is a pipe that closes with the
    parent.
    """
    started_by = os.environ.pop(PARENT, "")
    if not started_by.isdecimal():
        return
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != int(started_by):  # it went before we asked
            os.kill(os.getpid(), signal.SIGTERM)
    else:
        threading.Thread(target=_wait_for_the_end, daemon=True).start()


def _wait_for_the_end() -> None:
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)
