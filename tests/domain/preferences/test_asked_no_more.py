"""What is asked once for a no to several topics, and not once for each of them."""

from collections.abc import Callable
from datetime import datetime

from sqlalchemy import event
from sqlalchemy.engine import Engine
from sqlmodel import Session

from service.db.session import transaction
from service.domain.preferences import actions
from service.kit.signing import Keyring
from tests import builders as make

ANA, KOV, SLUGS = "ana@example.org", "kov@example.org", ("new-products", "updates", "offers")


def asked(engine: Engine, act: Callable[[Session], object], table: str) -> int:
    """How many questions about a table an act puts in a transaction of its own."""
    found: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.lstrip().startswith("SELECT") and f"FROM {table}" in statement:
            found.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    try:
        with transaction(engine) as session:
            act(session)
    finally:
        event.remove(engine, "before_cursor_execute", note)
    return len(found)


def test_a_site_tells_of_several_noes_and_the_mailbox_is_looked_at_once(
    engine: Engine, ring: Keyring, now: datetime
) -> None:
    with transaction(engine) as session:
        make.a_topic(session, "offers", now=now)

    def told(external_id: str, email: str, slugs: tuple[str, ...]) -> int:
        said = [make.an_answer(slug, given=False, at=now) for slug in slugs]

        def act(session: Session) -> None:
            make.register(session, ring, email, said, now=now, external_id=external_id, attest=False)

        return asked(engine, act, "confirmation")

    assert told("1", ANA, SLUGS) == told("2", KOV, SLUGS[:1])


def test_a_page_saved_with_topics_off_looks_each_up_once(
    engine: Engine, ring: Keyring, now: datetime
) -> None:
    with transaction(engine) as session:
        ana_id = make.a_person(session, ring, ANA, now=now).public_id

    def act(session: Session) -> None:
        ana = make.the_person(session, ana_id)
        off = actions.Choices(topics=dict.fromkeys(SLUGS[:2], "off"))
        by = f"person:{ana_id}"
        actions.save(session, ring, ana, off, how="preferences_page", evidence={}, now=now, by=by)

    assert asked(engine, act, "topic") == 2
