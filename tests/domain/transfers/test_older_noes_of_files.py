"""A dated no of a file, and what somebody has asked for or taken back since that day."""

from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy.engine import Engine
from sqlmodel import select

from service.db.session import reading, transaction
from service.domain.people.tables import Person
from service.domain.preferences import actions
from service.kit import clock
from service.kit.signing import Keyring
from tests import builders as make
from tests.domain.transfers import files

ANA = "ana@example.org"
DAY = timedelta(days=1)


def test_the_button_asked_for_since_still_says_yes(
    engine: Engine, ring: Keyring, now: datetime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with transaction(engine) as session:
        ana = make.a_person(session, ring, ANA, now=now, external_id="1")
        link = make.a_link(session, ana, "new-products")
        actions.stop(session, ring, link, how="one_click", evidence={}, now=now)
        ana_id = ana.public_id
    with transaction(engine) as session:
        asks = [make.an_answer(at=now + 3 * DAY)]
        make.register(session, ring, ANA, asks, now=now + 3 * DAY, external_id="1")
        [*_, button] = make.buttons(session, make.the_person(session, ana_id))
    monkeypatch.setattr(clock, "now", lambda: now + 4 * DAY)
    house, day = make.a_house(engine, ring, tmp_path), (now - 5 * DAY).date().isoformat()
    content = f"email,subscribed at,status,unsubscribed at\n{ANA},2024-01-02,unsubscribed,{day}\n"
    files.imported(house, files.job(content.encode(), files.GRANT))
    with transaction(engine) as session:
        make.press(session, ring, button, now=now + 5 * DAY)
    with reading(engine) as session:
        assert make.the_state(session, make.the_person(session, ana_id)) == "given"


@pytest.mark.parametrize(("said", "holds"), [(-700, "withdrawn"), (-100, "given")])
def test_p7_a_dated_no_holds_over_a_yes_said_before_and_told_since(
    engine: Engine,
    ring: Keyring,
    now: datetime,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    said: int,
    holds: str,
) -> None:
    """A site moves its people here first; then comes the file of those who left."""
    with transaction(engine) as session:
        given = [make.an_answer(at=now + said * DAY, confirmed=True)]
        ana = make.register(session, ring, ANA, given, now=now, external_id="1").person_id
    monkeypatch.setattr(clock, "now", lambda: now + DAY)
    house, day = make.a_house(engine, ring, tmp_path), (now - 400 * DAY).date().isoformat()
    content = f"email,subscribed at,status,unsubscribed at\n{ANA},2024-01-02,unsubscribed,{day}\n"
    counts = files.imported(house, files.job(content.encode(), files.GRANT)).row.counts
    assert counts["noes" if holds == "withdrawn" else "skipped"]
    with reading(engine) as session:
        assert make.the_state(session, make.the_person(session, ana)) == holds


@pytest.mark.parametrize(("left", "holds"), [("2025-03-04", "withdrawn"), ("2022-03-04", "given")])
def test_p7_a_dated_no_holds_over_an_earlier_yes_of_the_same_file(
    engine: Engine,
    ring: Keyring,
    now: datetime,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    left: str,
    holds: str,
) -> None:
    """One line of when they came, one of when they left: both are read in one transaction."""
    monkeypatch.setattr(clock, "now", lambda: now)
    house = make.a_house(engine, ring, tmp_path)
    came, gone = "2024-01-02,2024-01-02,192.0.2.1,confirmed,", f"2020-01-02,,,unsubscribed,{left}"
    names = "email,subscribed at,confirmed at,confirmed ip,status,unsubscribed at"
    columns = {"email": "email", "subscribed at": "agreed_at", "confirmed at": "confirmed_at"}
    columns |= {"confirmed ip": "confirmed_ip", "status": "status", "unsubscribed at": "no_at"}
    content = f"{names}\n{ANA},{came}\n{ANA},{gone}\n".encode()
    files.imported(house, files.job(content, files.GRANT, columns=columns, attested=True))
    with reading(engine) as session:
        [ana] = session.exec(select(Person)).all()
        assert make.the_state(session, ana) == holds
