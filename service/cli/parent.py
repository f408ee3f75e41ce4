"""How a process ends: by a signal, or with `bidden up` that started it, which no child outlives, not even one killed with -9.

Called by every command that runs until it is told to stop.
"""

import asyncio
import ctypes
import os
import signal
import sys
import threading

PARENT = "BIDDEN_PARENT"  # set for children by the supervisor: its process id
_PR_SET_PDEATHSIG = 1


def until_told(stop: asyncio.Event) -> None:
    """Set `stop` at the first SIGTERM or SIGINT; the next one ends the process at once (reliability 2.4)."""
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGTERM, signal.SIGINT)

    def told() -> None:
        stop.set()
        for number in numbers:
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)

    for number in numbers:
        loop.add_signal_handler(number, told)


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
