"""Who is who (design.md 4): sources, mailboxes, changed addresses, merging; a no goes along, a yes never does."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlmodel import Session, col, select

from service.domain.ledger import actions as ledger
from service.domain.links import rules as links
from service.domain.mailings.tables import Address, Mailing
from service.domain.people import actions, queries
from service.domain.people.rules import HeaderControlChar, NameTooLong
from service.domain.people.tables import Identity, Person
from service.domain.preferences import access
from service.domain.preferences import actions as preferences
from service.domain.preferences import queries as standing
from service.kit import addresses, sealing
from service.kit.signing import Keyring
from tests import builders as make

HOUR = timedelta(hours=1)


def _mails(session: Session, purpose: str) -> list[Mailing]:
    session.flush()
    return list(
        session.exec(select(Mailing).where(col(Mailing.purpose) == purpose).order_by(col(Mailing.id)))
    )


def _yes(now: datetime, topic: str = "new-products", **more: Any) -> dict[str, Any]:
    return make.an_answer(topic, at=now - HOUR, **more)


def test_a_new_source_with_a_known_address_sees_its_own_profile_only(
    session: Session, ring: Keyring, now: datetime
) -> None:
    ana = make.a_person(session, ring, now=now, profile={"first_name": "Ana", "company": "Ruiz Ltd"})
    said = make.register(
        session, ring, source="crm", external_id="c1", now=now, attest=False, profile={"first_name": "A."}
    )
    assert said.created
    other = make.the_person(session, said.person_id)
    assert other.id != ana.id
    [own] = queries.profiles(session, ring, other)
    assert own.profile["first_name"] == "A."
    assert own.profile["company"] == ""
    assert make.the_state(session, other) == "unknown"


def test_an_attested_address_links_at_once_and_keeps_profiles_apart(
    session: Session, ring: Keyring, now: datetime
) -> None:
    ana = make.a_person(session, ring, now=now, profile={"first_name": "Ana"})
    answer = make.register(
        session,
        ring,
        consents=[_yes(now, "updates", confirmed=True)],
        source="crm",
        external_id="c1",
        now=now,
        profile={"first_name": "A."},
    )
    assert answer.person_id == ana.public_id
    assert not answer.created
    opened = queries.profiles(session, ring, ana)
    assert {(one.source, one.profile["first_name"]) for one in opened} == {("shop", "Ana"), ("crm", "A.")}
    make.register(
        session, ring, source="crm", external_id="c1", now=now + HOUR, profile={"last_name": "Ruiz"}
    )
    opened = queries.profiles(session, ring, ana)
    assert {(one.source, one.profile["first_name"], one.profile["last_name"]) for one in opened} == {
        ("shop", "Ana", ""),
        ("crm", "A.", "Ruiz"),
    }


def test_linking_is_a_registration_of_its_own(session: Session, ring: Keyring, now: datetime) -> None:
    """Somebody known from the form only gets important notices once a site registers them."""
    form = make.register(
        session, ring, source="join", consents=[_yes(now)], now=now, attest=False, attested=False
    )
    ana = make.the_person(session, form.person_id)
    make.press(session, ring, make.buttons(session, ana)[-1], now=now)
    assert make.the_state(session, ana, "important-notices") == "unknown"
    linked = make.register(
        session, ring, source="shop", external_id="s9", consents=[_yes(now, confirmed=True)], now=now
    )
    assert linked.person_id == ana.public_id
    row = make.the_preference(session, ana, "important-notices")
    assert row is not None
    assert row.state == "given"
    [entry] = [one for one in ledger.appended(session) if one.seq == row.warrant_seq]
    assert (entry.kind, entry.subject) == ("person.registered", ana.public_id)


def test_a_no_of_a_pending_identity_applies_at_once_and_its_yes_does_not(
    session: Session, ring: Keyring, now: datetime
) -> None:
    ana = make.a_person(session, ring, now=now, yes=("new-products",))
    make.register(
        session, ring, consents=[_yes(now, "updates")], source="crm", external_id="c1", now=now, attest=False
    )
    assert make.the_state(session, ana, "updates") == "unknown"
    noes = [make.an_answer("new-products", False, at=now)]
    make.register(session, ring, consents=noes, source="crm", external_id="c1", now=now, attest=False)
    assert make.the_state(session, ana) == "withdrawn"


def test_a_stop_by_the_link_of_a_pending_identity_stops_the_mailbox(
    session: Session, ring: Keyring, now: datetime
) -> None:
    ana = make.a_person(session, ring, now=now)
    said = make.register(
        session, ring, consents=[_yes(now)], source="crm", external_id="c1", now=now, attest=False
    )
    other = make.the_person(session, said.person_id)
    preferences.stop(session, ring, make.a_link(session, other), how="link", evidence={}, now=now)
    assert make.the_state(session, ana) == "withdrawn"
    assert make.the_state(session, ana, "updates") == "given"
    preferences.stop_all(session, ring, make.a_link(session, other, None), how="link", evidence={}, now=now)
    assert make.the_state(session, ana, "updates") == "withdrawn"


def test_pressing_merges_and_carries_noes_but_no_yes(session: Session, ring: Keyring, now: datetime) -> None:
    ana = make.a_person(
        session, ring, now=now, yes=("new-products",), attributes={"plan": "pro", "role": "buyer"}
    )
    make.a_topic(session, "offers", now=now)
    said = make.register(
        session,
        ring,
        consents=[_yes(now, "updates"), make.an_answer("offers", False, at=now)],
        source="crm",
        external_id="c1",
        now=now,
        attest=False,
        attributes={"plan": "free", "country": "PT"},
    )
    other = make.the_person(session, said.person_id)
    done = make.press(session, ring, make.buttons(session, other)[-1], now=now + HOUR)
    assert done.person.id == ana.id
    assert other.state == "merged"
    assert make.the_state(session, ana, "updates") == "given"  # the button was pressed for it
    assert make.the_state(session, ana, "offers") == "withdrawn"
    assert make.the_state(session, ana, "new-products") == "given"
    assert {one.source for one in queries.profiles(session, ring, ana)} == {"shop", "crm"}
    assert queries.attributes(session, ana.id or 0) == {"plan": ["pro"], "role": ["buyer"], "country": ["PT"]}
    again = make.register(session, ring, source="crm", external_id="c1", now=now + HOUR)
    assert again.person_id == ana.public_id


def test_an_attested_merge_writes_to_whoever_is_left(session: Session, ring: Keyring, now: datetime) -> None:
    ana = make.a_person(session, ring, now=now, yes=("new-products",))
    said = make.register(
        session, ring, consents=[_yes(now, "updates")], source="crm", external_id="c1", now=now, attest=False
    )
    pending = make.the_person(session, said.person_id)
    answers = [_yes(now, "updates", confirmed=True), make.an_answer("new-products", False, at=now)]
    linked = make.register(session, ring, consents=answers, source="crm", external_id="c1", now=now + HOUR)
    assert linked.person_id == ana.public_id
    assert pending.state == "merged"
    assert make.the_state(session, ana, "updates") == "given"
    assert make.the_state(session, ana, "new-products") == "withdrawn"


def test_what_the_site_says_with_an_attested_merge_stands(
    session: Session, ring: Keyring, now: datetime
) -> None:
    """The mail of a mailbox goes by the latest word about its attributes, whoever was merged into whom for it."""
    ana = make.a_person(session, ring, now=now, yes=("new-products",), attributes={"plan": "free"})
    make.register(
        session, ring, consents=[_yes(now, "updates")], source="crm", external_id="c1", now=now, attest=False
    )
    answers = [_yes(now, "updates", confirmed=True)]
    linked = make.register(
        session,
        ring,
        consents=answers,
        source="crm",
        external_id="c1",
        now=now + HOUR,
        attributes={"plan": "team"},
    )
    assert linked.person_id == ana.public_id
    assert "attributes" in linked.changed
    assert queries.attributes(session, ana.id or 0) == {"plan": ["team"]}


def test_a_no_of_the_mailbox_is_not_attested_away(session: Session, ring: Keyring, now: datetime) -> None:
    """P7: a site's word never goes over a no the mailbox gave under another registration; the person is asked."""
    noes = [make.an_answer("new-products", False, at=now)]
    make.register(session, ring, consents=noes, source="crm", external_id="c1", now=now, attest=False)
    said = make.register(session, ring, consents=[_yes(now, confirmed=True)], source="shop", now=now)
    ana = make.the_person(session, said.person_id)
    assert make.the_state(session, ana) == "requested"
    assert said.mail == "confirmation_sent"
    make.press(session, ring, make.buttons(session, ana)[-1], now=now + HOUR)
    assert make.the_state(session, ana) == "given"


@pytest.mark.parametrize("first", ["yes", "no"])
def test_rel_h10_one_mailbox_written_two_ways_gets_one_mail_and_the_stricter_answer(
    session: Session, ring: Keyring, now: datetime, first: str
) -> None:
    yes = ("Ana@Example.org", [_yes(now, confirmed=True)])
    no = (" ana@example.org ", [make.an_answer("new-products", False, at=now)])
    for email, answers in [yes, no] if first == "yes" else [no, yes]:
        make.register(session, ring, email, answers, external_id=email.strip(), now=now)
    facts = _facts(session)
    session.flush()
    assert session.connection().execute(standing.eligible(facts, col(Person.id) > 0, now)).all() == []
    live = session.exec(
        select(Address).where(col(Address.confirmed_at).is_not(None), col(Address.ended_at).is_(None))
    ).all()
    assert len({one.address_hash for one in live}) == len(live)


def test_rel_h10_two_yeses_of_one_mailbox_are_one_member(
    session: Session, ring: Keyring, now: datetime
) -> None:
    for email in ("Ana@example.org", "ana@EXAMPLE.org", " ana@example.org"):
        make.register(session, ring, email, [_yes(now, confirmed=True)], external_id=email.strip(), now=now)
    session.flush()
    assert (
        len(session.connection().execute(standing.eligible(_facts(session), col(Person.id) > 0, now)).all())
        == 1
    )


def _facts(session: Session) -> Any:
    from service.domain.deliveries.queries import topic_facts

    return topic_facts(make.the_topic(session))


# --- addresses ---


def test_a_changed_address_waits_and_the_old_one_is_told(
    session: Session, ring: Keyring, now: datetime
) -> None:
    ana = make.a_person(session, ring, now=now)
    old = ana.address_id
    answer = make.register(session, ring, "ana2@example.org", external_id="ana@example.org", now=now)
    assert answer.changed == ["email"]
    assert ana.address_id == old
    assert ana.pending_address_id is not None
    [told] = _mails(session, "address-changed")
    [asked] = _mails(session, "address-confirm")
    assert told.id is not None
    assert asked.id is not None
    session.flush()
    facts = _facts(session)
    assert session.connection().execute(standing.eligible(facts, col(Person.id) == ana.id, now)).all() == []
    make.press(session, ring, links.Link(links.CONFIRM, ana.alias, 0, asked.alias, 1), now=now)
    session.flush()
    assert ana.pending_address_id is None
    assert queries.address_of(session, ring, ana) == addresses.parse("ana2@example.org")
    before = session.get_one(Address, old)
    assert before.ended_at is not None
    assert (
        len(session.connection().execute(standing.eligible(facts, col(Person.id) == ana.id, now)).all()) == 1
    )


def test_a_changed_address_that_a_site_has_had_confirmed_waits_for_nothing(
    session: Session, ring: Keyring, now: datetime
) -> None:
    """Nor do the ledger, and the pages that read from it, say so."""
    ana = make.a_person(session, ring, now=now)
    said = [_yes(now, "updates", confirmed=True)]
    make.register(session, ring, "ana2@example.org", said, external_id="ana@example.org", now=now)
    assert ana.pending_address_id is None
    [changed] = [one.text for one in ledger.appended(session) if one.kind == "address.changed"]
    assert '"body":{"pending":false}' in changed


def test_giving_the_old_address_again_ends_the_change_and_its_button(
    session: Session, ring: Keyring, now: datetime
) -> None:
    """A site mends its own typing error: the stranger's mailbox must not be able to take the person over."""
    ana = make.a_person(session, ring, now=now)
    make.register(session, ring, "stranger@example.org", external_id="ana@example.org", now=now)
    button = make.buttons(session, ana)[-1]
    answer = make.register(session, ring, "ana@example.org", now=now + HOUR)
    assert "email" in answer.changed
    assert ana.pending_address_id is None
    with pytest.raises(links.LinkExpired):
        make.press(session, ring, button, now=now + HOUR)
    assert "address.kept" in make.kinds(session, ana.public_id)


def test_correcting_a_name_does_not_end_a_changed_address(
    session: Session, ring: Keyring, now: datetime
) -> None:
    ana = make.a_person(session, ring, now=now)
    access.change_email(
        session, ring, ana, addresses.parse("ana2@example.org"), now=now, by=f"person:{ana.public_id}"
    )
    actions.correct(
        session,
        ring,
        ana,
        profile={"first_name": "Anna"},
        locale="de",
        zone=None,
        now=now,
        by=f"person:{ana.public_id}",
    )
    assert ana.pending_address_id is not None
    assert queries.profiles(session, ring, ana)[-1].profile["first_name"] == "Anna"


def test_a_corrected_unconfirmed_address_is_asked_anew(
    session: Session, ring: Keyring, now: datetime
) -> None:
    said = [_yes(now)]
    first = make.register(session, ring, "amna@example.org", said, external_id="e1", now=now, attest=False)
    ana = make.the_person(session, first.person_id)
    old_button = make.buttons(session, ana)[-1]
    second = make.register(
        session, ring, "anna@example.org", said, external_id="e1", now=now + HOUR, attest=False
    )
    assert second.mail == "confirmation_sent"
    with pytest.raises(links.LinkExpired):
        make.press(session, ring, old_button, now=now + HOUR)
    make.press(session, ring, make.buttons(session, ana)[-1], now=now + HOUR)
    assert make.the_state(session, ana) == "given"


def test_a_changed_address_that_another_person_holds_merges_with_their_noes(
    session: Session, ring: Keyring, now: datetime
) -> None:
    ana = make.a_person(session, ring, "ana@example.org", now=now, yes=("updates",))
    bea = make.a_person(session, ring, "bea@example.org", now=now, yes=("new-products", "updates"))
    until = (now + timedelta(days=20)).date()
    choices = preferences.Choices({"new-products": "off"}, break_until=until)
    preferences.save(
        session, ring, bea, choices, how="page", evidence={}, now=now, by=f"person:{bea.public_id}"
    )
    access.change_email(
        session, ring, bea, addresses.parse("ana@example.org"), now=now, by=f"person:{bea.public_id}"
    )
    make.press(session, ring, make.buttons(session, bea)[-1], now=now)
    assert bea.merged_into == ana.id
    assert make.the_state(session, ana) == "withdrawn"
    updates = make.the_preference(session, ana, "updates")
    assert updates is not None
    assert updates.state == "given"
    assert updates.break_until is not None


def test_only_one_live_confirmed_row_per_mailbox(session: Session, ring: Keyring, now: datetime) -> None:
    make.a_person(session, ring, now=now)
    session.flush()
    twin = Address(
        owner_kind="person",
        owner_id=1,
        sealed=b"",
        address_hash=make.address_hash(ring, "ana@example.org"),
        created_at=now,
        confirmed_at=now,
    )
    session.add(twin)
    with pytest.raises(Exception, match=r"(?i)unique"):
        session.flush()


def test_a_person_key_opens_nothing_elsewhere(session: Session, ring: Keyring, now: datetime) -> None:
    ana, bea = (make.a_person(session, ring, f"{name}@example.org", now=now) for name in ("ana", "bea"))
    row = session.exec(select(Identity).where(col(Identity.person_id) == ana.id)).one()
    with pytest.raises(sealing.Unsealable):
        queries.open_profile(queries.person_key(ring, bea), row)
    with pytest.raises(sealing.Unsealable):
        queries.unwrap(ring, bea.alias, ana.wrapped_key or b"")
    stored = session.exec(select(Address.sealed)).all()
    assert not any(b"example.org" in (one or b"") for one in stored)


@pytest.mark.parametrize(
    ("profile", "error"),
    [
        ({"first_name": "a" * 201}, NameTooLong),
        ({"first_name": "Ana\r\nBcc: x@example.org"}, HeaderControlChar),
        ({"last_name": "=?utf-8?q?x?="}, HeaderControlChar),
        ({"company": "a\u2028b"}, HeaderControlChar),
    ],
)
def test_rel_h04_h06_names_that_would_break_a_mail_are_refused(
    session: Session, ring: Keyring, now: datetime, profile: dict[str, str], error: type[Exception]
) -> None:
    with pytest.raises(error) as raised:
        make.register(session, ring, now=now, profile=profile)
    assert str(getattr(raised.value, "field", "")).startswith("profile.")
