"""What a dead sender had in hand, settled by its journal: reply known, dot without reply, or never sent.

Called by a sender when it starts, for every journal in its directory that nobody holds; and when the database failed it, for
what it may have claimed without knowing.
"""

import asyncio
import random
import time
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

from sqlmodel import Session

from scheduler import journal
from scheduler.database import NEVER, Database
from scheduler.lease import Lease
from service.domain.brands import queries as settings
from service.domain.deliveries import claims
from service.domain.deliveries.rules import Result
from service.kit import clock, failpoints
from service.mail.replies import Reply, classify
from service.ops import restored
from service.ops.house import House

LOOKS = 1.0  # seconds between two looks whether an older copy has been merged
IN_DOUBT = 60.0  # seconds after the database failed us in which it may still do what we asked of it
WAIT = 0.05  # seconds between two looks whether another sender is done with our former journal


async def recover_all(
    house: House, database: Database, own: journal.Journal, *, chance: random.Random
) -> None:
    """Settle every journal that nobody holds; ends when none is left of this sender's own name, whoever settles it.

    Another sender may be at work on our former incarnation's: what we claimed meanwhile it would take for the dead one's. And
    first of all, whether this is the database they wrote to: of a copy from an earlier day a merge says what became of its claims.
    """
    while await _is_older_copy(house, database):  # noqa: ASYNC110 - another process merges
        await asyncio.sleep(LOOKS)
    directory, name = own.path.parent, journal.owner(own.path)
    while True:
        for dead in sorted({journal.owner(path) for path in journal.unlocked(directory)}):
            await recover(house, database, directory, dead, now=clock.now(), chance=chance)
        if not [
            path for path in directory.glob("*.journal") if path != own.path and journal.owner(path) == name
        ]:
            return
        await asyncio.sleep(WAIT)


async def recover_lost(house: House, name: str) -> int:
    """Settle the journals of a sender that is gone, as far as they lie here and nobody holds them; how many there were. None in an
    older copy of the database."""
    if name not in map(journal.owner, journal.unlocked(house.settings.journals)):
        return 0
    with ThreadPoolExecutor(1) as executor:
        database = Database(house.engine, executor)
        if await _is_older_copy(house, database):
            return 0
        chance = random.SystemRandom()
        return await recover(house, database, house.settings.journals, name, now=clock.now(), chance=chance)


async def _is_older_copy(house: House, database: Database) -> bool:
    """Whether nobody has merged yet what this database does not have. Outcomes that it lacks were settled in the journals long ago:
    these say no more of its claims, and must not make them unsent."""
    await database.run(lambda: restored.hold(house, now=clock.now()))
    return bool(await database.read(settings.noted_behind))


async def recover(
    house: House, database: Database, directory: Path, name: str, *, now: datetime, chance: random.Random
) -> int:
    """End every batch of a dead sender by all the journals it left, and remove them; how many there were. Nothing when somebody
    else is at it."""
    with journal.claim_all(directory, name) as paths:
        if not paths:
            return 0
        journals = await database.run(lambda: [journal.read(path) for path in paths])
        known, unnamed = journal.merged(journals, journal.boot_id())
        dead = {one.incarnation for one in journals}

        def fate(mailing: int, pos: int, attempt: int) -> Result:
            return _fate(pos, attempt, known.get((mailing, pos, attempt), unnamed))

        for batch in await database.read(lambda session: claims.orphaned(session, name, dead)):

            def settle(session: Session, batch: int = batch) -> None:
                claims.recover(session, house.ring, batch, fate, waits=house.waits, now=now, chance=chance)

            await database.write(settle)
            failpoints.hit("recover.after_commit")
        for path in paths:
            path.unlink(missing_ok=True)
        return len(paths)


async def give_back(
    house: House, lease: Lease, held: Collection[int], *, ends: bool = False, chance: random.Random
) -> None:
    """A claim whose commit nobody answered may stand all the same, and was made a second time for other batches: nothing of
    it was ever in hand, so it goes back unsent (reliability 2.3, step 1). Looked for since the database has failed us until it can
    do nothing of it any more, once then too; and always by a sender that `ends`, which may have failed between a claim and taking it
    up: its journal goes with it, and nobody would look again. An older copy may call claimed what was recorded long ago: there
    it is left to the merge."""
    database = lease.database
    failed, looks = database.failed, time.monotonic()
    if failed == NEVER and not ends:
        return
    now = clock.now()

    def unsent(mailing: int, pos: int, attempt: int) -> Result:
        return Result(pos, attempt, "reclaim")

    for batch in await database.read(lambda session: claims.forgotten(session, lease.incarnation, held)):

        def end(session: Session, batch: int = batch) -> None:
            if lease.is_behind(session) or settings.noted_behind(session):
                return
            claims.recover(session, house.ring, batch, unsent, waits=house.waits, now=now, chance=chance)

        await database.write(end)
    if looks >= failed + IN_DOUBT and database.failed == failed:
        database.failed = NEVER


def _fate(pos: int, attempt: int, known: journal.Answer | str) -> Result:
    """What a journal's word on a position makes of it."""
    if isinstance(known, journal.Answer):
        verdict = classify(Reply(known.code, known.enhanced, ""), "dot")
        reason = "" if verdict.state == "sent" else verdict.reason
        return Result(pos, attempt, verdict.state, reason, known.code, suppress=verdict.suppress)
    if known == "unknown":
        return Result(pos, attempt, "unknown", "sender_died")
    return Result(pos, attempt, "reclaim")
