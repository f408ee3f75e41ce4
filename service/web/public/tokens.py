"""What the pages behind a mailed link share: reading it, whom and what it names, the neighbouring links.

A link says little and proves it: it opens a masked address and choices, never a profile (standards N3).
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlmodel import Session
from starlette.requests import Request

from service.domain.announcements.rules import name_of as name_of_mail
from service.domain.links import rules as links
from service.domain.links.rules import Link
from service.domain.people import queries as people
from service.domain.people.tables import Person
from service.domain.preferences import changes
from service.domain.preferences import pages as shown_pages
from service.domain.preferences import queries as preferences
from service.domain.preferences import rules as gate
from service.domain.preferences.tables import Preference
from service.domain.topics import queries as topics
from service.domain.topics import rules as topic_rules
from service.domain.topics.tables import Topic
from service.kit.sealing import Unsealable
from service.ops.house import House
from service.web import deps, pages

PATHS = {
    links.STOP: "/u/",
    links.PREFERENCES: "/p/",
    links.WHY: "/why/",
    links.CONFIRM: "/confirm/",
    links.SIGN_IN: "/me/enter/",
}


@dataclass(frozen=True)
class Named:
    """What a link names, as far as this database still knows it."""

    person: Person | None
    lang: str
    masked: str | None = None
    topic: Topic | None = None
    topic_name: str | None = None
    preference: Preference | None = None


def read(request: Request, token: str, purpose: int) -> Link:
    """The link in a path; kept with the request, for what may go wrong yet. Raises `LinkNotRecognised`."""
    link = links.read(token, deps.house(request).ring.link_keys, purpose=purpose)
    request.state.link = link
    return link


def path(opened: House, link: Link, purpose: int | None = None) -> str:
    """The path of a link, or of its neighbour for another purpose: the same person, topic and mail."""
    meant = link._replace(purpose=purpose or link.purpose)
    return PATHS[meant.purpose] + links.write(meant, opened.ring.link_keys)


def neighbours(opened: House, link: Link) -> dict[str, str] | None:
    """The two links in the foot of every page behind a mail; none where the link came with no mail."""
    if not link.mailing:
        return None
    return {"why": path(opened, link, links.WHY), "preferences": path(opened, link, links.PREFERENCES)}


def named(request: Request, session: Session, link: Link) -> Named:
    """Person and topic of a link, in the reader's language."""
    person = people.by_alias(session, link.person)
    lang = pages.language(request, person)
    topic = topics.by_alias(session, link.topic) if link.topic else None
    return Named(
        person=person,
        lang=lang,
        masked=masked(request, session, person),
        topic=topic,
        topic_name=name_of(session, topic, lang) if topic else None,
        preference=session.get(Preference, (person.id, topic.id)) if person and topic else None,
    )


def masked(request: Request, session: Session, person: Person | None) -> str | None:
    """Enough of the address for its owner to know it; None once it is gone."""
    try:
        address = people.address_of(session, deps.house(request).ring, person) if person else None
    except Unsealable:
        return None
    return address.masked if address else None


def mail_name(request: Request, session: Session, link: Link, lang: str) -> str | None:
    """The subject of the mail a link was printed in, as far as it is still known."""
    if not link.mailing:
        return None
    return plain(shown_pages.why(session, deps.house(request).ring, link, lang).subject) or None


def plain(subject: str | None) -> str:
    """A subject as it was written, without the fields that were merged into it."""
    return name_of_mail({"it": {"subject": subject}}, "it") if subject else ""


def name_of(session: Session, topic: Topic, lang: str) -> str:
    """A topic's name as readers know it."""
    assert topic.id is not None
    try:
        return topics.wording_for(session, topic.id, lang).title
    except topic_rules.WordingUnknown:
        return topic.slug


def keeps(session: Session, seen: Named, *, but: Topic | None) -> list[dict[str, Any]]:
    """What the person goes on getting: [{name, note}]."""
    if seen.person is None or seen.person.id is None or seen.person.state == "erased":
        return []
    kept = []
    for topic in _gets(session, seen.person):
        if (but and topic.id == but.id) or (but is None and topic.mail_class != "service"):
            continue
        words = topics.wording_for(session, topic.id or 0, seen.lang)
        kept.append((topic.position, {"name": words.title, "note": words.frequency}))
    return [one for _, one in sorted(kept, key=lambda pair: pair[0])]


def stopped(session: Session, seen: Named) -> bool:
    """Whether what the link stops is stopped now: its topic, or every one that can be."""
    if seen.topic:
        return seen.preference is not None and seen.preference.state in gate.NOES
    return seen.person is None or all(one.mail_class == "service" for one in _gets(session, seen.person))


def stopped_since(session: Session, seen: Named) -> datetime | None:
    """Since when they have stopped the topic of the link, said again since or not."""
    if seen.person is None or seen.preference is None or seen.topic is None:
        return None
    return changes.stopped_since(session, seen.person, seen.preference, seen.topic)


def _gets(session: Session, person: Person) -> list[Topic]:
    rows = preferences.of_person(session, person.id or 0)
    permitted = [topics.by_id(session, one) for one, row in rows.items() if row.state in gate.PERMITTING]
    return [topic for topic in permitted if topic.state == "active"]
