"""The fault runs with the version before beside this one, on this one's schema (reliability 2.4: expand, migrate, contract).

The version before is what git has of the last commit without the newest migration. Played by `make faults`;
where there is no such history there are no trials.
"""

import atexit
import random
import shutil
import subprocess
import tempfile
import time
from functools import cache, partial
from pathlib import Path

import httpx2

from tests.faults.database_runs import home
from tests.faults.runs import Seen, Trial
from tests.faults.town import SLOWLY, Town, has_begun, wait_for
from tests.stack import until

ROOT = Path(__file__).parents[2]
SEVERAL_BATCHES = 1_600  # people, so that each of two senders has some
MIGRATIONS = Path("service/db/migrations/versions")


@cache
def older() -> Path | None:
    """A folder with the version before, None where git does not know it."""
    newest = max((ROOT / MIGRATIONS).glob("[0-9]*.py")).name
    came = _git("log", "--diff-filter=A", "--format=%H", "--", str(MIGRATIONS / newest))
    if not came:
        return None
    archive = _git("archive", f"{came.decode().split()[-1]}^", "service", "scheduler", "templates")
    if not archive:
        return None
    folder = Path(tempfile.mkdtemp(prefix="bidden-older-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive, check=True)
    assert not (folder / MIGRATIONS / newest).exists()
    return folder


def _git(*arguments: str) -> bytes:
    try:
        return subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return b""


def side_by_side(town: Town, chance: random.Random, kind: str, first: str) -> Seen:
    """A sender and the doors of one version, a sender of the other; noes meanwhile; then the old sender is killed and this version
    takes its place, as in an upgrade. `first`: whose doors are open, `old` or `new`."""
    folder = older()
    assert folder is not None
    before = ("env", "-C", str(folder))
    with town.mailing(kind, *SLOWLY, people=SEVERAL_BATCHES) as made:
        if first == "old":
            town.end(town.web)
            town.web = town.start("web", under=before)
            until("the old version's web process", lambda: _lives(town), 60, 0.05)
        old = town.sender("one", under=before)
        town.sender("two")
        town.launch(made)
        wait_for(has_begun(made))
        wait_for(lambda: _both_at_work(town))
        time.sleep(chance.uniform(0, 0.3))
        if kind == "marketing":
            people = chance.sample(list(made.people.values()), 6)
            assert [town.withdraw(made, person) for person in people] == [200] * 6
        town.kill(made, old)
        town.again("web")
        town.sender("one")
        return home(town, made)


def _lives(town: Town) -> bool:
    """It may call itself not ready: versions before this one did, of a database that was made newer."""
    try:
        return httpx2.get(f"{town.stack.base_url}/livez", timeout=2).status_code == 200
    except httpx2.HTTPError:
        return False


def _both_at_work(town: Town) -> bool:
    """Whether each sender has written a line to its journal."""
    written = {
        path.name.split(".")[0] for path in town.journals.glob("*.journal") if path.stat().st_size > 100
    }
    return {"one", "two"} <= written


def ordinary(database: str) -> list[Trial]:
    """Both kinds, with either version's doors."""
    if older() is None:
        return []
    return [
        Trial("F31", f"version before, {kind}, {first} doors", partial(side_by_side, kind=kind, first=first))
        for kind in ("marketing", "important")
        for first in ("old", "new")
    ]
