"""Contact requests: asked, opened with a record, answered by mail."""

import base64
import json
from datetime import datetime, timedelta

import pytest
from sqlalchemy.engine import Engine
from sqlmodel import Session, select

from service.db.session import reading, transaction
from service.domain.ledger import queries as ledger
from service.domain.ledger.actions import appended
from service.domain.mailings.tables import Address, Audience, Mailing
from service.domain.privacy import actions, queries, rules
from service.domain.privacy.tables import ContactRequest
from service.kit import addresses, sealing
from service.kit.errors import Invalid
from service.kit.signing import Keyring

ANA = addresses.parse("ana@example.org")
TEXT = "Where do I change my name?\r\nThank you, Ana"


def _ask(
    session: Session, ring: Keyring, now: datetime, *, address: addresses.Address = ANA, **more: str
) -> ContactRequest:
    given = {"name": "Ana", "subject": "question", "text": TEXT, "locale": "en", **more}
    return actions.ask(session, ring, address=address, now=now, **given)


def test_what_was_asked_lies_sealed(session: Session, ring: Keyring, now: datetime) -> None:
    row = _ask(session, ring, now)
    address = session.get_one(Address, row.address_id)
    assert address.owner_kind == "visitor"
    for stored in (row.sealed, address.sealed or b""):
        assert b"Ana" not in stored
        assert b"ana@" not in stored
    assert [(entry.kind, entry.subject) for entry in appended(session)] == [("contact.asked", row.public_id)]
    assert "Ana" not in appended(session)[0].text


def test_opening_is_a_read_on_record(session: Session, ring: Keyring, now: datetime) -> None:
    row = _ask(session, ring, now)
    opened = actions.open_request(session, ring, row.public_id, now=now, by="staff:s_1")
    assert (opened.name, opened.address, opened.subject) == ("Ana", ANA, "A question")
    assert opened.text == "Where do I change my name?\nThank you, Ana"
    assert [(entry.kind, json.loads(entry.text)["actor"]) for entry in appended(session)][-1] == (
        "contact.read",
        "staff:s_1",
    )
    with pytest.raises(rules.ContactUnknown):
        actions.open_request(session, ring, "q_gone", now=now, by="staff:s_1")


def test_the_same_question_once_more_is_a_second_press(
    session: Session, ring: Keyring, now: datetime
) -> None:
    first = _ask(session, ring, now)
    assert _ask(session, ring, now + timedelta(minutes=1)).public_id == first.public_id
    assert _ask(session, ring, now + rules.WINDOW).public_id != first.public_id
    assert _ask(session, ring, now, address=addresses.parse("bo@example.org")).public_id != first.public_id


def test_a_fourth_question_within_the_hour_is_too_many(
    session: Session, ring: Keyring, now: datetime
) -> None:
    for minute in range(rules.MOST):
        _ask(session, ring, now + timedelta(minutes=minute), text=f"Question {minute}")
    with pytest.raises(rules.ContactTooOften):
        _ask(session, ring, now + timedelta(minutes=59), address=addresses.parse("ANA@example.org"))
    _ask(session, ring, now, address=addresses.parse("bo@example.org"))
    _ask(session, ring, now + timedelta(minutes=61))


def test_the_list_shows_masked_addresses_and_no_text(session: Session, ring: Keyring, now: datetime) -> None:
    rows = [_ask(session, ring, now + timedelta(hours=hour)) for hour in range(3)]
    actions.close(session, rows[0].public_id, now=now, by="staff:s_1")
    page = queries.page(session, ring, limit=2)
    assert [one.public_id for one in page.rows] == [rows[2].public_id, rows[1].public_id]
    assert page.rows[0].masked == "a***a@example.org"
    assert not hasattr(page.rows[0], "text")
    rest = queries.page(session, ring, after=page.next, limit=2)
    assert [one.public_id for one in rest.rows] == [rows[0].public_id]
    assert rest.next is None
    assert [one.state for one in queries.page(session, ring, state="open").rows] == ["open", "open"]
    assert queries.counts(session) == {"open": 2, "answered": 0, "closed": 1}


def test_an_answer_is_a_mail_that_rests_on_the_question(engine: Engine, ring: Keyring, now: datetime) -> None:
    with transaction(engine) as session:
        public_id = _ask(session, ring, now, locale="de").public_id
    for text in ("Under “My data”.", "And on the phone."):
        with transaction(engine) as session:
            actions.answer(session, ring, public_id, text=text, now=now, by="staff:s_1")
    with reading(engine) as session:
        first, second = session.exec(select(Mailing).order_by(Mailing.id)).all()  # type: ignore[arg-type]
        assert (first.purpose, first.kind) == ("contact-answer", "system")
        assert "My data" not in json.dumps(first.facts)
        values = json.loads(
            sealing.unseal(ring.house_key, base64.b64decode(first.facts["sealed"]), "facts|contact-answer")
        )
        assert values == {
            "answer": "Under “My data”.",
            "asked_on": "24. November 2026",
            "question": "Where do I change my name?\nThank you, Ana",
            "question_title": "Eine Frage",
            "staff_name": "Our organisation",
        }
        for mailing in (first, second):
            member = session.exec(select(Audience).where(Audience.mailing_id == mailing.id)).one()
            warrant = ledger.entry(session, member.warrant_seq)
            assert warrant is not None
            assert (warrant.kind, warrant.subject, member.locale) == ("contact.asked", public_id, "de")
        row = queries.by_public_id(session, public_id)
        assert (row.state, row.answered_by) == ("answered", "staff:s_1")
        assert [reply.text for reply in queries.answers(ring, row)] == [
            "Under “My data”.",
            "And on the phone.",
        ]


def test_a_closed_request_is_not_answered(session: Session, ring: Keyring, now: datetime) -> None:
    row = _ask(session, ring, now)
    actions.close(session, row.public_id, now=now, by="staff:s_1")
    actions.close(session, row.public_id, now=now, by="staff:s_1")
    with pytest.raises(rules.ContactClosed):
        actions.answer(session, ring, row.public_id, text="Hello", now=now, by="staff:s_1")
    assert [entry.kind for entry in appended(session)] == ["contact.asked", "contact.closed"]


@pytest.mark.parametrize(
    ("more", "field", "code"),
    [
        ({"name": "Ana\x00"}, "name", "header_control_char"),
        ({"name": "Ana\u2028"}, "name", "header_control_char"),
        ({"name": "x" * 5000}, "name", "name_too_long"),
        ({"subject": "Hi\x1b[31m"}, "subject", "header_control_char"),
        ({"subject": "Hi\nBcc: b@example.org"}, "subject", "header_control_char"),
        ({"subject": " "}, "subject", "text_empty"),
        ({"subject": "x" * 201}, "subject", "text_too_long"),
        ({"text": "\n \n"}, "message", "text_empty"),
        ({"text": "x" * 10_001}, "message", "text_too_long"),
        ({"text": "a\x00b"}, "message", "invalid_text"),
        ({"text": "a\ud800b"}, "message", "invalid_text"),
    ],
)
def test_rel_h04_h06_h50_bad_text_is_refused_by_field(
    session: Session, ring: Keyring, now: datetime, more: dict[str, str], field: str, code: str
) -> None:
    with pytest.raises(Invalid) as refused:
        _ask(session, ring, now, **more)
    assert (refused.value.field, refused.value.code) == (field, code)
    assert appended(session) == []
