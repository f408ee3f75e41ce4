"""Requests under people's rights: their clocks, how they end, and what an erasure leaves of them; on both databases."""

import json
import threading
import time
from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.engine import Engine
from sqlmodel import Session

from service.db.engine import is_sqlite
from service.db.locks import lock_ledger_tail
from service.db.session import transaction
from service.domain.ledger.actions import appended
from service.domain.people import queries as people
from service.domain.people.tables import Person
from service.domain.preferences import access
from service.domain.privacy import actions, copies, queries, requests, rules
from service.domain.privacy.tables import ContactRequest, RightsRequest
from service.kit import addresses, paging
from service.kit.signing import Keyring
from service.ops import erasure
from tests import builders as make
from tests.domain.privacy.schemas import faults, published

BY = "staff:s_1"


def asked(
    session: Session, ring: Keyring, now: datetime, right: str = "access", **more: Any
) -> RightsRequest:
    given = {"came_on": now.date(), "door": "staff", "who": "Ana Ruiz", "text": "By letter.", **more}
    return requests.receive(session, ring, right=right, now=now, by=BY, **given)


def kinds(session: Session) -> list[str]:
    return [one.kind for one in appended(session)]


def last(session: Session) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(appended(session)[-1].text)
    return found


@pytest.mark.parametrize(
    ("right", "came", "due"),
    [
        ("access", "2026-11-24", "2026-12-24"),
        ("erasure", "2027-01-31", "2027-02-28"),
        ("access", "2028-01-31", "2028-02-29"),
        ("portability", "2026-12-01", "2027-01-01"),
        ("objection", "2026-11-24", "2026-11-24"),
        ("objection_other", "2026-11-24", "2026-12-24"),
        ("opt_out", "2026-11-24", "2026-12-08"),
        ("opt_out", "2026-11-28", "2026-12-11"),
    ],
)
def test_std_h9_until_when_it_has_to_be_answered(right: str, came: str, due: str) -> None:
    """A month to the same date (Regulation 1182/71), ten working days, at once; a Saturday's letter counts from Monday."""
    assert rules.due_on(right, date.fromisoformat(came)) == date.fromisoformat(due)


def test_what_is_asked_lies_sealed_and_its_clock_runs_from_the_day_it_came(
    session: Session, ring: Keyring, now: datetime
) -> None:
    row = asked(session, ring, now, came_on=now.date() - timedelta(days=20))
    assert row.due_on == date(2026, 12, 4)
    assert b"Ana" not in (row.sealed or b"")
    assert "Ana" not in appended(session)[-1].text
    assert last(session)["body"] == {
        "request": row.public_id, "right": "access", "door": "staff", "due": "2026-12-04",
    }  # fmt: skip
    opened = requests.open_request(session, ring, row.public_id, now=now, by=BY)
    assert (opened.who, opened.text) == ("Ana Ruiz", "By letter.")
    assert kinds(session)[-1] == "request.read"


@pytest.mark.parametrize(
    ("more", "refusal"),
    [
        ({"right": "cake"}, rules.RightUnknown),
        ({"came_on": date(2026, 11, 25)}, rules.DayInvalid),
        ({"text": " "}, rules.TextEmpty),
        ({"who": "x" * 201}, rules.NameTooLong),
    ],
)
def test_what_cannot_be_a_request(
    session: Session, ring: Keyring, now: datetime, more: dict[str, Any], refusal: type[Exception]
) -> None:
    with pytest.raises(refusal):
        asked(session, ring, now, **more)


def test_today_is_a_day_that_has_begun_somewhere(session: Session, ring: Keyring, now: datetime) -> None:
    evening = now.replace(hour=10, minute=30)  # half past midnight, on the next day, in Kiritimati
    row = asked(session, ring, evening, came_on=date(2026, 11, 25))
    assert row.due_on == date(2026, 12, 25)
    with pytest.raises(rules.DayInvalid):
        asked(session, ring, evening, came_on=date(2026, 11, 26))


def test_two_further_months_once_told_and_only_within_the_first(
    session: Session, ring: Keyring, now: datetime
) -> None:
    row = asked(session, ring, now)

    def extend(reason: str = "Three archives", told: bool = True, later: int = 0) -> None:
        when = now + timedelta(days=later)
        requests.extend(session, row.public_id, reason=reason, told=told, now=when, by=BY)

    with pytest.raises(rules.ReasonMissing):
        extend(reason=" ")
    with pytest.raises(rules.NotToldYet):
        extend(told=False)
    with pytest.raises(rules.TooLateToExtend):
        extend(later=31)
    extend(later=30)
    assert row.due_on == date(2027, 2, 24)
    assert last(session)["body"]["reason"] == "Three archives"
    with pytest.raises(rules.ExtendedBefore):
        extend()
    for right in ("objection", "opt_out"):
        row = asked(session, ring, now, right)
        with pytest.raises(rules.NoMoreTime):
            extend()


def test_who_closed_it_and_how(session: Session, ring: Keyring, now: datetime) -> None:
    row = asked(session, ring, now)
    with pytest.raises(rules.OutcomeUnknown):
        requests.close(session, row.public_id, outcome="", note="", now=now, by=BY)
    with pytest.raises(rules.ReasonMissing):
        requests.close(session, row.public_id, outcome="refused", note="", now=now, by=BY)
    requests.close(session, row.public_id, outcome="refused", note="Asked for daily", now=now, by=BY)
    assert (row.outcome, row.closed_by, row.closed_at) == ("refused", BY, now)
    assert last(session)["body"]["reason"] == "Asked for daily"
    with pytest.raises(rules.RequestClosed):
        requests.close(session, row.public_id, outcome="done", note="", now=now, by=BY)
    with pytest.raises(rules.RequestUnknown):
        requests.close(session, "rr_gone", outcome="done", note="", now=now, by=BY)


def test_a_right_that_was_had_closes_what_waited_for_it(
    session: Session, ring: Keyring, now: datetime
) -> None:
    ana = make.a_person(session, ring, now=now)
    waiting, other = (asked(session, ring, now, right, person=ana) for right in ("restriction", "erasure"))
    requests.fulfilled(session, ana, "restriction", door="link", now=now, by=f"person:{ana.public_id}")
    assert (waiting.outcome, waiting.closed_by) == ("done", f"person:{ana.public_id}")
    assert other.closed_at is None
    assert (last(session)["kind"], last(session)["subject"]) == ("request.closed", ana.public_id)


@pytest.mark.parametrize("right", ["access", "portability"])
def test_std_h9_what_came_by_letter_is_not_answered_by_a_look_at_ones_own_page(
    session: Session, ring: Keyring, now: datetime, right: str
) -> None:
    """Whoever wrote a letter waits for an answer to it: what they had by another door may be something else."""
    ana = make.a_person(session, ring, now=now)
    letter = asked(session, ring, now, right, person=ana)
    message = asked(session, ring, now, right, door="form", person=ana, contact=wrote(session, ring, now))
    requests.fulfilled(session, ana, right, door="link", now=now, by=f"person:{ana.public_id}")
    assert [letter.closed_at, message.closed_at] == [None, None]
    [looked] = closed(session, ring)
    assert (looked.row.door, looked.row.outcome) == ("link", "done")


def closed(session: Session, ring: Keyring) -> list[queries.Requested]:
    return list(queries.requests_page(session, ring, closed=True).rows)


def test_without_one_it_is_a_request_closed_at_once_and_a_second_press_is_none(
    session: Session, ring: Keyring, now: datetime
) -> None:
    ana = make.a_person(session, ring, now=now)
    by = f"person:{ana.public_id}"
    for minutes in (0, 1, 59):
        requests.fulfilled(session, ana, "access", door="link", now=now + timedelta(minutes=minutes), by=by)
    [only] = closed(session, ring)
    assert (only.row.door, only.row.closed_at, only.row.outcome) == ("link", now, "done")
    requests.fulfilled(session, ana, "access", door="staff", now=now, by=BY)
    requests.fulfilled(session, ana, "access", door="link", now=now + timedelta(hours=1), by=by)
    assert len(closed(session, ring)) == 3


def test_the_first_due_come_first_page_by_page(session: Session, ring: Keyring, now: datetime) -> None:
    days = (3, 0, 9, 0, 5)
    rows = [asked(session, ring, now, came_on=now.date() - timedelta(days=ago)) for ago in days]
    asked(session, ring, now, "opt_out")
    wanted = [rows[2], rows[4], rows[0], rows[1], rows[3]]
    seen, after = [], None
    while True:
        found = queries.requests_page(session, ring, closed=False, after=after, limit=2)
        seen += [one.row.public_id for one in found.rows]
        if (after := found.next) is None:
            break
    assert seen[1:] == [one.public_id for one in wanted]
    with pytest.raises(paging.CursorInvalid):
        queries.requests_page(session, ring, closed=False, after=paging.encode("soon 1"))
    counts = queries.request_counts(session, date(2026, 12, 20))
    assert counts == {"open": 6, "overdue": 3, "closed": 0}


def wrote(session: Session, ring: Keyring, now: datetime) -> ContactRequest:
    return actions.ask(
        session, ring, address=addresses.parse("ana@example.org"), name="Ana", subject="data",
        text="Erase me.", locale="en", now=now,
    )  # fmt: skip


def test_a_message_becomes_one_request_for_each_right(session: Session, ring: Keyring, now: datetime) -> None:
    message = wrote(session, ring, now)
    first = asked(session, ring, now, "erasure", door="form", contact=message)
    assert asked(session, ring, now, "erasure", door="form", contact=message) is first
    assert asked(session, ring, now, "access", door="form", contact=message) is not first
    assert first.sealed is None
    opened = queries.requested(session, ring, first)
    assert (opened.who, opened.text) == ("a***a@example.org", "Erase me.")


def test_std_h11_an_erasure_closes_its_request_and_leaves_no_word_of_it(
    session: Session, ring: Keyring, now: datetime
) -> None:
    ana = make.a_person(session, ring, now=now)
    by_letter = asked(session, ring, now, "access", person=ana)
    by_form = asked(session, ring, now, "erasure", door="form", person=ana, contact=wrote(session, ring, now))
    erasure.erase(session, ring, ana, how="staff", reason="letter", now=now, by=BY)
    for row in (by_letter, by_form):
        session.refresh(row)
        assert (row.sealed, row.contact_id) == (None, None)
    assert (by_form.outcome, by_letter.outcome) == ("done", "")
    assert queries.requested(session, ring, by_form).who == ana.public_id
    assert kinds(session)[-1] == "request.closed"


def test_a_request_goes_with_its_person_into_a_merge(session: Session, ring: Keyring, now: datetime) -> None:
    ana = make.a_person(session, ring, now=now)
    other = make.a_person(session, ring, "bea@example.org", now=now)
    row = asked(session, ring, now, "restriction", person=other)
    other.state, other.merged_into = "merged", ana.id
    session.flush()
    assert isinstance(people.followed(session, other), Person)
    assert queries.requested(session, ring, row).person is ana
    requests.fulfilled(session, ana, "restriction", door="link", now=now, by=f"person:{ana.public_id}")
    assert row.outcome == "done"


def test_what_staff_wrote_down_of_it_is_in_the_persons_copy(
    session: Session, ring: Keyring, now: datetime
) -> None:
    ana = make.a_person(session, ring, now=now)
    row = asked(session, ring, now, person=ana, text="Telephoned: wants it all on paper.")
    requests.extend(session, row.public_id, reason="Three archives", told=True, now=now, by=BY)
    requests.close(session, row.public_id, outcome="done", note="", now=now, by=BY)
    found = json.loads(json.dumps(copies.access_copy(session, ring, ana, now=now)))
    assert faults(published("access-copy"), found) == []
    [one] = found["requests"]
    assert (one["right"], one["text"]) == ("access", "Telephoned: wants it all on paper.")
    assert (one["longer_because"], one["outcome"], one["due_on"]) == ("Three archives", "done", "2027-02-24")


def beside(engine: Engine, first: Callable[[Session], Any], other: Callable[[Session], Any]) -> list[type]:
    """`first` holds the ledger's tail and goes on once `other`, in a transaction of its own, stands in line for it; what `other`
    was refused with, in the end."""
    refused: list[type] = []

    def run() -> None:
        try:
            with transaction(engine) as opened:
                other(opened)
        except Exception as error:
            refused.append(type(error))

    colleague = threading.Thread(target=run)
    with transaction(engine) as session:
        lock_ledger_tail(session)
        colleague.start()
        while not is_sqlite(engine) and not waits_for_the_tail(session):
            time.sleep(0.01)
        first(session)
    colleague.join(20)
    return refused


def test_two_who_close_the_same_request_do_not_wait_for_each_other(
    engine: Engine, ring: Keyring, now: datetime
) -> None:
    """Whoever has a right closes its request under the ledger's lock; a colleague who closes it by hand takes the two in the
    same order, or PostgreSQL would have to break a deadlock."""
    with transaction(engine) as session:
        ana = make.a_person(session, ring, now=now)
        public_id = asked(session, ring, now, "restriction", person=ana).public_id

    def by_herself(session: Session) -> None:
        requests.fulfilled(session, ana, "restriction", door="link", now=now, by=f"person:{ana.public_id}")

    def by_hand(session: Session) -> None:
        requests.close(session, public_id, outcome="done", note="", now=now, by=BY)

    assert beside(engine, by_herself, by_hand) == [rules.RequestClosed]


@pytest.mark.parametrize("what", ["request", "erasure"])
def test_a_message_is_closed_beside_what_becomes_of_it(
    engine: Engine, ring: Keyring, now: datetime, what: str
) -> None:
    """The same for a message that one colleague closes while another makes a request of it, or its writer is erased."""
    with transaction(engine) as session:
        ana = make.a_person(session, ring, now=now)
        message = wrote(session, ring, now)

    def become(session: Session) -> None:
        if what == "request":
            asked(session, ring, now, door="form", contact=queries.by_public_id(session, message.public_id))
        else:
            erasure.erase(session, ring, make.the_person(session, ana.public_id), how="staff", now=now, by=BY)

    def close(session: Session) -> None:
        actions.close(session, message.public_id, now=now, by=BY)

    assert beside(engine, become, close) == ([] if what == "request" else [rules.ContactUnknown])


def waits_for_the_tail(session: Session) -> bool:
    """Whether somebody in this database stands in line for an advisory lock."""
    waiting = (
        "SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database "
        "WHERE locktype = 'advisory' AND NOT granted AND datname = current_database()"
    )
    return bool(session.connection().execute(text(waiting)).scalar())


def _message(session: Session, ring: Keyring, now: datetime, email: str) -> ContactRequest:
    return actions.ask(
        session, ring, address=addresses.parse(email), name="Somebody", subject="data", text=f"From {email}.",
        locale="en", now=now,
    )  # fmt: skip


def _texts(session: Session, ring: Keyring, person: Person, now: datetime) -> list[str]:
    return [one["text"] for one in copies.access_copy(session, ring, person, now=now)["messages"]]


def _move(session: Session, ring: Keyring, person: Person, email: str, now: datetime) -> None:
    """A changed address, and its button pressed."""
    access.change_email(session, ring, person, addresses.parse(email), now=now, by=BY)
    make.press(session, ring, make.buttons(session)[-1], now=now)


def test_messages_are_whose_mailbox_it_was_when_they_were_written(
    session: Session, ring: Keyring, now: datetime
) -> None:
    """An address that is only typed is nobody's; one that was left is another's from then on."""
    ana = make.a_person(session, ring, now=now)
    _message(session, ring, now, "ana@example.org")
    stranger = _message(session, ring, now, "ben@example.org").public_id
    access.change_email(session, ring, ana, addresses.parse("ben@example.org"), now=now, by=BY)
    assert _texts(session, ring, ana, now) == ["From ana@example.org."]
    _move(session, ring, ana, "anna@example.org", now + timedelta(minutes=1))
    later = now + timedelta(days=1)
    mine = _message(session, ring, later, "anna@example.org").public_id
    theirs = _message(session, ring, later, "ana@example.org").public_id
    assert sorted(_texts(session, ring, ana, later)) == ["From ana@example.org.", "From anna@example.org."]
    erasure.erase(session, ring, ana, how="staff", reason="letter", now=later, by=BY)
    for public_id in (stranger, theirs):
        assert queries.by_public_id(session, public_id).sealed
    with pytest.raises(rules.ContactUnknown):
        queries.by_public_id(session, mine)


def test_an_erasure_forgets_what_they_wrote_from_elsewhere_too(
    session: Session, ring: Keyring, now: datetime
) -> None:
    ana = make.a_person(session, ring, now=now)
    message = _message(session, ring, now, "office@example.org")
    row = asked(session, ring, now, "access", door="form", contact=message)
    requests.belongs_to(session, row.public_id, ana, now=now, by=BY)
    public_id = message.public_id
    erasure.erase(session, ring, ana, how="staff", reason="letter", now=now, by=BY)
    with pytest.raises(rules.ContactUnknown):
        queries.by_public_id(session, public_id)


def test_a_message_whose_request_was_closed_can_be_written_down_once_more(
    session: Session, ring: Keyring, now: datetime
) -> None:
    message = _message(session, ring, now, "ana@example.org")
    first = asked(session, ring, now, "access", door="form", contact=message)
    requests.close(
        session, first.public_id, outcome="not_identified", note="Nobody by that name.", now=now, by=BY
    )
    assert asked(session, ring, now, "access", door="form", contact=message).public_id != first.public_id
