"""The register of breaches: its 72 hours, facts that come in bit by bit, who was told; on both databases."""

import json
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlmodel import Session

from service.domain.ledger.actions import appended
from service.domain.privacy import breaches, queries, rules
from service.domain.privacy.tables import Breach

BY = "staff:s_1"
GIVEN = {"what": "A backup disk was left on a train", "whom": "Readers: addresses", "how_many": "4,812"}


def noticed(session: Session, now: datetime, *, ago: int = 0, **more: str) -> Breach:
    at = now - timedelta(hours=ago)
    return breaches.notice(session, noticed_at=at, given=GIVEN | more, now=now, by=BY)


def steps(session: Session) -> list[tuple[str, dict[str, Any]]]:
    return [(one.kind, json.loads(one.text)["body"]) for one in appended(session)]


def test_std_h18_its_clock_runs_from_when_it_was_noticed(session: Session, now: datetime) -> None:
    row = noticed(session, now, ago=5)
    assert (row.what, row.how_many, row.done) == (GIVEN["what"], "4812", "")
    assert rules.report_by(row.noticed_at) == now + timedelta(hours=67)
    assert breaches.clock_runs(row)
    assert steps(session)[0][0] == "breach.noticed"
    assert queries.first_unreported(session) is row
    earlier = noticed(session, now, ago=9)
    assert queries.first_unreported(session) is earlier


@pytest.mark.parametrize(
    ("more", "refusal"),
    [
        ({"what": " "}, rules.ReasonMissing),
        ({"how_many": "some"}, rules.NumberInvalid),
        ({"done": "x" * 4_001}, rules.TextTooLong),
    ],
)
def test_what_cannot_be_written(
    session: Session, now: datetime, more: dict[str, str], refusal: type[Exception]
) -> None:
    with pytest.raises(refusal):
        noticed(session, now, **more)
    with pytest.raises(rules.MomentInvalid):
        noticed(session, now, ago=-1)


def test_what_is_known_better_is_written_alone(session: Session, now: datetime) -> None:
    row = noticed(session, now)
    breaches.note(session, row.public_id, given=GIVEN, now=now, by=BY)
    breaches.note(session, row.public_id, given=GIVEN | {"how_many": "12"}, now=now, by=BY)
    assert steps(session)[1:] == [("breach.noted", {"how_many": "12"})]
    assert row.how_many == "12"


def test_a_report_in_time_and_one_after_it_with_its_reason(session: Session, now: datetime) -> None:
    row = noticed(session, now, ago=100)

    def report(hours: int, why: str = "", to: str = "State commissioner") -> None:
        at = row.noticed_at + timedelta(hours=hours)
        breaches.report(session, row.public_id, to=to, reported_at=at, why=why, now=now, by=BY)

    for hours in (-1, 101):
        with pytest.raises(rules.MomentInvalid):
            report(hours)
    with pytest.raises(rules.ReasonMissing):
        report(73)
    with pytest.raises(rules.ReasonMissing):
        report(10, to="")
    report(72)
    assert (row.reported_to, row.report_note, breaches.clock_runs(row)) == ("State commissioner", "", False)
    report(73, why="Known only on Monday")
    assert steps(session)[-1][1]["reason"] == "Known only on Monday"
    assert queries.first_unreported(session) is None


def test_not_to_be_reported_needs_its_reason(session: Session, now: datetime) -> None:
    row = noticed(session, now)

    def leave(why: str) -> None:
        breaches.report(session, row.public_id, to="", reported_at=None, why=why, now=now, by=BY)

    with pytest.raises(rules.ReasonMissing):
        leave("")
    leave("The disk was encrypted")
    assert steps(session)[-1] == ("breach.not_reported", {"reason": "The disk was encrypted"})
    assert not breaches.clock_runs(row)


def test_it_closes_once_both_are_settled(session: Session, now: datetime) -> None:
    row = noticed(session, now)
    with pytest.raises(rules.BreachUnfinished):
        breaches.close(session, row.public_id, now=now, by=BY)
    breaches.report(session, row.public_id, to="", reported_at=None, why="Encrypted", now=now, by=BY)
    with pytest.raises(rules.BreachUnfinished):
        breaches.close(session, row.public_id, now=now, by=BY)
    with pytest.raises(rules.ReasonMissing):
        breaches.people(session, row.public_id, told=False, how="", now=now, by=BY)
    breaches.people(session, row.public_id, told=False, how="No risk", now=now, by=BY)
    breaches.close(session, row.public_id, now=now, by=BY)
    assert (row.closed_at, row.closed_by) == (now, BY)
    with pytest.raises(rules.BreachClosed):
        breaches.note(session, row.public_id, given=GIVEN, now=now, by=BY)
    with pytest.raises(rules.BreachUnknown):
        breaches.close(session, "b_gone", now=now, by=BY)
    open_one = noticed(session, now, ago=50)
    assert list(queries.breaches(session)) == [open_one, row]
