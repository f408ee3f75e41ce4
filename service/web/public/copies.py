"""The access copy on the person's own page: to read and to print, and as data by its schema; and the part to take along."""

import json
from collections.abc import Callable
from datetime import date, datetime
from typing import Any

from fastapi import APIRouter
from sqlmodel import Session
from starlette.requests import Request
from starlette.responses import Response

from service import fence
from service.domain.consent.rules import stopped_again
from service.domain.ledger import checkpoints
from service.domain.people.tables import Person
from service.domain.privacy import copies, requests
from service.domain.reports import receipts
from service.domain.topics.rules import TopicUnknown
from service.kit import clock
from service.kit.signing import Keyring
from service.web import deps, pages, words
from service.web.public import processing, profile, told
from service.web.public.held import LABELS, PLACES

router = APIRouter()
Made = Callable[..., dict[str, Any]]
HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
KINDS = {
    "person.registered": "Registered",
    "person.changed": "Data changed",
    "person.merged": "Two registrations became one",
    "person.signed_in": "Signed in to this page",
    "person.viewed": "Looked at by our staff",
    "person.revealed": "Shown to our staff in clear",
    "person.exported": "Copied out by our staff",
    "people.listed": "Shown to our staff in a list",
    "people.listed, exported": "Copied out by our staff, in an export",
    "contact.read": "Your message was read by our staff",
    "request.read": "Your request was read by our staff",
    "person.restricted": "Kept, not used",
    "person.restriction_lifted": "Used again",
    "person.objected": "Objected to advertising",
    "address.changed": "New address",
    "address.changed, pending": "New address given, not confirmed yet",
    "address.confirmed": "Address confirmed",
    "confirmation.requested": "Asked to confirm",
    "link.requested": "Asked for a link",
    "consent.requested": "Asked for, not confirmed yet",
    "consent.given": "Yes",
    "consent.renewed": "Yes, again",
    "consent.refused": "No",
    "consent.withdrawn": "Stopped",
    "consent.withdrawn, again": "Stopped again",
    "consent.restored": "Stop taken back",
    "consent.expired": "Ran out",
    "consent.invalidated": "No longer valid",
    "preference.changed": "How often you get mails",
    "preference.break_set": "A break from mails",
    "preference.break_ended": "Break ended",
    "stop.reason": "You said why",
    "address.kept": "Address kept, the new one dropped",
    "suppression.added": "On our do-not-mail list",
    "suppression.lifted": "Off our do-not-mail list",
    "request.received": "Your request came in",
    "request.extended": "Your request takes longer",
    "request.hastened": "Your request is to be answered sooner",
    "request.closed": "Your request was answered",
}

# What may be asked for (`privacy.rules.RIGHTS`), in the words of whoever asks.
RIGHTS = {
    "access": "A copy of what you hold about me",
    "rectification": "Correct my data",
    "erasure": "Erase my data",
    "restriction": "Keep my data, but do not use it",
    "portability": "What I gave, to take along",
    "objection": "No advertising any more",
    "objection_other": "Do not use my data for that",
    "opt_out": "No commercial mail any more",
}


@router.get("/me/copy")
async def page(request: Request) -> Response:
    """To read and to print."""
    person = await profile.signed_in(request)
    if person is None:
        return await profile.entrance(request)
    found = await _made(request, person, copies.access_copy)
    context = _readable(found, words.speaker(pages.language(request, person)))
    return await pages.public(request, "public/me_copy.html", context, person=person)


@router.post("/me/copy")
async def ask(request: Request) -> Response:
    """Ask for it: the request is on record as answered at once, and the page above follows. Looking again asks nothing anew."""
    person = await profile.signed_in(request)
    if person is None:
        return await profile.entrance(request, status=403)
    if not await _on_record(request, person, "access"):
        return await profile.entrance(request, status=403)
    return pages.redirect(request, "/me/copy")


@router.post("/me/portable.json")
async def take_along(request: Request) -> Response:
    """Ask for what they gave: on record as answered at once, and the file is the answer."""
    person = await profile.signed_in(request)
    if person is None:
        return await profile.entrance(request, status=403)
    if not await _on_record(request, person, "portability"):
        return await profile.entrance(request, status=403)
    return await portable(request)


async def _on_record(request: Request, person: Person, right: str) -> bool:
    """False: they are nobody here any more, and have asked for nothing."""

    def note(session: Session, held: Person) -> None:
        by = f"person:{held.public_id}"
        requests.fulfilled(session, held, right, door="link", now=clock.now(), by=by)

    return await profile.perform(request, person, note) is not None


@router.get("/me/copy.json")
async def as_data(request: Request) -> Response:
    """The same as data."""
    return await _file(request, copies.access_copy, "access-copy.json")


@router.get("/me/portable.json")
async def portable(request: Request) -> Response:
    """What they gave, to take along."""
    return await _file(request, copies.portable_copy, "portable-copy.json")


@router.get("/me/receipts/{slug}.json")
async def receipt(request: Request, slug: str) -> Response:
    """The consent receipt of one topic (ISO/IEC TS 27560), with a proof that `verify_ledger.py` checks without us. Raises
    `TopicUnknown` where the person has said nothing about such a topic."""
    house, now = deps.house(request), clock.now()
    if await profile.signed_in(request) is not None:
        await fence.perform(house, lambda session: checkpoints.sign(session, house.ring, now=now))

    def make(session: Session, ring: Keyring, person: Person, *, now: datetime) -> dict[str, Any]:
        found = receipts.of_person(session, ring, person, now=now)
        one = next((one for one in found if one["purpose"] == slug), None)
        if one is None:
            raise TopicUnknown
        return one

    return await _file(request, make, f"receipt-{slug}.json")


async def _file(request: Request, make: Made, name: str) -> Response:
    person = await profile.signed_in(request)
    if person is None:
        return await profile.entrance(request, status=403)
    return download(await _made(request, person, make), name)


def download(found: dict[str, Any], name: str) -> Response:
    """A copy as a file of its own, kept in no cache."""
    disposition = {"Content-Disposition": f'attachment; filename="{name}"'}
    text = json.dumps(found, ensure_ascii=False, indent=1)
    return Response(text, media_type="application/json", headers={**HEADERS, **disposition})


async def _made(request: Request, person: Person, make: Made) -> dict[str, Any]:
    ring: Keyring = deps.house(request).ring

    def look(session: Session) -> dict[str, Any]:
        held = session.get_one(Person, person.id)  # not whom they were made one with since
        return make(session, ring, held, now=clock.now())

    return await deps.read(deps.house(request), look)


def _readable(found: dict[str, Any], say: words.Say) -> dict[str, Any]:
    """The copy as the page shows it: instants as such, kinds and places in words."""
    titles = {one["id"]: one["title"] for one in found["wordings"]}
    own = found["person"]["id"]
    answered = {
        one["body"].get("topic")
        for one in found["events"]
        if one["kind"].startswith("consent.") and one["registration"] == own
    }
    return {
        **{part: found[part] for part in ("person", "addresses", "attributes", "messages")},
        "made_at": _moment(found["made_at"]),
        "others": [one["id"] for one in found["registrations"][1:] if one["state"] != "merged"],
        "profiles": [_profile(one, say) for one in found["profiles"]],
        "consents": [
            one
            | {
                "since": _moment(one["since"]),
                "basis": told.in_words(one["basis"], told.BASES, say),
                "receipt": one["registration"] == own and one["topic"] in answered,
            }
            for one in found["consents"]
        ],
        "wordings": found["wordings"],
        "events": [_event(one, titles, say) for one in found["events"]],
        "mails": [_mail(one, say) for one in found["mails"]],
        "suppressions": [
            one
            | {
                "cause": told.in_words(one["cause"], told.CAUSES, say),
                "scope": told.in_words(one["scope"], told.SCOPES, say),
            }
            for one in found["suppressions"]
        ],
        "requests": [_request(one, say) for one in found["requests"]],
        "disclosures": [one | {"on": date.fromisoformat(one["on"])} for one in found["disclosures"]],
        "kept": processing.kept(found["kept"], say),
        "processing": processing.readable(found["processing"], say),
    }


def _profile(one: dict[str, Any], say: words.Say) -> dict[str, Any]:
    ours, source = one["source"] in PLACES, one["source"]
    facts = [{"name": say(LABELS[name]), "value": value} for name, value in one["profile"].items() if value]
    if not ours:
        facts.append({"name": say("Its id for you"), "value": one["external_id"]})
    name = say(PLACES[source]) if ours else say("From the site “%(source)s”", source=source)
    return {"registration": one["registration"], "name": name, "facts": facts}


def _event(one: dict[str, Any], titles: dict[str, Any], say: words.Say) -> dict[str, Any]:
    """One line, and the proof that lies behind it."""
    body = one["body"]
    kind = one["kind"]
    kind += ", pending" if body.get("pending") else ", exported" if body.get("export") else ""
    kind += ", again" if stopped_again(kind, body) else ""
    known, right = KINDS.get(kind), RIGHTS.get(str(body.get("right")))
    return {
        "registration": one["registration"],
        "at": _moment(one["at"]),
        "entry": one["entry"],
        "what": say(known) if known else one["kind"],
        "about": titles.get(body.get("wording"))
        or body.get("topic")
        or (say(right) if right else body.get("reason") if body.get("export") else ""),
        "proof": list(told.proof(one["evidence"] or {}, say)),
    }


def _mail(one: dict[str, Any], say: words.Say) -> dict[str, Any]:
    return one | {
        "at": _moment(one["at"]),
        "about": told.in_words(one["about"], told.PURPOSES, say),
        "state": told.in_words(one["state"], told.MAILS, say),
    }


def _request(one: dict[str, Any], say: words.Say) -> dict[str, Any]:
    return one | {
        "what": say(RIGHTS[one["right"]]),
        "came_on": date.fromisoformat(one["came_on"]),
        "due_on": date.fromisoformat(one["due_on"]),
        "closed_at": _moment(one["closed_at"]),
    }


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
