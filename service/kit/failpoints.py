"""Places where a process can be made to die, for the fault runs (`make faults`): as by `kill -9`, at an exact step.

`BIDDEN_FAILPOINT=NAME` or `NAME:N` kills the process at the first or the N-th hit of that place. Without it a hit is one
comparison. It is no setting: nobody sets it who wants mail to be sent.
"""

import os
import re
import signal

from service.kit.errors import Invalid

VARIABLE = "BIDDEN_FAILPOINT"

# Every place, in the order in which a mail meets them; tests/faults holds that each stands in the code and is reached.
NAMES = (
    "start.before_commit",  # an announcement whose time has come: its mailing is made, not committed
    "freeze.in_chunk",  # a chunk of the audience is inserted, not committed
    "freeze.between",  # a chunk is committed, the audience not closed
    "freeze.at_close",  # batches are cut and counted, not committed
    "claim.before_commit",  # T1: the gate is passed and the warrants are noted, not committed
    "claim.after_commit",  # T1 is committed, the sender has not taken the batch up
    "mail",  # before MAIL; pipelined, of a connection's first letter only: the others share a dot's write
    "rcpt",  # before RCPT, to a server without pipelining
    "data",  # before DATA, to a server without pipelining
    "mark.before",  # before S, the journal's line before a dot
    "mark.after",  # after S
    "dot",  # before the write that holds a dot
    "dot.after",  # after it
    "reply.before",  # the server's answer is here, R is not written
    "reply.after",  # R is written
    "record.before",  # before T2
    "record.before_commit",  # T2: the outcomes are inserted, not committed
    "record.after_commit",  # T2 is committed, the sender does not know it yet
    "recover.before_commit",  # a dead sender's batch is settled, not committed
    "recover.after_commit",  # it is committed, the dead sender's journal still lies there
    "finish.before_commit",  # a mailing is counted and sent, not committed
    "withdrawal.before_commit",  # something is taken away, not committed
    "withdrawal.after_commit",  # it is committed, not yet on the second path, and nobody was told
    "withdrawal.before_answer",  # every sender knows, nobody was told
)

_armed = ""
_left = 0


class FailpointUnknown(Invalid):
    """BIDDEN_FAILPOINT is the name of a failpoint or NAME:N; service/kit/failpoints.py lists them."""


def arm() -> None:
    """Read the variable, once at start. Raises FailpointUnknown."""
    global _armed, _left
    said = os.environ.get(VARIABLE, "")
    name, _, nth = said.partition(":")
    if said and (name not in NAMES or not re.fullmatch("[1-9][0-9]{0,8}|", nth)):
        raise FailpointUnknown
    _armed, _left = name, int(nth or 1)


def hit(name: str) -> None:
    """Die here, if this is the place and the time."""
    if name == _armed:
        _count_down()


def _count_down() -> None:
    global _left
    _left -= 1
    if _left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
