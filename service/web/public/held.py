"""What is held about a person, in their own language and in plain words. Called by `profile` for `/me`."""

import zoneinfo
from typing import Any

from sqlmodel import Session
from starlette.requests import Request

from service.domain.consent import queries as consents
from service.domain.links import rules as links
from service.domain.links.rules import Link
from service.domain.mailings import queries as mailings
from service.domain.mailings.tables import Address
from service.domain.people import queries as people
from service.domain.people import rules as people_rules
from service.domain.people.tables import Person
from service.domain.policies import queries as policies
from service.domain.preferences import queries as preferences
from service.domain.preferences import rights
from service.domain.preferences import rules as gate
from service.domain.topics import queries as topics
from service.kit import clock
from service.web import deps, pages, words
from service.web.public import join, tokens

# Offered while typing; any other IANA name is taken as well.
ZONES = tuple(
    """Africa/Cairo Africa/Johannesburg Africa/Lagos Africa/Nairobi America/Bogota America/Chicago
    America/Denver America/Los_Angeles America/Mexico_City America/New_York America/Sao_Paulo America/Toronto
    Asia/Dubai Asia/Hong_Kong Asia/Jakarta Asia/Jerusalem Asia/Karachi Asia/Kolkata Asia/Seoul Asia/Shanghai
    Asia/Singapore Asia/Tokyo Australia/Sydney Europe/Amsterdam Europe/Athens Europe/Berlin Europe/Istanbul
    Europe/Kyiv Europe/Lisbon Europe/London Europe/Madrid Europe/Moscow Europe/Paris Europe/Rome
    Europe/Stockholm Europe/Vienna Europe/Warsaw Europe/Zurich Pacific/Auckland UTC""".split()  # noqa: SIM905
)
LABELS = {
    "first_name": "First name",
    "last_name": "Last name",
    "company": "Company",
    "postal_address": "Postal address",
    "telephone": "Telephone",
}
# Where a profile came from when no site sent it; a site is named as it names itself.
PLACES = {join.SOURCE: "From our sign-up page", people.OWN: "Corrected by you, or for you"}


def everything(request: Request, session: Session, person: Person) -> dict[str, Any]:
    """What the page shows."""
    opened, lang = deps.house(request), pages.language(request, person)
    key = people.person_key(opened.ring, person)
    address = people.address_of(session, opened.ring, person)
    pending = session.get(Address, person.pending_address_id) if person.pending_address_id else None
    known = people.profiles(session, opened.ring, person)
    values = dict(known[-1].profile) if known else dict.fromkeys(people_rules.PROFILE, "")
    values |= {"email": address.shown if address else "", "locale": person.locale, "zone": person.zone}
    say = words.speaker(lang)
    return {
        "values": values,
        "locales": _locales(person.locale),
        "zones": [zone for zone in ZONES if zone in zoneinfo.available_timezones()],
        "pending_email": mailings.open_address(opened.ring, pending, key).shown if pending else None,
        "since": person.created_at,
        "sources": _sources(session, person, known, say),
        "attributes": _attributes(session, person),
        "consents": _consents(session, person, lang),
        "max_per_week": person.max_per_week,
        "restricted": person.state == "restricted",
        "asked": person.state == "restricted" and rights.asked_for_restriction(session, person),
        "objected": any(one.cause == "objection" for one in preferences.suppressed(session, person)),
        "policies": _policies(session, lang),
        "preferences_href": tokens.path(opened, Link(links.PREFERENCES, person.alias)),
    }


def _locales(kept: str) -> list[dict[str, Any]]:
    """The languages to choose from. The one that is kept stands among them as it is kept, so that saving something else leaves a
    region, or a language that is none of ours, alone."""
    ours = words.spoken(kept)
    offered = {kept if code == ours else code: name for code, name in words.languages().items()}
    return [
        {"value": tag, "label": name, "selected": tag == kept}
        for tag, name in (offered if ours or not kept else {kept: kept, **offered}).items()
    ]


def _sources(
    session: Session, person: Person, known: list[people.Opened], say: words.Say
) -> list[dict[str, Any]]:
    """What each place sent, under a plain name, with the id a site has for this person."""
    assert person.id is not None
    rows: list[dict[str, Any]] = []
    for identity, opened in zip(people.identities(session, person.id), known, strict=True):
        facts = [
            {"name": say(LABELS[name]), "value": value} for name, value in opened.profile.items() if value
        ]
        ours = opened.source in PLACES
        if not ours:
            facts.append({"name": say("Its id for you"), "value": opened.external_id})
        name = say(PLACES[opened.source]) if ours else say("From the site “%(source)s”", source=opened.source)
        rows.append({"name": name, "since": identity.created_at, "facts": facts})
    return rows


def _attributes(session: Session, person: Person) -> list[dict[str, str]]:
    """What lies beside the profile, under the name a site gave it."""
    kept = people.attributes(session, person.id or 0)
    return [
        {"name": name.replace("_", " ").capitalize(), "value": ", ".join(values)}
        for name, values in sorted(kept.items())
    ]


def _consents(session: Session, person: Person, lang: str) -> list[dict[str, Any]]:
    """Every word the person has said, as the ledger has it, and how often and from when mails come."""
    said_of = {state["topic"]: state for state in consents.states(session, person.public_id)}
    mine, now, rows = preferences.of_person(session, person.id or 0), clock.now(), []
    for topic in topics.everything(session):
        if topic.slug in said_of:
            said_now, row = said_of[topic.slug], mine.get(topic.id or 0)
            wording = (
                topics.wording_by_public_id(session, said_now["wording"]) if said_now["wording"] else None
            )
            pausing = row and row.break_until and row.break_until > now
            rows.append(
                {
                    "topic": tokens.name_of(session, topic, lang),
                    "state": said_now["state"],
                    "at": said_now["since"],
                    "version": wording.version if wording else None,
                    "cadence": row.cadence if row and said_now["state"] in gate.PERMITTING else None,
                    "break_until": row.break_until if row and pausing else None,
                }
            )
    return rows


def _policies(session: Session, lang: str) -> list[dict[str, str]]:
    slugs = {policy.id: policy.slug for policy in policies.slugs(session)}
    return [
        {"href": f"/policies/{slugs[text.policy_id]}", "label": text.title}
        for text in policies.listed(session, lang, now=clock.now())
    ]
