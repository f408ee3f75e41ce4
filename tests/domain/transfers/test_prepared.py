"""What is said while an import prepares its next people: a no wins, and what was made for whoever is not new is thrown away.

The file's own stream says it. Its end is read after every row was prepared, and before the transaction begins.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from io import BytesIO
from pathlib import Path

import pytest
from sqlalchemy.engine import Engine
from sqlmodel import Session, select

from service.db.session import reading, transaction
from service.domain.brands import actions as brands
from service.domain.consent import evidence, queries
from service.domain.consent.actions import Said
from service.domain.ledger import queries as ledger
from service.domain.people import queries as people
from service.domain.people.tables import Person
from service.domain.preferences import rights
from service.domain.preferences.actions import stop
from service.domain.suppressions import actions as suppressions
from service.domain.transfers import judging
from service.domain.transfers.tables import Import
from service.kit import addresses, clock
from service.kit.signing import Keyring
from service.ops import erasure, imports
from service.ops.house import House
from tests import builders as make
from tests.domain.transfers import files

ANA = "ana@example.org"
CONTENT = f"email,optin time,confirmed at,ip\n{ANA},2026-01-02 10:00,2026-01-02 10:05,192.0.2.77\n".encode()
COLUMNS = {"email": "email", "optin time": "agreed_at", "confirmed at": "confirmed_at", "ip": "confirmed_ip"}


@pytest.fixture
def house(engine: Engine, ring: Keyring, tmp_path: Path) -> House:
    return make.a_house(engine, ring, tmp_path)


class Told(BytesIO):
    """A file at whose end something happens, once."""

    def __init__(self, then: Callable[[], None]) -> None:
        super().__init__(CONTENT)
        self.then: Callable[[], None] | None = then

    def read1(self, size: int | None = -1, /) -> bytes:
        read = super().read1(-1 if size is None else size)
        if not read and self.then:
            self.then, then = None, self.then
            then()
        return read


def run(house: House, meanwhile: Callable[[Session], object], source: str = "old-shop") -> Import:
    """An attested import of Ana, with something done once she is prepared."""
    job = files.job(CONTENT, files.GRANT, columns=COLUMNS, attested=True, source=source)
    row = files.begun(house, job, rows=1)
    happened = []

    def then() -> None:
        with transaction(house.engine) as session:
            happened.append(session.get_one(Import, row.id).rows_done)
            meanwhile(session)

    ended = imports.run(house, replace(job, open=lambda: Told(then)), row, by="cli")
    assert happened == [0], "nothing was written before"
    return ended


def registered(house: House) -> None:
    """Ana is here, by another site's word, and said yes a hundred days ago."""
    with transaction(house.engine) as session:
        make.a_person(session, house.ring, ANA, now=clock.now() - timedelta(days=100))


def ana(session: Session, house: House) -> Person:
    [found] = people.by_address(session, house.ring, addresses.parse(ANA))
    return found


def stopped(session: Session, house: House) -> None:
    link = make.a_link(session, ana(session, house))
    stop(session, house.ring, link, how="link", evidence={}, now=clock.now())


def erased(session: Session, house: House) -> None:
    erasure.erase(session, house.ring, ana(session, house), how="staff", now=clock.now(), by=make.STAFF)


def restricted(session: Session, house: House) -> None:
    rights.restrict(session, ana(session, house), how="link", now=clock.now(), by=make.STAFF)


def objected(session: Session, house: House) -> None:
    person, now = ana(session, house), clock.now()
    rights.object_to_marketing(session, house.ring, person, Said("link"), now=now, by=make.STAFF)


def complained(session: Session, house: House) -> None:
    suppressions.add(
        session, make.address_hash(house.ring, ANA), scope="all", cause="complaint", origin="test",
        subject=None, now=clock.now(), by=make.STAFF,
    )  # fmt: skip


NOES = {
    "skipped_withdrawn": stopped,
    "skipped_erased": erased,
    "skipped_restricted": restricted,
    "skipped_do_not_mail": objected,
    "skipped_complained": complained,
}


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("reason", NOES)
def test_p7_a_no_said_after_the_preparation_wins(
    house: House, monkeypatch: pytest.MonkeyPatch, reason: str, early: bool
) -> None:
    """`early`: had the rows been judged when they were prepared, it would be seen."""
    if reason != "skipped_complained":
        registered(house)
    standing = judging._standing

    def meanwhile(session: Session) -> None:
        if early:
            known = standing(session, house.ring, "old-shop", [], [make.address_hash(house.ring, ANA)])
            monkeypatch.setattr(judging, "_standing", lambda *_: known)
        NOES[reason](session, house)

    row = run(house, meanwhile)
    with reading(house.engine) as session:
        page = ledger.page(session, after=None, limit=200).rows
    written = [one.kind for one in page if one.body.get("import") == row.public_id]
    left_alone = row.counts["skipped"] == {reason: 1} and not written
    assert left_alone is not early


def test_whoever_comes_meanwhile_is_one_person_with_the_names_they_came_with(house: House) -> None:
    """What was made for somebody new is of no use then, and nothing of it is written."""
    row = run(house, lambda session: make.a_person(session, house.ring, ANA, now=clock.now()))
    assert (row.counts["new"], row.counts["changed"], row.counts["skipped"]) == (0, 1, {})
    with reading(house.engine) as session:
        person = ana(session, house)
        assert session.exec(select(Person)).all() == [person]
        assert {one.source for one in people.identities(session, person.id or 0)} == {"shop", "old-shop"}
        assert people.address_of(session, house.ring, person) == addresses.parse(ANA)


@pytest.mark.parametrize(
    ("kept", "ip"), [("none", None), ("full", "192.0.2.77"), ("truncated", "192.0.2.0/24")]
)
def test_evidence_keeps_as_much_of_a_network_address_as_is_set_when_it_is_written(
    house: House, kept: str, ip: str | None
) -> None:
    def set_to(policy: str) -> Callable[[Session], object]:
        return lambda session: brands.set_setting(session, "ip_evidence", policy, now=clock.now(), by="cli")

    with transaction(house.engine) as session:
        set_to("none" if kept == "truncated" else "truncated")(session)
    run(house, set_to(kept))
    assert confirmed_from(house) == ip


def test_evidence_closed_before_opens_under_the_persons_own_key(house: House) -> None:
    run(house, lambda _: None)
    assert confirmed_from(house) == "192.0.2.0/24"


def confirmed_from(house: House) -> str | None:
    """From where Ana pressed the button elsewhere, as far as the evidence of her yes says."""
    with reading(house.engine) as session:
        person = ana(session, house)
        [event] = queries.events(session, person.public_id)
        opener, key = evidence.Opener(session, house.ring), people.person_key(house.ring, person)
        told = opener.open(key, event.body["evidence"], subject=person.public_id, kind=event.kind)
    assert event.kind == "consent.given"
    assert told["at"] == "2026-01-02T10:00:00+00:00"
    confirmed = told["confirmed"]
    assert confirmed["at"] == "2026-01-02T10:05:00+00:00"
    ip: str | None = confirmed.get("ip")
    return ip
