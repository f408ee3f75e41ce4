"""A brand or its DKIM key is changed while somebody is being mailed under it: neither is in the other's way."""

import threading
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy.engine import Engine
from sqlmodel import Session

from service.db.engine import is_sqlite
from service.db.locks import lock_ledger_tail
from service.db.session import transaction
from service.domain.brands import actions
from service.kit import signing
from service.mail import dkim
from tests import builders as make

KEY = dkim.new_private_key()


def renames(session: Session, ring: signing.Keyring, now: datetime) -> Any:
    return actions.set_fields(session, "default", {"title": "Acme again"}, now=now, by="cli")


def makes_a_key(session: Session, ring: signing.Keyring, now: datetime) -> Any:
    return actions.new_dkim_key(session, ring, "default", private=KEY, now=now, by="cli")


@pytest.mark.parametrize("act", [renames, makes_a_key])
def test_who_is_mailed_meanwhile_waits_for_nothing(
    engine: Engine, ring: signing.Keyring, now: datetime, act: Callable[..., Any]
) -> None:
    """Whoever writes has the ledger's tail first, here as everywhere: with the brand's row first, each waited for the other."""
    if is_sqlite(engine):
        pytest.skip("one writes at a time")
    wrong: list[BaseException] = []

    def change() -> None:
        try:
            with transaction(engine) as session:
                act(session, ring, now)
        except BaseException as error:
            wrong.append(error)

    beside = threading.Thread(target=change)
    with transaction(engine) as session:
        lock_ledger_tail(session)
        beside.start()
        time.sleep(0.5)  # it has come as far as it can
        make.register(session, ring, "ana@example.org", [make.an_answer(at=now)], now=now)
        session.flush()
    beside.join(10)
    assert not beside.is_alive()
    assert wrong == []
