"""One row of a file, read as its plan says: all it says, or everything that is wrong with it, cell by cell. Pure.

A state that is a no stays one whatever the plan says (P7). What a row becomes beside what is known here already is for
`judging`.
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from service.domain.consent.rules import Item
from service.domain.people import rules as people
from service.domain.transfers import rules, sources
from service.domain.transfers.reading import Record
from service.kit import addresses
from service.kit.errors import DomainError, Invalid


@dataclass(frozen=True)
class Fault:
    """One cell that cannot be taken over: where it stands, what it holds, what is wrong, and the way to mend it."""

    row: int
    line: int
    column: str
    value: str
    code: str
    sentence: str
    fix: str = ""


@dataclass(frozen=True)
class Row:
    """What one row of the file says, every cell checked; nothing here knows yet who is known already."""

    number: int
    email: addresses.Address
    external_id: str  # empty: the mailbox itself stands for the person
    profile: dict[str, str]
    attributes: dict[str, Any]
    locale: str | None
    zone: str | None
    items: tuple[Item, ...]  # the yeses it brings, with their proof
    noes: tuple[str, ...] = ()  # topics it says no to; ("*",) means every one
    no: str = ""  # what kind of no: no | stopped | bounced | complained
    no_at: datetime | None = None
    left_out: tuple[
        str, ...
    ] = ()  # cells that are not kept, and why: "zone_unknown", "attribute_identifying" …


@dataclass(frozen=True)
class _Kept:
    """What a row says of somebody beside their yeses and noes."""

    external_id: str = ""
    profile: dict[str, str] = field(default_factory=dict)
    attributes: dict[str, Any] = field(default_factory=dict)
    locale: str | None = None
    zone: str | None = None


def _may_say_no(role: str) -> bool:
    """Whether a cell of that meaning is part of a no."""
    return role in ("email", "status", "no_at", "no_reason", "no_mail", "bounced_at") or role.startswith(
        "state:"
    )


def understand(
    record: Record, columns: Sequence[str], plan: rules.Plan, *, now: datetime
) -> Row | list[Fault]:
    """One row: all it says, or everything that is wrong with it, cell by cell."""
    if record.wrong is not None:
        wrong = record.wrong
        return [Fault(record.number, record.line, "", "", wrong.code, wrong.title, wrong.fix or "")]
    return _Understanding(record, columns, plan, now).row()


def fault_in(
    record: Record, columns: Sequence[str], plan: rules.Plan, about: Sequence[str], wrong: DomainError
) -> Fault:
    """What showed only beside what is known here, at the cell it is about: the first of these meanings that a column has."""
    named = [column for role in about for column, meant in plan.columns.items() if meant == role]
    told = [column for column in named if record.cells[columns.index(column)].strip()] or named
    column, cell = (told[0], record.cells[columns.index(told[0])]) if told else ("", "")
    return Fault(record.number, record.line, column, cell[:200], wrong.code, wrong.detail, wrong.fix or "")


def _graver(cell: str, other: str) -> bool:
    """Of several columns of noes (Mautic has two) the gravest word counts."""
    order = (False, None, True)
    return order.index(sources.barred(cell)) > order.index(sources.barred(other))


class _Understanding:
    """The work on one row; `faults` grows while it is read."""

    def __init__(self, record: Record, columns: Sequence[str], plan: rules.Plan, now: datetime) -> None:
        self.record, self.plan, self.now = record, plan, now
        self.cells: dict[str, tuple[str, str]] = {}
        for column, cell in zip(columns, record.cells, strict=True):
            role = plan.columns.get(column)
            if role and cell.strip() and (role not in self.cells or _graver(cell, self.cells[role][1])):
                self.cells[role] = column, cell
        self.faults: list[Fault] = []
        self.left_out: list[str] = []

    def row(self) -> Row | list[Fault]:
        self.readable(_may_say_no)
        email = self.checked("email", lambda cell: addresses.parse(cell)) if "email" in self.cells else None
        if email is None and "email" not in self.cells:
            self.fault("email", addresses.AddressSyntax("There is no address in this row."))
        no, no_at = self.no()
        before = len(self.faults)
        kept = self.kept()
        of_what_is_kept = self.faults[before:]
        items, noes = self.items() if not no else (), self.noes(no)
        if noes and not items:  # nobody is registered by it, so nothing of this can be in its way
            kept, self.left_out = _Kept(kept.external_id), []
            self.faults = [one for one in self.faults if one not in of_what_is_kept]
        found = Row(
            self.record.number,
            email or addresses.Address("", ""),
            kept.external_id,
            kept.profile,
            kept.attributes,
            kept.locale,
            kept.zone,
            items,
            noes,
            no or ("no" if noes else ""),
            no_at,
            tuple(self.left_out),
        )
        return self.faults or found

    def kept(self) -> "_Kept":
        """What is registered of whoever a row registers."""
        self.readable(lambda role: not _may_say_no(role))
        return _Kept(
            self.checked("external_id", lambda cell: people.external_id(cell.strip())) or "",
            self.profile(),
            self.attributes(),
            self.or_left_out("locale", people.locale),
            self.or_left_out("zone", people.zone),
        )

    def readable(self, chosen: Callable[[str], bool]) -> None:
        """That cells of a meaning hold no sign that could not be read."""
        for role, (_, cell) in self.cells.items():
            if "\ufffd" in cell and chosen(role):
                self.fault(role, rules.CellUnreadable())

    def text(self, role: str) -> str:
        """A cell by what its column means."""
        return self.cells[role][1].strip() if role in self.cells else ""

    def fault(self, role: str, wrong: Invalid) -> None:
        """Keep what is wrong with a cell."""
        column, cell = self.cells.get(role, (self._column(role), ""))
        told = (self.record.number, self.record.line, column, cell[:200], wrong.code, wrong.detail)
        if all(one.column != column for one in self.faults):
            self.faults.append(Fault(*told, wrong.fix or ""))

    def _column(self, role: str) -> str:
        return next((column for column, meant in self.plan.columns.items() if meant == role), role)

    def checked(self, role: str, read: Any) -> Any:
        """A cell read by a rule that may refuse it; None when it is empty or wrong."""
        if role not in self.cells:
            return None
        try:
            return read(self.cells[role][1])
        except Invalid as wrong:
            self.fault(role, wrong)
            return None

    def or_left_out(self, role: str, read: Any) -> Any:
        """A cell that helps and harms nobody when it is not understood: then it is left out, and counted."""
        try:
            return read(self.text(role))
        except Invalid as wrong:
            self.left_out.append(wrong.code)
            return None

    def profile(self) -> dict[str, str]:
        """The names and whatever else the policy names; a full name is parted at its last space."""
        told = {name: self.text(name) for name in people.PROFILE if name in self.cells}
        if "name" in self.cells and not {"first_name", "last_name"} & told.keys():
            first, _, last = " ".join(self.text("name").split(" ")).rpartition(" ")
            told |= {"first_name": first.strip() or last, "last_name": last if first.strip() else ""}
        found: dict[str, str] = {}
        for name, value in told.items():
            try:
                found |= people.profile({name: value})
            except Invalid as wrong:
                self.fault(name if name in self.cells else "name", wrong)
        return found

    def attributes(self) -> dict[str, Any]:
        """Attributes from columns of their own, from tags, and from a column of JSON (flat values only)."""
        found: dict[str, Any] = {}
        for role in self.cells:
            if role.startswith("attribute:"):
                self._attribute(found, role.partition(":")[2], _value(self.text(role)))
        if tags := [one.strip().strip('"').strip() for one in self.text("tags").split(",")]:
            self._attribute(found, "tags", [one for one in tags if one] or None)
        if "attributes" in self.cells:
            for name, value in self._json().items():
                self._attribute(found, sources.bare(name) if not name.isidentifier() else name.lower(), value)
        return found

    def _attribute(self, found: dict[str, Any], name: str, value: Any) -> None:
        """Keep one if it may be kept; what says who somebody is, or has no plain value, is left out and counted."""
        if value in (None, "", [], {}):
            return
        try:
            people.attributes({name: value}, {})
        except Invalid as wrong:
            self.left_out.append(wrong.code)
            return
        if len(found) < people.MAX_ATTRIBUTES:
            found[name] = value

    def _json(self) -> dict[str, Any]:
        try:
            said = json.loads(self.text("attributes"))
        except (ValueError, RecursionError):
            said = None
        if not isinstance(said, dict):
            self.fault("attributes", rules.AttributesNotJson())
            return {}
        return {str(name)[:60]: value for name, value in said.items()}

    def no(self) -> tuple[str, datetime | None]:
        """Whether the row as a whole is a no, of what kind, and since when. The gravest word wins."""
        word = self.text("status")
        told_in_a_column = "status" in self.plan.columns.values()  # where an empty cell says nothing
        of_all = self.plan.status or ("waits" if told_in_a_column else "yes")
        meant = sources.meaning(word) if word else of_all
        if meant is None:
            self.fault("status", rules.StateUnknown())
        told = {meant}
        if self.text("bounced_at"):
            told.add("bounced")
        barred = sources.barred(self.text("no_mail"))
        if barred is None:
            self.fault(
                "no_mail", rules.StateUnknown(fix="Write yes or no: whether they must not be written to.")
            )
        if self.text("no_at") or barred:
            told.add("no")
        if "no" in told and sources.complains(self.text("no_reason")):
            told.add("complained")
        kind = next((one for one in reversed(rules.NOES) if one in told), "")
        since = self.checked("no_at", lambda cell: rules.instant(cell, self.plan.dates, self.now))
        self.waits = meant == "waits"
        return kind, since

    def noes(self, no: str) -> tuple[str, ...]:
        """The topics the row says no to."""
        if no:
            return self.plan.wanted or ("*",)
        return tuple(
            role.partition(":")[2]
            for role in self.cells
            if role.startswith("state:") and sources.meaning(self.text(role)) in rules.NOES
        )

    def items(self) -> tuple[Item, ...]:
        """The yeses the row brings. A row whose state is only waited for there brings none."""
        return tuple(item for grant in self.plan.grants if not self.waits and (item := self._item(grant)))

    def _item(self, grant: rules.Grant) -> Item | None:
        state = f"state:{grant.topic}"
        if state in self.plan.columns.values():
            meant = sources.meaning(self.text(state)) if self.text(state) else "waits"
            if meant is None:
                self.fault(state, rules.StateUnknown())
            if meant != "yes":
                return None
        agreed_at = self._agreed_at(grant)
        if agreed_at is None:
            return None
        confirmed = self._confirmed() if self.plan.attested else None
        return Item(
            grant.topic,
            True,
            grant.wording or self.text(f"wording:{grant.topic}") or None,
            grant.said.strip(),
            {"ip": ip} if (ip := self.text("agreed_ip")[:60]) else {},
            agreed_at,
            confirmed,
            elsewhere=grant.text_sha256,
        )

    def _agreed_at(self, grant: rules.Grant) -> datetime | None:
        """When they agreed: the topic's own column, the opt-in's, the confirmation's, else the date for all."""
        for role in (f"since:{grant.topic}", "agreed_at", "confirmed_at"):
            if role in self.cells:
                found: datetime | None = self.checked(
                    role, lambda cell: rules.instant(cell, self.plan.dates, self.now)
                )
                return found
        if grant.on:
            return rules.instant(grant.on, "iso", self.now)
        asked = ("agreed_at", f"since:{grant.topic}", "confirmed_at")
        self.fault(next(role for role in asked if role in self.plan.columns.values()), rules.DateMissing())
        return None

    def _confirmed(self) -> dict[str, Any] | None:
        """The trail of a button in a mail: asked at one time, pressed not before it, and from where. A confirmation time alone
        is what Mailchimp writes for everybody, so it proves nothing."""
        asked = self.checked("agreed_at", lambda cell: rules.instant(cell, self.plan.dates, self.now))
        pressed = self.checked("confirmed_at", lambda cell: rules.instant(cell, self.plan.dates, self.now))
        ip = self.text("confirmed_ip")[:60]
        if asked is None or pressed is None or pressed < asked or not ip:
            return None
        return {"at": pressed.isoformat(), "method": "double opt-in elsewhere", "ip": ip}


def _value(cell: str) -> Any:
    """A cell as an attribute: a whole number, yes or no, or a text."""
    if re.fullmatch(r"-?[0-9]{1,15}", cell):
        return int(cell)
    return {"true": True, "false": False}.get(cell.lower(), cell)
