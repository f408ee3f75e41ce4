"""The places where fault runs let a process die: named in one list, each really in the code, unknown names refused."""

import ast
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from service.kit import failpoints

ROOT = Path(__file__).parents[2]
STEPS = {"mail", "rcpt", "data", "dot"}  # of the wire, hit by one line


def _placed() -> list[str]:
    """What the calls of `hit` name; the one that names a step of the wire stands for all of them."""
    names = []
    for path in [*(ROOT / "service").rglob("*.py"), *(ROOT / "scheduler").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "failpoints.hit":
                [name] = node.args
                names += [name.value] if isinstance(name, ast.Constant) else sorted(STEPS)
    return names


def test_every_failpoint_stands_in_the_code_once() -> None:
    assert sorted(_placed()) == sorted(failpoints.NAMES)


@pytest.mark.parametrize("said", ["mark.befor", "mark.before:0", "mark.before:x", "mark.before:-1", ":2x"])
def test_an_unknown_name_is_refused_at_start(tmp_path: Path, said: str) -> None:
    environment = os.environ | {"BIDDEN_FAILPOINT": said, "BIDDEN_DATA_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "service", "doctor"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "BIDDEN_FAILPOINT is the name of a failpoint or NAME:N" in done.stderr


def test_the_named_hit_kills_and_no_other() -> None:
    program = (
        "from service.kit import failpoints; failpoints.hit('mark.after'); failpoints.arm();"
        "[(print(n, flush=True), failpoints.hit('dot'), failpoints.hit('mark.after')) for n in range(5)]"
    )
    for said, code, lines in (("mark.after:3", -signal.SIGKILL, 3), ("", 0, 5), ("mark.before", 0, 5)):
        done = subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | {"BIDDEN_FAILPOINT": said},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, len(done.stdout.splitlines())) == (code, lines)
