"""The tools of the fault runs do what they say: else a run that holds would prove nothing."""

import subprocess
import sys

import pytest

from tests.faults import machine, play

WRITES = "import os\nfor n in range(200): os.write(2, b'x')"


@pytest.mark.parametrize(("what", "code"), [("signal=KILL:when=100", -9), ("error=EIO:when=100", 1)])
def test_the_hundredth_call_is_the_one(what: str, code: int) -> None:
    try:
        command = machine.inject("write", what)
    except machine.Missing as missing:
        if play.COMPLETE:
            raise
        pytest.skip(str(missing))
    done = subprocess.run([*command, sys.executable, "-c", WRITES], capture_output=True, timeout=60)
    assert done.returncode == code
    assert done.stderr.startswith(b"x" * 90)
    assert len(done.stderr.partition(b"T")[0].rstrip()) < 101
