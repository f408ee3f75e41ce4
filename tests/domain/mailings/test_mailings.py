"""Names of messages, sealed facts and addresses, single system mails."""

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlmodel import Session, col, select

from service.domain.mailings import actions, queries, rules
from service.domain.mailings.tables import Audience, Batch
from service.kit import addresses, sealing
from service.kit.signing import Keyring

KEY = b"m" * 32


@given(st.integers(1, 2**40), st.integers(1, 2**31))
def test_a_bounce_comes_back_to_its_member(mailing: int, pos: int) -> None:
    sender = rules.envelope_sender(KEY, mailing, pos, "bounce.example.org")
    assert len(sender.partition("@")[0]) <= 64
    assert rules.read_envelope_sender(KEY, sender) == (mailing, pos)
    assert rules.read_envelope_sender(KEY, sender.upper()) == (mailing, pos)
    assert rules.read_envelope_sender(b"n" * 32, sender) is None


@pytest.mark.parametrize(
    "forged", ["b+1.2.aaaaaaaaaaaaaaaa@x", "b+1.2@x", "b+a.b.c@x", "ana@x", "b+²..@x", "", "b+1.2.3.4@x"]
)
def test_a_bounce_address_nobody_made_is_nobody_s(forged: str) -> None:
    assert rules.read_envelope_sender(KEY, forged) is None


def test_std_a3_message_ids_say_nothing_and_never_change() -> None:
    made = {
        rules.message_id(KEY, mailing, pos, "mail.example.org") for mailing in range(30) for pos in range(30)
    }
    assert len(made) == 900
    assert rules.message_id(KEY, 4, 7, "mail.example.org") == rules.message_id(KEY, 4, 7, "mail.example.org")


def test_facts_are_sealed_for_one_purpose(ring: Keyring) -> None:
    facts = actions.seal_facts(ring, "contact-answer", {"question": "Where is my order?"})
    assert "order" not in str(facts)
    assert queries.open_facts(ring, "contact-answer", {**facts, "plain": "x"}) == {
        "question": "Where is my order?",
        "plain": "x",
    }
    with pytest.raises(sealing.Unsealable):
        queries.open_facts(ring, "staff-invite", facts)


def test_a_single_mail_is_a_mailing_of_one(session: Session, ring: Keyring, now: datetime) -> None:
    address = actions.keep_address(
        session, ring, addresses.parse("ana@example.org"), owner_kind="visitor", owner_id=None, now=now
    )
    assert queries.open_address(ring, address).text == "ana@example.org"
    mailing = actions.enqueue_single(
        session,
        purpose="contact-answer",
        brand_id=1,
        address_id=address.id or 0,
        person_id=None,
        locale="de",
        facts={},
        warrant_seq=1,
        now=now,
    )
    assert (mailing.state, mailing.planned, mailing.unknown_rule) == ("sending", 1, "at_least_once")
    assert mailing.valid_until == now + timedelta(days=3)
    [member] = session.exec(select(Audience).where(col(Audience.mailing_id) == mailing.id)).all()
    [batch] = session.exec(select(Batch).where(col(Batch.mailing_id) == mailing.id)).all()
    assert (member.pos, member.warrant_seq, member.locale, batch.first_pos, batch.last_pos, batch.state) == (
        1,
        1,
        "de",
        1,
        1,
        "open",
    )
    assert queries.open_batches(session, mailing.id or 0) == 1


def test_nothing_but_marketing_and_notices_is_left_unsent_for_fear_of_twice() -> None:
    assert rules.UNKNOWN_RULE == {
        "marketing": "at_most_once",
        "notice": "at_most_once",
        "service": "at_least_once",
        "system": "at_least_once",
    }
