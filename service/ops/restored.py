"""A database that is a copy from an earlier day, whoever put it there: noticed by the head that was signed outside it, kept from
sending, and mended by reading in what was taken away since (reliability 2.4, backups).

Called by the clock, a sender that starts, `bidden db merge`, and `restore`, whose second half this is.
"""

import logging
import random
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from sqlmodel import Session, col, select

from service.config import Settings
from service.db.session import reading, transaction
from service.domain.announcements import actions as announcements
from service.domain.announcements.tables import Announcement
from service.domain.brands import actions as brands
from service.domain.brands import queries as settings
from service.domain.deliveries import actions as deliveries
from service.domain.deliveries import claims
from service.domain.deliveries.rules import Result
from service.domain.ledger import checkpoints, safe
from service.domain.ledger import queries as ledger
from service.domain.mailings.rules import ASK_AGAIN, ASK_ANEW, WrongState
from service.domain.mailings.tables import Mailing
from service.domain.notices import actions as notices
from service.domain.preferences import reasking, restoring
from service.domain.senders import actions as senders
from service.domain.senders import queries as leases
from service.kit.errors import Conflict
from service.kit.signing import settle
from service.ops import erasure
from service.ops.house import House

log = logging.getLogger("bidden.restored")
BY = "cli"
UNDER_WAY = "restore-under-way"  # a file beside the signed heads, from before a copy takes the database's place until it was read in


class NothingToMerge(Conflict):
    """This database has all that was signed outside it; there is nothing to read in."""


class StillRunning(Conflict):
    """Senders are running on this database."""

    fix_hint = "Stop them first (bidden up, bidden send), then try again."


class WithdrawalsMissing(Conflict):
    """The withdrawal file is not here, or an older one: every no and every erasure since the copy would be lost."""

    fix_hint = (
        "Bring the newest copy of SAFE_DIR to this machine, then run this again. Only where there is none any more: "
        "--without-withdrawals"
    )


@dataclass(frozen=True)
class Merged:
    """How many entries the ledger has now, how many later noes were applied again, how many lines of the withdrawal file found nobody
    here, how many lines there were to read, whether it lacked some that the copy tells of, and the files that end in half a line."""

    entries: int
    reapplied: int
    left: int
    lines: int
    without: bool = False
    half_lines: tuple[str, ...] = ()


def hold(house: House, *, now: datetime) -> checkpoints.Standing:
    """Hold the database against the head outside, and against the last line of the withdrawal file, which may be younger; where it does
    not have one of them, or a restore was killed in between, sending goes off and cannot be switched on again before somebody has
    merged."""
    told = safe.last(house.settings.safe)
    with reading(house.engine) as session:
        found = checkpoints.standing(session, house.settings.safe, house.ring, told)
        if found.reason is None and (house.settings.safe / UNDER_WAY).exists():
            found = replace(found, reason="behind")
        noted = settings.noted_behind(session)
    if found.reason is None or noted:
        return found
    with transaction(house.engine) as session:
        facts: dict[str, object] = {"reason": found.reason, "size": found.size, "known": found.known}
        brands.note_behind(session, facts, now=now)
    log.error("the database is behind what was signed outside it; sending is off", extra={"facts": facts})
    return found


def begin(settings: Settings) -> bool:
    """Keep that a copy is about to take the database's place: what left since it was made stands under no head for a minute, and
    nothing else would tell a copy that nobody has read in. False where that is kept already, of one that was killed."""
    settings.safe.mkdir(mode=0o700, parents=True, exist_ok=True)
    mark = settings.safe / UNDER_WAY
    fresh = not mark.exists()
    mark.touch(0o600)
    settle(settings.safe)
    return fresh


def end(settings: Settings) -> None:
    """It was read in, or it has not taken that place."""
    (settings.safe / UNDER_WAY).unlink(missing_ok=True)


def gaps(settings: Settings, made: datetime | None) -> str | None:
    """What is to say of lines that are gone from within the withdrawal file, or from its end; None where none is missed."""
    if places := safe.gaps(settings.safe, made=made):
        where = f"within the withdrawal file under {settings.safe}"
        return f"Lines are missing in {places:,} places {where}: withdrawals or erasures that stood there would be lost."
    if cut := checkpoints.cut_short(settings.safe, made):
        return (
            f"The withdrawal file under {settings.safe} ends at entry {cut[0]:,}, and went on to {cut[1]:,} once, as the signed heads "
            "beside it say: the withdrawals and erasures that stood there would be lost."
        )
    return None


def merge(house: House, *, now: datetime, without_withdrawals: bool = False) -> Merged:
    """Read in what was taken away since the copy was made that is now the database. Raises `NothingToMerge`, `StillRunning`,
    `WithdrawalsUnreadable`, `WithdrawalsMissing` (not `without_withdrawals`)."""
    found = hold(house, now=now)
    with reading(house.engine) as session:
        if found.reason is None and not settings.noted_behind(session):
            raise NothingToMerge
        check_idle(session, now=now)
        noted = settings.noted_behind(session).get("size")
        # Where the copy itself ends: what was noted since is no part of it.
        ended = ledger.entry(session, noted) if isinstance(noted, int) else None
    made = ended.at if ended else None
    lacking = gaps(house.settings, made)
    if lacking and not without_withdrawals:
        raise WithdrawalsMissing(lacking)
    return begin_again(house, now=now, without=bool(lacking), made=made)


def check_idle(session: Session, *, now: datetime) -> None:
    """Nobody sends on this database. Raises `StillRunning`."""
    if {one.name for one in leases.live(session)} - {one.name for one in leases.suspect(session, now=now)}:
        raise StillRunning


def begin_again(
    house: House, *, now: datetime, without: bool = False, made: datetime | None = None
) -> Merged:
    """After a copy has taken the database's place: sending is off, no sender has a lease, announcements that were under way are
    paused, what was taken away since (SAFE_DIR) is taken away again, and the files outside begin anew. `without`: somebody said that
    it goes on with files that lack lines. `made`: when the copy's own last entry was written, where others came after it."""
    with transaction(house.engine) as session:
        reasking.lock_running(session)  # before the ledger's tail, as the clock that asks
        size, _ = ledger.tail(session)
        last = ledger.entry(session, size)
        made = made or (last.at if last else datetime.fromtimestamp(0, UTC))
        known = checkpoints.standing(session, house.settings.safe, house.ring).known
        half = tuple(safe.half_lines(house.settings.safe, made=made))
        reapplied, lines = _make_safe(session, house, made, now=now)
        _hold_what_was_under_way(session, house, now=now)
        facts: dict[str, object] = {
            "size": size,
            "known": known,
            "reapplied": reapplied.again,
            "left": reapplied.left,
        }
        if without:
            facts["without_withdrawals"] = True
        brands.note_restored(session, facts, now=now, by=BY)
    _begin_files(house, now)
    with reading(house.engine) as session:
        return Merged(ledger.tail(session)[0], reapplied.again, reapplied.left, lines, without, half)


def _make_safe(
    session: Session, house: House, made: datetime, *, now: datetime
) -> tuple[restoring.Reapplied, int]:
    """What was taken away again, and how many lines the withdrawal file had."""
    brands.set_setting(session, "sending_on", False, now=now, by=BY)
    for lease in leases.live(session):
        senders.end(session, lease.name, now=now)
    lines = safe.lines(house.settings.safe, made=made)
    erased = erasure.reapply(
        session, house.ring, lines, now=now
    )  # before anything else looks at these people
    said = restoring.reapply(session, house.ring, lines, now=now)
    return restoring.Reapplied(erased.again + said.again, erased.left + said.left), len(lines)


def _hold_what_was_under_way(session: Session, house: House, *, now: datetime) -> None:
    """What was due or on its way when the copy was made has left since, for all we know: nobody gets it twice unasked (P3).

    What a sender had in hand is `unknown`; every announcement and every notice's mail under way waits,
    paused(restored), for a person's decision. A question that may be put once ever is not put again.
    """

    def fate(mailing: int, pos: int, attempt: int) -> Result:
        return Result(pos, attempt, "unknown", "restored")

    for batch in claims.orphaned(session):
        claims.recover(
            session,
            house.ring,
            batch,
            fate,
            waits=house.waits,
            now=now,
            chance=random.SystemRandom(),
        )
    reasking.stop_every(session, now=now, by=BY)
    asking = col(Mailing.purpose).in_((ASK_AGAIN, ASK_ANEW))
    questions = select(Mailing).where(asking, Mailing.state == "sending")
    for question in session.exec(questions).all():
        deliveries.cancel(session, question, now=now, by=BY)
    under_way = col(Announcement.state).in_(("scheduled", "freezing", "sending"))
    for public_id in session.exec(select(Announcement.public_id).where(under_way)).all():
        with suppress(WrongState):  # its mailing ended, and nobody had written it down yet
            announcements.pause(session, public_id, reason="restored", now=now, by=BY)
    mailed = select(Mailing.id).where(
        Mailing.kind == "notice", col(Mailing.state).in_(("freezing", "sending"))
    )
    for mailing in session.exec(mailed).all():
        notices.pause_mail(session, mailing or 0, reason="restored", now=now, by=BY)


def _begin_files(house: House, now: datetime) -> None:
    """The old ones are set aside, new ones written. Killed in between, a database that lacks something is still told by the last line
    of the withdrawal file."""
    checkpoints.put_aside(house.settings.safe, now)
    safe.put_aside(house.settings.safe, now)
    with reading(house.engine) as session:
        restoring.keep(session, house.settings.safe)
        checkpoints.write_out(session, house.settings.safe)
    end(house.settings)
