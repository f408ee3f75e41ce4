"""What the person who imports has to say before a row is believed, and everything that can be wrong with it. Pure.

A yes needs words, a date and a source, or it is none (standards H4). What one row says under a plan is read by `rows`.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, time
from functools import lru_cache
from typing import Any

from service.domain.consent import jurisdictions
from service.domain.transfers import sources
from service.kit.errors import Conflict, Forbidden, Invalid, NotFound

CONSENT, LEGACY = "consent", "legacy_registration"
BASES = {
    CONSENT: "They agreed to these words.",
    LEGACY: "Registering meant agreeing. Kept with that label; no marketing can be sent on it before they confirm.",
    jurisdictions.PURCHASE: "They bought something on that day. Permits for two years, where the law says so.",
    jurisdictions.INQUIRY: "They asked something on that day. Permits for six months, where the law says so.",
}
DATES = {
    "iso": "2026-11-24 09:20 (or with its offset)",
    "dmy": "24.11.2026, 24/11/2026",
    "mdy": "11/24/2026",
}
SHOWN = 100  # bad cells shown in full; the others are counted, and stand in the file of bad rows
NOES = ("no", "stopped", "bounced", "complained")
LONGEST_SAID = 120
STILL = 5.0  # seconds without a sign after which a run counts as dead; two at once do no harm (`ImportMoved`)

# Why a row is left alone though nothing in it is wrong. From the gravest, as the gate orders them.
SKIPPED = {
    "skipped_erased": "Their data was erased here; only they can come back.",
    "skipped_restricted": "Their data is restricted here and is not worked with.",
    "skipped_complained": "They reported a mail as spam.",
    "skipped_do_not_mail": "They are on the do-not-mail list.",
    "skipped_bounced": "Their mailbox does not exist, its server said.",
    "skipped_withdrawn": "They said no here. An import never turns a no into a yes.",
    "skipped_invalidated": "Their consent was taken back here; only they can give a new one.",
    "skipped_known": "This row of our own export is here already.",
    "skipped_address_differs": "That id is known here with another address; only the person changes it.",
    "skipped_later_yes": "They agreed here after the no in this file.",
}


class PlanInvalid(Invalid):
    """That is not a plan for an import."""


class ColumnUnknown(Invalid):
    """There is no column by that name in the file."""


class AddressColumnMissing(Invalid):
    """One column must hold the e-mail address."""

    fix_hint = "Say which: email=NAME OF THE COLUMN."


class ColumnTwice(Invalid):
    """Two columns are to mean the same."""


class ProofMissing(Invalid):
    """A yes needs its proof: the words that were shown, the date, and where it was said."""

    fix_hint = "Without it people are registered with no consent; leave the topic out then."


class DateMissing(Invalid):
    """There is no date of their consent in this row."""

    fix_hint = "Fill it in, or give one date for all in the plan."


class DateUnclear(Invalid):
    """That is not a date as the plan says dates are written."""


class DateToCome(Invalid):
    """That date has not come yet; proof speaks of what was."""


class StateUnknown(Invalid):
    """Nobody here knows what that state means, so it is not taken for a yes."""

    fix_hint = "Use a word such as subscribed, unsubscribed, pending, blocklisted, bounced or complained."


class AttributesNotJson(Invalid):
    """That is not a set of attributes as JSON."""


class CellUnreadable(Invalid):
    """That holds signs which cannot be read in this file's encoding."""


class ImportUnknown(NotFound):
    """There is no import by that id."""


class ImportMoved(Conflict):
    """Another run of this import is at work."""


class PlanMoved(Conflict):
    """Somebody has changed the plan of this import meanwhile; please try it again."""


class BadRows(Conflict):
    """Some rows cannot be taken over, and nothing was imported."""

    fix_hint = "Mend them, or say that they are to be left out: --leave-out-bad-rows."


class ImportNotDone(Conflict):
    """That import is still running, or never ran; what it gave can be taken back once it has ended or stands still."""


class ReasonMissing(Invalid):
    """Please say why; it is written into the ledger."""


class NoRightToAttest(Forbidden):
    """Only the privacy officer or an admin may say that addresses were confirmed elsewhere."""


@dataclass(frozen=True)
class Grant:
    """Where the consent to one topic comes from. Words: the id of a wording of ours, or the text that was shown."""

    topic: str
    said: str  # in which words the source is named: "web shop, newsletter box"
    wording: str = ""
    text: str = ""
    on: str = ""  # ISO instant for all, where no column tells
    basis: str = CONSENT

    @property
    def text_sha256(self) -> str:
        """What stands in each entry for words that are no wording of ours; the words themselves are in the import's entry."""
        return hashlib.sha256(self.text.encode()).hexdigest() if self.text else ""


@dataclass(frozen=True)
class Plan:
    """All that was decided about a file before it is run. Two runs of equal plans over one file are one import."""

    source: str
    columns: Mapping[str, str]  # column → role
    grants: tuple[Grant, ...] = ()
    dates: str = "iso"
    attested: bool = False  # confirmation columns tell of a button in a mail that the old system sent
    mail: bool = False  # Bidden mails its own button to those whose yes nobody confirmed
    status: str = ""  # what holds of everybody where no column tells: yes | no | bounced | …
    leave_out_bad: bool = False

    def as_json(self) -> dict[str, Any]:
        """As it is kept and hashed."""
        return asdict(self)

    @property
    def digest(self) -> str:
        """The name of what was decided; whether bad rows may stay out is no part of what a row means."""
        told = self.as_json() | {"leave_out_bad": None}
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()

    @property
    def wanted(self) -> tuple[str, ...]:
        """The topics it speaks of."""
        mapped = [role.partition(":")[2] for role in self.columns.values() if role.startswith("state:")]
        return tuple(dict.fromkeys([*(one.topic for one in self.grants), *mapped]))


def plan_of(said: Mapping[str, Any]) -> Plan:
    """A plan as it was kept, or as a door was told it. Raises `PlanInvalid`."""
    try:
        grants = tuple(Grant(**one) for one in said.get("grants", ()))
        plan = Plan(**{**said, "columns": dict(said["columns"]), "grants": grants})
    except (KeyError, TypeError, ValueError) as wrong:
        raise PlanInvalid(field="plan") from wrong
    texts = [plan.source, plan.dates, plan.status, *plan.columns, *plan.columns.values()]
    texts += [value for grant in grants for value in asdict(grant).values()]
    flags = (plan.attested, plan.mail, plan.leave_out_bad)
    if not all(isinstance(one, str) for one in texts) or not all(isinstance(one, bool) for one in flags):
        raise PlanInvalid("Its values are texts, but for attested and mail: true or false.", field="plan")
    return plan


def check_plan(plan: Plan, columns: Sequence[str], *, now: datetime) -> Plan:
    """Everything about a plan that shows without a row. Raises what is wrong, with the field."""
    if not re.fullmatch(r"[a-z][a-z0-9-]{1,59}", plan.source) or plan.source in ("me", "join"):
        raise PlanInvalid("A source is a short word in small letters, such as old-shop.", field="source")
    if plan.dates not in DATES or plan.status not in ("", *sources.MEANINGS):
        raise PlanInvalid(field="dates" if plan.dates not in DATES else "status")
    for column, role in plan.columns.items():
        if column not in columns:
            raise ColumnUnknown(field=f"columns.{column}")
        if role not in sources.ROLES and not re.fullmatch(r"(attribute|state|since|wording):\S+", role):
            raise PlanInvalid("That is nothing a column can mean.", field=f"columns.{column}")
    roles = list(plan.columns.values())
    if twice := next((one for one in roles if roles.count(one) > 1 and one not in sources.SEVERAL), None):
        raise ColumnTwice(field=f"columns.{twice}")
    if "email" not in roles:
        raise AddressColumnMissing(field="columns.email")
    for grant in plan.grants:
        _check_grant(grant, roles, now, attested=plan.attested)
    if len({one.topic for one in plan.grants}) < len(plan.grants):
        raise PlanInvalid("A topic is spoken of once.", field="topics")
    return plan


def _check_grant(grant: Grant, roles: Sequence[str], now: datetime, *, attested: bool) -> None:
    """Words, date and source: all three, or no yes (standards H4); of a sale no words, but a confirmed address."""
    at = f"topics.{grant.topic}"
    if grant.basis not in BASES:
        raise PlanInvalid("Known bases: " + ", ".join(BASES) + ".", field=f"{at}.basis")
    if not grant.said.strip() or len(grant.said) > LONGEST_SAID:
        raise ProofMissing("Say where they agreed, in at most 120 signs.", field=f"{at}.source")
    words_told = grant.wording or grant.text.strip() or f"wording:{grant.topic}" in roles
    if grant.basis in jurisdictions.MONTHS:
        if not attested:
            raise ProofMissing("A sale or an inquiry counts for confirmed addresses alone.", field="attested")
    elif not words_told:
        raise ProofMissing("Say which words they agreed to.", field=f"{at}.text")
    if grant.wording and grant.text:
        raise ProofMissing("Either a wording of ours, or the text that was shown.", field=f"{at}.text")
    if grant.on:
        instant(grant.on, "iso", now)
    elif not {"agreed_at", "confirmed_at", f"since:{grant.topic}"} & set(roles):
        raise ProofMissing("Say when they agreed: a column, or one date for all.", field=f"{at}.on")


_PLAIN = {"dmy": re.compile(r"(\d{1,2})[./-](\d{1,2})[./-](\d{4})(?:[ T,]+(\d{1,2}:\d{2}(?::\d{2})?))?")}
_PLAIN["mdy"] = _PLAIN["dmy"]


def instant(cell: str, way: str, now: datetime) -> datetime:
    """An instant, in UTC where nothing else is said; a day alone is its first minute. Raises `DateUnclear`, `DateToCome`."""
    return _instant(cell.strip()[:64], way, now)  # what is longer is none, and is not kept


@lru_cache(
    maxsize=1024
)  # a cell is read as the consent's and as the confirmation's, and a file repeats its dates
def _instant(text: str, way: str, now: datetime) -> datetime:
    found: datetime | None = None
    try:
        if re.match(r"\d{4}-\d{2}-\d{2}", text):
            found = datetime.fromisoformat(text.replace(" UTC", "+00:00"))
        elif way != "iso" and (parts := _PLAIN[way].fullmatch(text)):
            first, second, year = int(parts[1]), int(parts[2]), int(parts[3])
            day, month = (first, second) if way == "dmy" else (second, first)
            hour = time.fromisoformat((parts[4] or "00:00").rjust(5, "0"))
            found = datetime(year, month, day, hour.hour, hour.minute, hour.second, tzinfo=UTC)
        if found is not None:
            found = (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):  # it may leave the calendar on its way to UTC
        found = None
    if found is None or found.year < 1990:
        raise DateUnclear(fix=f"Write it so: {DATES[way]}.")
    if found > now:
        raise DateToCome
    return found


def is_still(beat_at: datetime | None, now: datetime) -> bool:
    """Whether a run has given no sign for so long that its process must have ended."""
    return beat_at is None or (now - beat_at).total_seconds() > STILL


@dataclass
class Counts:
    """What became of the rows: every row is in exactly one of new, changed, unchanged, skipped, refused, noes."""

    new: int = 0
    changed: int = 0
    unchanged: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)
    noes: dict[str, int] = field(default_factory=dict)
    given: dict[str, int] = field(default_factory=dict)  # topic:state → yeses written
    left_out: dict[str, int] = field(default_factory=dict)  # cells not kept

    @classmethod
    def of(cls, kept: Mapping[str, Any]) -> "Counts":
        """Go on counting from what was kept, which itself stays as it is (its database row would not notice)."""
        return cls(**deepcopy(dict(kept)))

    @property
    def rows(self) -> int:
        """All of them."""
        parted = (self.skipped, self.refused, self.noes)
        return self.new + self.changed + self.unchanged + sum(sum(one.values()) for one in parted)

    def add(self, where: str, what: str, n: int = 1) -> None:
        """Count one more of a kind."""
        found: dict[str, int] = getattr(self, where)
        found[what] = found.get(what, 0) + n

    def as_json(self) -> dict[str, Any]:
        """As it is kept."""
        return asdict(self)
