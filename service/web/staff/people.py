"""People: the list, finding one, and one person's page with all that is on record, as of any day."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from sqlmodel import Session
from starlette.responses import Response

from service.domain.deliveries import queries as deliveries
from service.domain.ledger import checkpoints
from service.domain.people import actions, erasing, queries
from service.domain.people.rules import UnknownPerson
from service.domain.people.tables import Person
from service.domain.preferences import queries as preferences
from service.domain.preferences import rules as gate
from service.domain.preferences.rights import CONTROLLER, LEGAL, PERSON, asked_for_restriction
from service.domain.staff.queries import SignedIn
from service.domain.staff.rules import may
from service.domain.suppressions.rules import SCOPES, origin_words, words_of
from service.domain.suppressions.tables import Suppression
from service.domain.topics import queries as topics
from service.domain.topics.tables import Topic
from service.kit import addresses, clock, sealing
from service.kit.errors import Invalid
from service.ops.house import House
from service.web import deps, forms, pages
from service.web.sessions import require
from service.web.staff import audience as whom
from service.web.staff import days, timeline
from service.web.staff.frame import choice, pager, show_noted, tab
from service.web.staff.lines import PAGE

router = APIRouter()

Reader = Annotated[SignedIn, require("people:read")]
Revealer = Annotated[SignedIn, require("people:reveal")]

FILTERS = {"": "All", "consent": "Consent", "mail": "Mail", "change": "Changes", "staff": "Staff"}


@router.get("/staff/people")
async def listing(request: Request, staff: Reader) -> Response:
    """Everybody, newest first; who was shown is written down."""
    house = deps.house(request)

    def build(session: Session) -> dict[str, Any]:
        found = queries.page(session, after=request.query_params.get("after"), limit=50)
        return _list(session, house, staff, list(found.rows), "") | {"pager": pager(request, found.next)}

    return await show_noted(request, staff, "people", "staff/people.html", build)


@router.post("/staff/people/find")
async def find(request: Request, staff: Reader) -> Response:
    """By whole address, opaque id, or a site's own id. A POST: an address has no place in a URL (P6)."""
    house, q = deps.house(request), (await forms.read(request)).text("q")
    found = await deps.read(house, lambda session: [one.public_id for one in _called(session, house, q)])
    if len(found) == 1:
        return pages.redirect(request, f"/staff/people/{found[0]}")

    def build(session: Session) -> dict[str, Any]:
        return _list(session, house, staff, _called(session, house, q), q) | {"pager": None}

    return await show_noted(request, staff, "people", "staff/people.html", build)


def _called(session: Session, house: House, q: str) -> list[Person]:
    """The same for whoever looks, and is shown whom they found: also who is known to a site by an address that is not theirs now."""
    return answering_to(session, house, q) or list(queries.by_external_id(session, q))


def answering_to(session: Session, house: House, q: str) -> list[Person]:
    """Who answers to that: the keyed digest of an address, an opaque id, an external id of any source."""
    if "@" in q:
        try:
            return list(queries.by_address(session, house.ring, addresses.parse(q)))
        except Invalid:
            return []
    person = queries.by_public_id(session, q) if q else None
    return [person] if person else list(queries.by_external_id(session, q))


def _list(session: Session, house: House, staff: SignedIn, found: list[Person], q: str) -> dict[str, Any]:
    if found:
        actions.note_list(session, found, now=clock.now(), by=staff.by)
    names = topic_names(session)
    return {
        "q": q,
        "total": queries.count(session),
        "rows": [_row(session, house, person, names) for person in found],
        "may_import": may(staff.role, "people:import"),
        "may_export": may(staff.role, "people:export"),
    }


def topic_names(session: Session) -> dict[int | None, str]:
    """What topics are called, by their row numbers."""
    return {
        topic.id: topics.wording_for(session, topic.id or 0, "en").title
        for topic in topics.everything(session)
    }


def _row(session: Session, house: House, person: Person, names: dict[int | None, str]) -> dict[str, Any]:
    mine = preferences.of_person(session, person.id or 0)
    gets = [
        names[topic_id]
        for topic_id, row in mine.items()
        if row.state in gate.PERMITTING and topic_id in names
    ]
    return {
        "href": f"/staff/people/{person.public_id}",
        "id": person.public_id,
        "who": masked(session, house, person),
        "name": name_of(session, house, person),
        "state": person.state,
        "topics": ", ".join(gets) or "nothing",
        "since": person.created_at,
    }


def masked(session: Session, house: House, person: Person) -> str:
    """The address, enough for its owner to know it by."""
    address = queries.address_of(session, house.ring, person)
    return address.masked if address else "no address"


def name_of(session: Session, house: House, person: Person) -> str | None:
    """First and last name as mails use them; None where there is none or it cannot be opened any more."""
    try:
        known = queries.profiles(session, house.ring, person)
    except sealing.Unsealable:
        return None
    profile = known[-1].profile if known else {}
    return " ".join(part for part in (profile.get("first_name"), profile.get("last_name")) if part) or None


@router.get("/staff/people/{public_id}")
async def page(request: Request, public_id: str, staff: Reader) -> Response:
    """One person's page; that it was looked at is written down. What the form of the day sent leads to the page of that day."""
    if "days" in request.query_params:
        return await _day_chosen(request, public_id)
    return await shown(request, staff, public_id)


async def _day_chosen(request: Request, public_id: str) -> Response:
    query, now = request.query_params, clock.now()
    first = await deps.read(
        deps.house(request), lambda session: _first_day(session, known(session, public_id))
    )
    on = days.chosen(query, first, now)
    kept = {"on": on.isoformat()} if on < now.date() else {}
    kept |= {"show": query["show"]} if query.get("show") in FILTERS else {}
    return pages.redirect(request, f"/staff/people/{public_id}?{urlencode(kept)}".rstrip("?"))


def _first_day(session: Session, person: Person) -> date:
    """The day of their first entry, under whichever registration."""
    return min(one.created_at for one in erasing.with_merged(session, person)).date()


async def shown(
    request: Request,
    staff: SignedIn,
    public_id: str,
    *,
    reason_missing: str | None = None,
    not_told: str | None = None,
    why: str = "",
) -> Response:
    """That page, also as the answer to a form on it that lacked its reason, or beside the reason (`why`) the tick that they know."""
    house = deps.house(request)

    def build(session: Session) -> dict[str, Any]:
        person = known(session, public_id)
        actions.note_read(session, person, "viewed", now=clock.now(), by=staff.by)
        context = _page(request, session, house, staff, person, None)
        return context | {"reason_missing": reason_missing, "not_told": not_told, "why": why}

    status = 422 if reason_missing or not_told else 200
    return await show_noted(request, staff, "people", "staff/person.html", build, status=status)


@router.post("/staff/people/{public_id}/reveal")
async def reveal(request: Request, public_id: str, staff: Revealer) -> Response:
    """The address in clear, once, with the reason in the ledger."""
    house, reason = deps.house(request), (await forms.read(request)).text("reason")

    def build(session: Session) -> dict[str, Any]:
        person = known(session, public_id)
        if not reason:
            return _page(request, session, house, staff, person, None) | {
                "missing": "Please say why you need it."
            }
        actions.note_read(session, person, "revealed", reason=reason[:200], now=clock.now(), by=staff.by)
        address = queries.address_of(session, house.ring, person)
        return _page(
            request, session, house, staff, person, address.shown if address else "There is no address."
        )

    return await show_noted(
        request, staff, "people", "staff/person.html", build, status=200 if reason else 422
    )


def known(session: Session, public_id: str) -> Person:
    """The person of that opaque id. Raises `UnknownPerson`."""
    person = queries.by_public_id(session, public_id)
    if person is None:
        raise UnknownPerson
    return person


def _page(
    request: Request, session: Session, house: House, staff: SignedIn, person: Person, address: str | None
) -> dict[str, Any]:
    now = clock.now()
    on = days.day_asked(request.query_params.get("on", ""), now)
    until = datetime.combine(on, time.max, UTC) if on < now.date() else None
    chosen, opens = request.query_params.get("show", ""), may(staff.role, "people:reveal")
    base, only = f"/staff/people/{person.public_id}", chosen if chosen in FILTERS else ""
    after = request.query_params.get("after")
    log = timeline.of_person(session, house.ring, person, until=until, only=only, opens=opens, after=after)
    keep, stopped = f"&on={on}" if until else "", preferences.suppressed(session, person)
    names = topic_names(session) if stopped else {}
    newest = urlencode({**request.query_params, "after": ""})
    return {
        "base": base,
        "person": {
            "id": person.public_id,
            "who": masked(session, house, person),
            "name": name_of(session, house, person),
            "locale": person.locale or "language not known",
            "zone": person.zone or "time zone not known",
            "state": person.state,
            "since": person.created_at,
        },
        "address": address,
        "missing": None,
        "on": on.isoformat(),
        "today": now.date().isoformat(),
        "on_words": days.in_words(on) if until else None,
        "slider": days.slider(_first_day(session, person), on, now),
        "sentence": _sentence(log.standing, until),
        "standing": log.standing if until else _today(session, person, now, log.standing),
        "filters": [tab(label, f"{base}?show={key}{keep}", key == chosen) for key, label in FILTERS.items()],
        "log": log.lines,
        "later": f"{base}?{newest}#log" if log.begins else None,
        "chain": _signed(session, house),
        "may_verify": may(staff.role, "ledger:verify"),
        "pager": pager(request, log.next, f"Newest first, {PAGE} to a page.", path=base, part="#log"),
        "may_reveal": opens and person.state != "erased",
        "may_rights": may(staff.role, "people:rights") and person.state != "erased",
        "reason_missing": None,
        "not_told": None,
        "why": "",
        "asked": who_asks(),
        "stopped": [on_the_list(one, names, staff.role) for one in stopped],
        "theirs": person.state == "restricted" and asked_for_restriction(session, person),
        "barred": any(one.cause == LEGAL for one in stopped),
        "evidence": f"{base}/evidence" + (f"?on={on}" if until else "") if opens else None,
    }


def who_asks(chosen: str = PERSON) -> list[dict[str, Any]]:
    """Whether what staff do is asked for, or done of our own accord."""
    ours = chosen == CONTROLLER
    return [choice(PERSON, "The person", not ours), choice(CONTROLLER, "We do, of our own accord", ours)]


def _signed(session: Session, house: House) -> dict[str, Any] | None:
    """How far the last signed head reaches; None where none is signed yet. Whether the chain holds, only reading it tells."""
    try:
        head = checkpoints.latest(session, house.ring)
    except checkpoints.TreeDiffers:
        return {"ok": False, "seq": None}
    return {"ok": True, "seq": head.size} if head else None


def on_the_list(row: Suppression, names: Mapping[int | None, str], role: str) -> dict[str, Any]:
    """One line of the do-not-mail list, with what would lift it; `names`: of topics, by their row numbers."""
    why, lifts = words_of(row.cause)
    opens = row.origin.startswith("i_") and may(role, "people:import")
    return {
        "scope": f"The topic “{names[row.topic_id]}”" if row.topic_id in names else SCOPES[row.scope],
        "why": why,
        "lifts": lifts,
        "origin": origin_words(row.origin),
        "brought": f"/staff/people/import/{row.origin}" if opens else None,
        "since": row.since_at,
        "entry": row.source_seq,
        "evidence": f"/staff/ledger?entry={row.source_seq}" if may(role, "ledger:read") else None,
    }


def _sentence(standing: list[dict[str, Any]], until: datetime | None) -> str:
    yes = [one["topic"] for one in standing if one["said"] and one["state"] in gate.PERMITTING]
    if not yes:
        return (
            "Had not said yes to any topic by the end of that day (UTC)."
            if until
            else "Has not said yes to any topic."
        )
    said = ", ".join(yes)
    return f"Had said yes to {said} by the end of that day (UTC)." if until else f"Says yes to {said}."


def _today(
    session: Session, person: Person, now: datetime, said: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Every topic with what the gate decides today, and why."""
    notes = {one["slug"]: one for one in said}
    return [_gate(session, person, topic, now, notes.get(topic.slug)) for topic in topics.active(session)]


def _gate(
    session: Session, person: Person, topic: Topic, now: datetime, said: dict[str, Any] | None
) -> dict[str, Any]:
    facts = deliveries.topic_facts(topic, topic.since_version)
    standing = preferences.standing(session, person, facts)
    decision = gate.decide(standing, topic=facts, now=now)
    return {
        "topic": topics.wording_for(session, topic.id or 0, "en").title,
        "state": "never" if standing.state == "unknown" else standing.state,
        "note": said["note"] if said else f"stands on {topic.basis.replace('_', ' ')}",
        "allowed": decision.allowed,
        "why": whom.words_of_one(decision.reason)
        if decision.reason
        else f"{standing.basis.replace('_', ' ')} in force",
    }
