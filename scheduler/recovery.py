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
from scheduler.database import Database
from service.domain.deliveries import claims
from service.domain.deliveries.rules import Result
from service.kit import clock, failpoints
from service.mail.replies import Reply, classify
from service.ops.house import House

IN_DOUBT = 60.0  # seconds after the database failed us in which it may still do what we asked of it
WAIT = 0.05  # seconds between two looks whether another sender is done with our former journal


async def recover_all(
    house: House, database: Database, own: journal.Journal, *, chance: random.Random
) -> None:
    """Settle every journal that nobody holds; ends when none is left of this sender's own name, whoever settles it.

    Another sender may be at work on our former incarnation's: what we claimed meanwhile it would take for the dead one's.
    """
    directory, name = own.path.parent, own.path.name.rsplit(".", 2)[0]
    while True:
        for path in journal.unlocked(directory):
            await recover(house, database, path, now=clock.now(), chance=chance)
        if not [
            path
            for path in directory.glob("*.journal")
            if path != own.path and path.name.rsplit(".", 2)[0] == name
        ]:
            return
        await asyncio.sleep(WAIT)


async def recover_lost(house: House, name: str) -> int:
    """Settle the journals of a sender that is gone, as far as they lie here and nobody holds them; how many there were."""
    with ThreadPoolExecutor(1) as executor:
        database, found = Database(house.engine, executor), 0
        for path in journal.unlocked(house.settings.journals):
            if path.name.rsplit(".", 2)[0] == name:
                await recover(house, database, path, now=clock.now(), chance=random.SystemRandom())
                found += 1
        return found


async def recover(
    house: House, database: Database, path: Path, *, now: datetime, chance: random.Random
) -> None:
    """End every batch of the journal's sender and remove the journal; nothing when somebody else holds it."""
    with journal.claim(path) as mine:
        if not mine:
            return
        contents = journal.read(path)
        known, unnamed = journal.fates(contents), journal.unnamed(contents, journal.boot_id())

        def fate(mailing: int, pos: int, attempt: int) -> Result:
            return _fate(pos, attempt, known.get((mailing, pos, attempt), unnamed))

        for batch in await database.read(lambda session: claims.orphaned(session, contents.name)):

            def settle(session: Session, batch: int = batch) -> None:
                claims.recover(session, house.ring, batch, fate, waits=house.waits, now=now, chance=chance)

            await database.write(settle)
            failpoints.hit("recover.after_commit")
        path.unlink(missing_ok=True)  # noqa: ASYNC240 - a sender that starts carries nothing yet


async def give_back(
    house: House, database: Database, incarnation: str, held: Collection[int], *, chance: random.Random
) -> None:
    """A claim whose commit nobody answered may stand all the same, and was made a second time for other batches: nothing of
    it was ever in hand, so it goes back unsent (reliability 2.3, step 1). Looked for while the database has failed us lately,
    and by a sender that ends: its journal goes with it, and nobody would look again."""
    if time.monotonic() >= database.failed + IN_DOUBT:
        return
    now = clock.now()

    def unsent(mailing: int, pos: int, attempt: int) -> Result:
        return Result(pos, attempt, "reclaim")

    for batch in await database.read(lambda session: claims.forgotten(session, incarnation, held)):

        def end(session: Session, batch: int = batch) -> None:
            claims.recover(session, house.ring, batch, unsent, waits=house.waits, now=now, chance=chance)

        await database.write(end)


def _fate(pos: int, attempt: int, known: journal.Answer | str) -> Result:
    """What a journal's word on a position makes of it."""
    if isinstance(known, journal.Answer):
        verdict = classify(Reply(known.code, known.enhanced, ""), "dot")
        reason = "" if verdict.state == "sent" else verdict.reason
        return Result(pos, attempt, verdict.state, reason, known.code, suppress=verdict.suppress)
    if known == "unknown":
        return Result(pos, attempt, "unknown", "sender_died")
    return Result(pos, attempt, "reclaim")
