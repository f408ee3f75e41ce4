"""A message sent by two presses at once is one message, on either database."""

from datetime import datetime

from sqlalchemy.engine import Engine
from sqlmodel import Session, select

from service.db.session import reading
from service.domain.privacy import actions
from service.domain.privacy.tables import ContactRequest
from service.kit import addresses
from service.kit.signing import Keyring
from tests.domain.suppressions.test_bars_at_once import at_once


def test_two_presses_at_once_are_one_message(engine: Engine, ring: Keyring, now: datetime) -> None:
    def ask(session: Session) -> None:
        actions.ask(
            session, ring, address=addresses.parse("zoe@example.org"), name="Zoe", subject="data", text="What?",
            locale="en", now=now,
        )  # fmt: skip

    assert at_once(engine, ask) == []
    with reading(engine) as session:
        assert len(session.exec(select(ContactRequest)).all()) == 1
