"""Plain functions that make what tests speak of, by the same actions the doors use; no rows are written by hand.

Each has a default for everything, so that a test names only what it is about.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy.engine import Engine
from sqlmodel import Session, col, select

from service.config import Settings
from service.db.session import reading, transaction
from service.domain.announcements import actions as announcements
from service.domain.announcements import queries as announcement_queries
from service.domain.announcements.tables import Announcement
from service.domain.brands import actions as brands
from service.domain.consent.tables import Confirmation
from service.domain.deliveries import freeze as audiences
from service.domain.ledger import queries as ledger
from service.domain.links import rules as links
from service.domain.mailings import queries as mailings
from service.domain.mailings.tables import Mailing
from service.domain.people import queries as people
from service.domain.people.tables import Person
from service.domain.preferences import confirmation
from service.domain.preferences.registration import Registered, Registration, register_many
from service.domain.preferences.tables import Preference
from service.domain.topics import actions as topic_actions
from service.domain.topics import queries as topics
from service.domain.topics.rules import WordingText
from service.domain.topics.tables import Topic
from service.kit import addresses
from service.kit.errors import DomainError
from service.kit.signing import Keyring
from service.ops.house import House

BY = "key:k_test"
STAFF = "staff:s_test"
WORDS = {
    "en": {
        "subject": "{{ first_name|default('Hello') }}, the planner is here",
        "preheader": "Plan a week in two minutes",
        "body": 'Hello {{ first_name|default("there") }}\n\n[See it](https://example.org/planner "button")',
    }
}


def a_house(
    engine: Engine,
    ring: Keyring,
    directory: Path,
    **settings: Any,
) -> House:
    """An assembled installation over a test's database, without a mail server."""
    given = {
        "data_dir": directory,
        "hold_seconds": 0,
        "public_url": "http://127.0.0.1:8000",
        **settings,
    }
    return House(Settings(**given), engine, ring)


# --- people and what they said ---


def an_answer(
    topic: str = "new-products",
    given: bool = True,
    *,
    at: datetime,
    confirmed: bool = False,
    wording: str | None = None,
) -> dict[str, Any]:
    """One consent item as a site sends it, said at `at`."""
    said: dict[str, Any] = {"topic": topic, "given": given}
    if given:
        said |= {
            "source": "signup-form",
            "evidence": {"at": at.isoformat(), "url": "https://shop.example.org/join"},
        }
    if confirmed:
        said["confirmed"] = {"at": at.isoformat(), "method": "button"}
    if wording:
        said["wording"] = wording
    return said


def register(
    session: Session,
    ring: Keyring,
    email: str = "ana@example.org",
    consents: Sequence[dict[str, Any]] = (),
    *,
    now: datetime,
    external_id: str | None = None,
    source: str = "shop",
    attest: bool = True,
    **more: Any,
) -> Registered:
    """One PUT of a site; raises what it would answer."""
    given = Registration(external_id or email, email, consents=list(consents), **more)
    answer = register_many(session, ring, source, [given], attest=attest, topics=None, now=now, by=BY)[0]
    if isinstance(answer, DomainError):
        raise answer
    return answer


def a_person(
    session: Session,
    ring: Keyring,
    email: str = "ana@example.org",
    *,
    yes: Sequence[str] = ("new-products", "updates"),
    now: datetime,
    **more: Any,
) -> Person:
    """Somebody whose address is confirmed and who said yes to these topics an hour ago."""
    at = now - timedelta(hours=1)
    answers = [an_answer(slug, at=at, confirmed=True) for slug in yes or ("important-notices",)]
    return the_person(session, register(session, ring, email, answers, now=now, **more).person_id)


def the_person(session: Session, public_id: str) -> Person:
    """A person by opaque id."""
    found = people.by_public_id(session, public_id)
    assert found is not None
    return found


def the_topic(session: Session, slug: str = "new-products") -> Topic:
    """A topic by its slug."""
    return topics.by_slug(session, slug)


def a_topic(session: Session, slug: str = "offers", *, now: datetime, **more: Any) -> Topic:
    """A further topic, of marketing unless said otherwise."""
    given = {"basis": "consent", "mail_class": "marketing", "mailbox": slug, "brand_id": 1, **more}
    words = {"en": WordingText(slug.title(), "Now and then", f"Send me {slug}.")}
    return topic_actions.create(session, slug=slug, texts=words, now=now, by=STAFF, **given)


def the_preference(session: Session, person: Person, slug: str = "new-products") -> Preference | None:
    """What stands for a person and topic."""
    return session.get(Preference, (person.id, the_topic(session, slug).id))


def the_state(session: Session, person: Person, slug: str = "new-products") -> str:
    """The state of a topic for a person; "unknown" when nothing was said."""
    row = the_preference(session, person, slug)
    return row.state if row else "unknown"


def a_link(
    session: Session,
    person: Person | int,
    slug: str | None = "new-products",
    *,
    purpose: int = links.STOP,
    mailing: int = 0,
    pos: int = 0,
) -> links.Link:
    """What a mail's link says."""
    alias = person if isinstance(person, int) else person.alias
    return links.Link(purpose, alias, the_topic(session, slug).alias if slug else 0, mailing, pos)


def address_hash(ring: Keyring, email: str) -> str:
    """The keyed hash of a mailbox."""
    return mailings.address_hash(ring, addresses.parse(email))


def buttons(session: Session, person: Person | None = None) -> list[links.Link]:
    """The links of every confirmation mail so far (of one person), oldest first."""
    statement = (
        select(Mailing, Person)
        .join(Confirmation, col(Confirmation.mailing_id) == col(Mailing.id))
        .join(Person, col(Person.id) == col(Confirmation.person_id))
        .order_by(col(Mailing.id))
    )
    if person is not None:
        statement = statement.where(col(Person.id) == person.id)
    return [
        links.Link(links.CONFIRM, owner.alias, 0, mailing.alias, 1)
        for mailing, owner in session.exec(statement)
    ]


def press(session: Session, ring: Keyring, link: links.Link, *, now: datetime) -> confirmation.Confirmed:
    """Press the button of a confirmation mail."""
    return confirmation.confirm(
        session, ring, link, evidence={"url": "http://127.0.0.1:8000/confirm/"}, now=now
    )


# --- mailings ---


class Sending(NamedTuple):
    """A mailing by its ids: announcement, and the mailing's row number."""

    announcement: str
    id: int


def an_announcement(
    session: Session,
    settings: Settings,
    *,
    now: datetime,
    topic: str = "new-products",
    words: dict[str, Any] | None = None,
    **more: Any,
) -> Announcement:
    """An announcement that is due now."""
    brands.set_fields(
        session, "default", {"postal_address": "Musterstraße 1, 10115 Berlin"}, now=now, by="cli"
    )
    given = {"topic": topic, "template": "letter", "content": words or WORDS, **more}
    row = announcements.create(session, settings, now=now, by=STAFF, **given)
    announcements.submit(session, settings, row.public_id, now=now, by=STAFF)
    digest = announcement_queries.shown(session, row).content_hash
    announcements.approve(session, settings, row.public_id, content_hash=digest, now=now, by=STAFF)
    return announcements.schedule(session, row.public_id, at="now", hold_seconds=0, now=now, by=STAFF)


def a_started_mailing(house: House, *, now: datetime, **more: Any) -> Sending:
    """An announcement that was due and whose mailing is freezing."""
    with transaction(house.engine) as session:
        public_id = an_announcement(session, house.settings, now=now, **more).public_id
    with transaction(house.engine) as session:
        assert announcements.start_due(session, house.settings, now=now) == [public_id]
    with reading(house.engine) as session:
        mailing = announcement_queries.mailing_of(
            session, announcement_queries.by_public_id(session, public_id)
        )
        assert mailing is not None
        return Sending(public_id, mailing.id or 0)


def freeze(house: House, sending: Sending, *, now: datetime) -> None:
    """Take every step of a freeze."""
    while act(house, lambda session: freeze_step(session, sending.id, now=now)):
        pass


def freeze_step(session: Session, mailing_id: int, *, now: datetime) -> bool:
    """The next chunk of an audience, or its close; True while there is more to do."""
    if audiences.add_chunk(session, mailing_id, now=now):
        return True
    audiences.close(session, mailing_id, audiences.left_out(session, mailing_id, now=now), now=now)
    return False


def act(house: House, action: Callable[[Session], Any]) -> Any:
    """One transaction."""
    with transaction(house.engine) as session:
        return action(session)


def the_mailing(house: House, sending: Sending) -> Mailing:
    """A mailing as it stands now."""
    found = act(house, lambda session: session.get(Mailing, sending.id))
    assert isinstance(found, Mailing)
    return found


def kinds(session: Session, subject: str) -> list[str]:
    """The kinds of entries about a subject, oldest first, those of this transaction included."""
    pending: Iterator[str] = (one.kind for one in session.info.get("ledger", []) if one.subject == subject)
    return [seen.kind for seen in ledger.of_subject(session, subject)] + list(pending)
