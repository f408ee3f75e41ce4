"""How the installation is: one list of facts for `/readyz`, the health page, `doctor` and (as numbers) the metrics.

Everything is read in one transaction and holds nobody's data.
"""

import shutil
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Session, col, select

from service.db import migrate
from service.db.session import reading
from service.domain.brands import queries as brands
from service.domain.ledger import checkpoints, safe
from service.domain.ledger import queries as ledger
from service.domain.mailings.tables import Batch, Mailing
from service.domain.privacy import queries as privacy
from service.domain.privacy import retention
from service.domain.senders import queries as senders
from service.ops.house import House

FORGETS = timedelta(days=1)  # the clock does it every hour
LATE = timedelta(
    minutes=5
)  # a batch due, or an entry unsigned, for longer waits for something that is not there
GUARDS_FIX = (
    "Find out who took them down, and run: bidden ledger verify. What puts them up again stands in "
    "service/db/migrations/guards.py."
)
LOW_DISK = 1024**3  # octets free; below it SQLite and the journal may soon be unable to write


@dataclass(frozen=True)
class Fact:
    """One thing looked at. When it is not `ok`: why that matters, and what to do."""

    name: str
    ok: bool
    says: str
    why: str = ""
    fix: str = ""
    value: int | None = None

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "name": self.name,
            "ok": self.ok,
            "says": self.says,
            "why": self.why,
            "fix": self.fix,
            "value": self.value,
        }


@dataclass(frozen=True)
class Readiness:
    """Whether requests can be answered rightly, and all facts behind it."""

    ready: bool
    facts: list[Fact]


@dataclass(frozen=True)
class Queue:
    """What is due: batches, and for how many seconds the oldest has been."""

    batches: int
    age: int


def readiness(house: House, *, now: datetime) -> Readiness:
    """Look at everything inside the house. Ready means: the database answers and this version works on it."""
    try:
        shape = migrate.shape(house.engine)
        if shape == "older":
            fix = "bidden db upgrade"
            return Readiness(
                False,
                [Fact("database", False, "of an older version", "Nothing can be read or written.", fix)],
            )
        told = safe.last(house.settings.safe)
        with reading(house.engine) as session:
            newer = ", of a newer version" if shape == "newer" else ""
            facts = [Fact("database", True, f"answers ({house.engine.dialect.name}{newer})")]
            facts.append(_guards(house))
            facts += [_sending(session), _wall_clock(session), _senders(session, now), _servers(session)]
            facts += [_mailings(session), _queue(session, now), _ledger(session)]
            facts.append(_checkpoint(session, house, told, now))
            facts += [_forgetting(session, now), _requests(session, now), _breaches(session, now)]
    except SQLAlchemyError as error:
        facts = [
            Fact(
                "database",
                False,
                f"does not answer ({type(error).__name__})",
                "Nothing works without it.",
                "Start it.",
            )
        ]
        return Readiness(False, facts)
    return Readiness(True, [*facts, disk(house)])


def queue(session: Session, now: datetime) -> Queue:
    """The batches that are due and not taken, of mailings that are sending."""
    counted = (
        select(func.count(), func.min(col(Batch.due_at)))
        .select_from(Batch)
        .join(Mailing, col(Mailing.id) == col(Batch.mailing_id))
        .where(col(Batch.state) == "open", col(Batch.due_at) <= now, col(Mailing.state) == "sending")
    )
    batches, oldest = session.exec(counted).one()
    return Queue(batches, int((now - oldest).total_seconds()) if oldest else 0)


def _mailings(session: Session) -> Fact:
    """Those that the checks stopped by themselves (`deliveries.guard`, `deliveries.outcomes`)."""
    halted = session.scalars(select(Mailing.reason).where(col(Mailing.state) == "halted")).all()
    if not halted:
        return Fact("mailings", True, "none is halted", value=0)
    says = f"halted: {', '.join(sorted(set(halted)))}"
    why = "Nobody else gets it before somebody has looked."
    return Fact(
        "mailings", False, says, why, "Its page says what was found; then resume or cancel it.", len(halted)
    )


def _queue(session: Session, now: datetime) -> Fact:
    waiting = queue(session, now)
    if waiting.age < LATE.total_seconds():
        return Fact("queue", True, f"{waiting.batches} batches due", value=waiting.age)
    says = f"{waiting.batches} batches due, the oldest for {waiting.age // 60} minutes"
    fix = "Start a sender (bidden send), and see whether the SMTP server answers (bidden doctor)."
    return Fact("queue", False, says, "Mail that is due does not leave.", fix, waiting.age)


def _guards(house: House) -> Fact:
    missing = migrate.guards_missing(house.engine)
    if not missing:
        return Fact("guards", True, "ledger and outcomes can only be added to", value=0)
    why = "Whoever reaches the database can change what happened."
    return Fact("guards", False, f"not in place: {', '.join(missing)}", why, GUARDS_FIX, len(missing))


def _senders(session: Session, now: datetime) -> Fact:
    live, suspect = senders.live(session), senders.suspect(session, now=now)
    if suspect:
        names = ", ".join(one.name for one in suspect)
        why = "Nobody knows what it does; every stop waits two seconds for it and is then answered with a reserve."
        fix = "Start it again under the same name: bidden send --name NAME."
        return Fact("senders", False, f"not heard of: {names}", why, fix, len(live))
    if not live:
        return Fact("senders", False, "none is running", "No mail leaves.", "bidden send", 0)
    return Fact("senders", True, f"{len(live)} running", value=len(live))


SMTP_FIXES = {
    "unreachable": "See that BIDDEN_SMTP_URL names the right host and port, and that no firewall stands between.",
    "timeout": "See that BIDDEN_SMTP_URL names the right host and port, and that no firewall stands between.",
    "refused": "Ask whoever runs the server why it does not take mail from this machine.",
    "closed": "Ask whoever runs the server why it ends connections before it has taken a letter.",
    "tls_required": "Set starttls=auto in BIDDEN_SMTP_URL only if that network is yours; else have TLS mended there.",
    "tls_failed": "Its certificate is not valid for that name; have it mended there.",
    "auth_failed": "Mend user and password in BIDDEN_SMTP_URL.",
    "not_authenticated": "It wants a login, or encryption, before it takes mail: see user, password and starttls in BIDDEN_SMTP_URL.",
    "sender_refused": "Ask whoever runs the server to take mail from the brand's bounce domain, or pause what that brand sends.",
    "deferring": "It puts off half of all letters; read its words under Each person, and ask whoever runs it.",
}


def _servers(session: Session) -> Fact:
    """Whether senders get through, as they say themselves."""
    away = senders.away(session)
    if not away:
        return Fact("mail servers", True, "no sender leaves one alone", value=0)
    said = sorted({(one.server, one.reason) for one in away})
    says = ", ".join(f"{server} is left alone: {reason}" for server, reason in said)
    why = "Mail waits, or goes another way. It is tried again by itself, less often each time."
    return Fact(
        "mail servers", False, says, why, SMTP_FIXES.get(said[0][1], SMTP_FIXES["refused"]), len(said)
    )


def _sending(session: Session) -> Fact:
    if brands.setting(session, "sending_on"):
        return Fact("sending", True, "is on")
    why = "No mail leaves, not even confirmations. It is so after a restore."
    return Fact("sending", False, "is off", why, "Turn it on under Settings, once you have looked around.")


def _wall_clock(session: Session) -> Fact:
    """Whether the scheduler believes the time (`scheduler.wall`)."""
    jump = brands.clock_jump(session)
    if not jump:
        return Fact("wall clock", True, "keeps its course", value=0)
    why = "Nobody can tell which time is right, so nothing leaves and no schedule begins: it might be too early, or a second time."
    fix = "See that the time of this machine is right; then switch sending on: bidden send on."
    return Fact("wall clock", False, f"has jumped by {span(jump)}", why, fix, round(jump))


def span(seconds: float) -> str:
    """A length of time for people, in the two largest of its units, with its sign."""
    rest, parts = round(abs(seconds)), []
    for name, length in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        if rest >= length:
            parts.append(f"{rest // length} {name}")
            rest %= length
    return ("−" if seconds < 0 else "+") + (" ".join(parts[:2]) or "0 s")


def _ledger(session: Session) -> Fact:
    seq, digest = ledger.tail(session)
    return Fact("ledger", True, f"{seq:,} entries, head {digest[:12]}…", value=seq)


BEHIND = {
    "behind": "fewer entries than the files outside it tell of: a copy from an earlier day",
    "differs": "other entries than the files outside it tell of",
    "unreadable": "the last signed head outside cannot be read",
}


def _checkpoint(session: Session, house: House, told: tuple[int, str] | None, now: datetime) -> Fact:
    """Whether the database has what was signed last outside it, and what the withdrawal file's last line tells of; and whether
    heads are still signed."""
    found = checkpoints.standing(session, house.settings.safe, house.ring, told)
    if found.reason is None:
        if (waits := ledger.waits_since(session, found.known or 0, now=now)) > LATE:
            says = f"signed up to entry {found.known or 0:,} only; the next waits for {waits // timedelta(minutes=1)} minutes"
            why = "What no head outside covers could be written anew, and nobody would see it."
            fix = "See that the clock runs (bidden clock); what keeps it from signing is said by: bidden ledger checkpoint."
            return Fact("signed head", False, says, why, fix, found.known or 0)
        known = (
            f"signed up to entry {found.known:,}" if found.known else "none yet; the clock signs every minute"
        )
        return Fact("signed head", True, known, value=found.known or 0)
    why = "People may have said no since, and it does not know: nothing leaves."
    fix = "Stop the senders; bidden ledger verify; then, if a copy was put back on purpose: bidden db merge."
    return Fact("signed head", False, BEHIND[found.reason], why, fix, found.known)


def _forgetting(session: Session, now: datetime) -> Fact:
    """Whether what is past its time goes (`ops.retention`)."""
    ran = retention.last_runs(session)
    late = sorted(name for name, at in ran.items() if at is None or at < now - FORGETS)
    if not late:
        says = (
            "what is past its time goes every hour" if ran else "not yet begun; the clock does it every hour"
        )
        return Fact("old data", True, says, value=0)
    why = "It is kept for longer than the record of processing says."
    fix = "Start the clock (bidden clock); where it runs, its log says what fails. See: bidden privacy retention."
    return Fact("old data", False, f"not gone through for a day: {', '.join(late)}", why, fix, len(late))


def _requests(session: Session, now: datetime) -> Fact:
    """What people asked for under their rights."""
    counts = privacy.request_counts(session, now.date())
    waiting, late = counts["open"], counts["overdue"]
    if not late:
        return Fact("requests", True, f"{waiting} open, none overdue" if waiting else "none open", value=0)
    why = "The law sets the day by which each has to be answered."
    fix = "The privacy officer finds them under Privacy, the first due first: answer them, or take more time with the reason."
    return Fact("requests", False, f"{late} of {waiting} overdue", why, fix, late)


def _breaches(session: Session, now: datetime) -> Fact:
    """Those the authority has to be told of, and has not been."""
    late = privacy.breaches_late(session, now)
    if not late:
        return Fact("breaches", True, "none past its 72 hours", value=0)
    why = "The authority has to know within 72 hours, and later with the reason for it."
    fix = "The privacy officer writes on its page when the authority was told, and why so late, or why it need not know."
    return Fact("breaches", False, f"{late} past {'its' if late == 1 else 'their'} 72 hours", why, fix, late)


def disk(house: House) -> Fact:
    """Room where the data directory lies."""
    free = shutil.disk_usage(house.settings.data_dir).free
    says = f"{free / 1024**3:.1f} GiB free"
    if free >= LOW_DISK:
        return Fact("disk", True, says, value=free)
    why = "When it is full, no stop and no consent can be written."
    return Fact("disk", False, says, why, f"Make room under {house.settings.data_dir}.", free)
