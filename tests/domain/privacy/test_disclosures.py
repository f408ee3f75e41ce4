"""The register of disclosures: written for good, told later, and what a person must not know nowhere in what is theirs."""

import json
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy.engine import Engine
from sqlmodel import Session

from service.db.session import reading, transaction
from service.domain.ledger import checkpoints
from service.domain.ledger import queries as ledger
from service.domain.people.tables import Person
from service.domain.privacy import copies, disclosures, rules
from service.domain.reports import evidence
from service.kit.signing import Keyring
from tests import builders as make
from tests.domain.privacy.schemas import faults, published

BY = "staff:s_1"
GIVEN = {
    "to": "Riverton district court",
    "ground": "Code of criminal procedure, section 94",
    "document": "Order of 20 November 2026, 7 Gs 12/26",
    "scope": "address and consent history from 2025 on",
}


def give(session: Session, people: list[Person], now: datetime, **more: Any) -> str:
    said = {"told": "told", "why_not": "", "approver": BY, "made_on": now.date(), "given": GIVEN, **more}
    return disclosures.disclose(session, people, now=now, by=BY, **said)


def given(engine: Engine, ring: Keyring, now: datetime, **more: Any) -> tuple[str, str, str]:
    """One disclosure about two people: its id and theirs."""
    with transaction(engine) as session:
        ana = make.a_person(session, ring, now=now)
        bea = make.a_person(session, ring, "bea@example.org", now=now)
        return give(session, [ana, bea], now, **more), ana.public_id, bea.public_id


def test_each_person_has_an_entry_of_their_own(engine: Engine, ring: Keyring, now: datetime) -> None:
    made, ana, bea = given(engine, ring, now)
    with reading(engine) as session:
        found = ledger.of_subject(session, made)
        assert [one.body["person"] for one in found] == [ana, bea]
        assert all(bea not in one.entry for one in found[:1])
        [only] = disclosures.register(session)
        assert (only.to, only.made_on, only.people) == (
            GIVEN["to"],
            now.date(),
            {ana: found[0].seq, bea: found[1].seq},
        )
        [(mine, entry)] = disclosures.known_to(session, [ana])
        assert (mine.public_id, entry) == (made, found[0].seq)


def test_nobody_by_name_is_one_entry(engine: Engine, now: datetime) -> None:
    with transaction(engine) as session:
        made = give(session, [], now)
    with reading(engine) as session:
        assert len(ledger.of_subject(session, made)) == 1
        assert disclosures.register(session)[0].people == {}


def test_today_is_a_day_that_has_begun_somewhere(session: Session, now: datetime) -> None:
    evening = now.replace(hour=10, minute=30)  # half past midnight, on the next day, in Kiritimati
    assert give(session, [], evening, made_on=date(2026, 11, 25))


@pytest.mark.parametrize(
    ("more", "refusal"),
    [
        ({"given": GIVEN | {"ground": " "}}, rules.ReasonMissing),
        ({"given": GIVEN | {"scope": "x" * 501}}, rules.TextTooLong),
        ({"approver": ""}, rules.ApproverMissing),
        ({"told": ""}, rules.ToldUnknown),
        ({"told": "secret"}, rules.ReasonMissing),
        ({"told": "may_know"}, rules.ReasonMissing),
        ({"made_on": date(2026, 11, 25)}, rules.DayInvalid),
    ],
)
def test_what_is_missing(
    session: Session, now: datetime, more: dict[str, Any], refusal: type[Exception]
) -> None:
    with pytest.raises(refusal):
        give(session, [], now, **more)


def everything_theirs(engine: Engine, ring: Keyring, person: str, now: datetime) -> str:
    """The access copy and the evidence file of somebody, as they are handed out."""
    with transaction(engine) as session:
        checkpoints.sign(session, ring, now=now)
    with reading(engine) as session:
        row = make.the_person(session, person)
        copy = copies.access_copy(session, ring, row, now=now)
        assert faults(published("access-copy"), json.loads(json.dumps(copy))) == []
        disclosed = copies.disclosed(session, [row])
        file = evidence.of_person(session, ring, row, on=now, now=now, disclosed=disclosed)
        proven = {json.loads(one["text"])["seq"] for one in file["proof"]["entries"]}
        assert {one["entry"] for one in file["disclosures"]} <= proven
    return json.dumps([copy, file])


def test_what_they_must_not_know_is_in_nothing_of_theirs_until_they_are_told(
    engine: Engine, ring: Keyring, now: datetime
) -> None:
    made, ana, bea = given(engine, ring, now, told="secret", why_not="Order of secrecy until May")
    theirs = everything_theirs(engine, ring, ana, now)
    for word in (made, GIVEN["to"], "secrecy", "disclosure.made"):
        assert word not in theirs
    later = now + timedelta(days=1)
    for _ in range(2):
        with transaction(engine) as session:
            disclosures.tell(session, made, now=later, by=BY)
    with reading(engine) as session:
        kinds = [one.kind for one in ledger.of_subject(session, made)]
        assert kinds == ["disclosure.made", "disclosure.made", "disclosure.told"]
        [only] = disclosures.register(session)
        assert (only.told, only.told_at, only.why_not) == ("told", later, "Order of secrecy until May")
        assert disclosures.known_to(session, [ana], until=now) == []
    theirs = everything_theirs(engine, ring, ana, later)
    assert GIVEN["to"] in theirs
    assert bea not in theirs


def test_telling_of_what_is_not_there(session: Session) -> None:
    with pytest.raises(rules.DisclosureUnknown):
        disclosures.tell(session, "d_gone", now=datetime(2026, 11, 24, tzinfo=UTC), by=BY)
