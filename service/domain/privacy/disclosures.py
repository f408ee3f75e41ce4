"""The register of disclosures: to whom else data was given, on what ground, approved by whom, and whether the person knows.

It is the ledger: an entry for each person concerned, so that nobody's proof shows whom else it was about, and one more when the
person is told later. Nothing of it is ever changed. The entries stand under the disclosure's own id and not the person's: what
they must not know yet (an order of secrecy) is in no copy, timeline or evidence file of theirs. Called by the staff's pages,
the access copy and the evidence file.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime

from sqlmodel import Session

from service.db.locks import lock_ledger_tail
from service.domain.ledger import actions as ledger
from service.domain.ledger import queries as entries
from service.domain.ledger.queries import Seen
from service.domain.people.tables import Person
from service.domain.privacy import rules
from service.kit.ids import proposed

MADE, TOLD = "disclosure.made", "disclosure.told"
TEXTS = ("to", "ground", "document", "scope")


@dataclass
class Disclosure:
    """One of them, as it stands now: whom it concerned, by opaque id, and the entry of each."""

    public_id: str
    made_on: date
    to: str
    ground: str
    document: str
    scope: str
    approver: str
    told: str  # rules.TOLD
    why_not: str
    at: datetime
    by: str
    told_at: datetime | None = None
    people: dict[str, int] = field(default_factory=dict)

    @property
    def may_know(self) -> bool:
        """Whether the persons concerned may hear of it."""
        return self.told != "secret"


def disclose(
    session: Session,
    people: Sequence[Person],
    *,
    made_on: date,
    given: dict[str, str],
    approver: str,
    told: str,
    why_not: str,
    reference: str = "",
    now: datetime,
    by: str,
) -> str:
    """Write one down; returns its id. `given` holds `TEXTS`; `people` may be empty where nobody was named. A form with its
    `reference` is one disclosure, however often it is pressed. Raises `DayInvalid`, `ReasonMissing`, `ApproverMissing`,
    `ToldUnknown`, `TextTooLong`, `TextControlChar`, `FormUsed`.
    """
    if made_on > rules.last_day(now):
        raise rules.DayInvalid(field="made_on")
    texts = {name: rules.check_note(given.get(name, ""), field=name, needed=True) for name in TEXTS}
    if not approver:
        raise rules.ApproverMissing(field="approver")
    if told not in rules.TOLD:
        raise rules.ToldUnknown(field="told")
    why = rules.check_note(why_not, field="why_not", needed=told != "told")
    body = texts | {"on": made_on.isoformat(), "approver": approver, "told": told}
    body |= {"why_not": why} if told != "told" else {}
    public_id = proposed("d", reference)
    lock_ledger_tail(session)
    bodies = [body | {"person": one.public_id} for one in people] or [body]
    if before := entries.of_subject(session, public_id, kinds=(MADE,)):
        was = {str(one.body.get("person", "")): one.body for one in before}
        if was != {one.get("person", ""): one for one in bodies}:
            raise rules.FormUsed
        return public_id
    for one in bodies:
        ledger.append(session, MADE, subject=public_id, body=one, by=by, now=now)
    return public_id


def tell(session: Session, public_id: str, *, now: datetime, by: str) -> None:
    """The persons concerned know now. Nothing happens where they did. Raises `DisclosureUnknown`."""
    lock_ledger_tail(session)
    found = list(_folded(entries.of_subject(session, public_id, kinds=(MADE, TOLD))))
    if not found:
        raise rules.DisclosureUnknown
    if found[0].told != "told":
        ledger.append(session, TOLD, subject=public_id, body={}, by=by, now=now)


def register(session: Session) -> list[Disclosure]:
    """All of them, the last written first."""
    return list(_folded(entries.of_kinds(session, (MADE, TOLD))))[::-1]


def known_to(
    session: Session, people: Iterable[str], *, until: datetime | None = None
) -> list[tuple[Disclosure, int]]:
    """Those about a person, by their opaque ids, that they may know of, with the entry of each, oldest first."""
    mine = set(people)
    seen = entries.of_kinds(session, (MADE, TOLD))
    found = _folded(one for one in seen if until is None or one.at <= until)
    return [
        (one, entry)
        for one in found
        if one.may_know
        for person, entry in one.people.items()
        if person in mine
    ]


def _folded(seen: Iterable[Seen]) -> Iterable[Disclosure]:
    """Entries, oldest first, as the disclosures they tell of."""
    found: dict[str, Disclosure] = {}
    for one in seen:
        subject = one.subject or ""
        if one.kind == TOLD:
            found[subject].told, found[subject].told_at = "told", one.at
            continue
        row = found.setdefault(subject, _of(one))
        if person := one.body.get("person"):
            row.people[str(person)] = one.seq
    return found.values()


def _of(one: Seen) -> Disclosure:
    body = one.body
    return Disclosure(
        public_id=one.subject or "",
        made_on=date.fromisoformat(body["on"]),
        to=body["to"],
        ground=body["ground"],
        document=body["document"],
        scope=body["scope"],
        approver=body["approver"],
        told=body["told"],
        why_not=body.get("why_not", ""),
        at=one.at,
        by=one.actor,
    )
