"""Who signs in by a mailed link reads the mailbox, so it is theirs: their rights reach every registration of it, and no topic is
chosen by that."""

from datetime import datetime, timedelta

import pytest
from sqlalchemy.engine import Engine
from sqlmodel import Session, col, select

from service.db.engine import is_sqlite
from service.db.session import transaction
from service.domain.links import rules as links
from service.domain.mailings.tables import Address, Mailing
from service.domain.people.tables import Person
from service.domain.preferences import access, rights
from service.domain.preferences.registration import Registered
from service.domain.privacy import erasing
from service.kit import addresses
from service.kit.signing import Keyring
from tests import builders as make

ANA = "ana@example.org"
SOON = timedelta(minutes=5)


def link(session: Session, ring: Keyring, email: str, now: datetime) -> links.Link:
    """The link of the mail to whoever asks to sign in with an address."""
    access.request_sign_in(session, ring, addresses.parse(email), locale="en", now=now)
    session.flush()
    asked = select(Mailing).where(Mailing.purpose == "sign-in").order_by(col(Mailing.id))
    mailing = session.exec(asked).all()[-1]
    to = select(Person).join(Address, col(Address.id) == col(Person.address_id))
    to = to.where(Address.address_hash == make.address_hash(ring, email))
    person = session.exec(to.order_by(col(Address.confirmed_at).is_(None), col(Person.id))).all()[0]
    return links.Link(links.SIGN_IN, person.alias, 0, mailing.alias, 1)


def told(session: Session, ring: Keyring, source: str, now: datetime, *topics: str) -> Registered:
    said = [make.an_answer(slug, at=now) for slug in topics]
    return make.register(session, ring, ANA, said, source=source, now=now, attest=False)


def test_the_owner_who_signs_in_erases_every_registration_of_the_mailbox(
    session: Session, ring: Keyring, now: datetime
) -> None:
    both = [
        make.the_person(session, told(session, ring, source, now).person_id) for source in ("shop", "crm")
    ]
    person = access.sign_in_by_link(session, ring, link(session, ring, ANA, now), now=now + SOON)
    erasing.erase(session, ring, person, how="me", now=now + SOON, by="person:x")
    assert [one.state for one in both] == ["erased", "erased"]


def test_the_owner_who_signs_in_restricts_every_registration_of_the_mailbox(
    session: Session, ring: Keyring, now: datetime
) -> None:
    both = [
        make.the_person(session, told(session, ring, source, now).person_id) for source in ("shop", "crm")
    ]
    person = access.sign_in_by_link(session, ring, link(session, ring, ANA, now), now=now + SOON)
    rights.restrict(session, person, how="me", now=now + SOON, by=f"person:{person.public_id}")
    assert [one.state for one in both] == ["restricted", "restricted"]


def test_p7_signing_in_chooses_no_topic_and_leaves_the_button_to_be_pressed(
    session: Session, ring: Keyring, now: datetime
) -> None:
    ana = make.the_person(session, told(session, ring, "shop", now, "updates").person_id)
    access.sign_in_by_link(session, ring, link(session, ring, ANA, now), now=now + SOON)
    assert make.the_state(session, ana, "updates") == "requested"
    assert session.get_one(Address, ana.address_id).confirmed_at == now + SOON
    assert make.kinds(session, ana.public_id)[-2:] == ["person.signed_in", "address.confirmed"]
    make.press(session, ring, make.buttons(session, ana)[-1], now=now + SOON)
    assert make.the_state(session, ana, "updates") == "given"


def test_p7_who_signs_in_as_one_of_two_brings_their_noes_and_no_yes(
    session: Session, ring: Keyring, now: datetime
) -> None:
    """Somebody confirmed the mailbox between the mail and the link."""
    first = make.the_person(session, told(session, ring, "shop", now, "updates").person_id)
    entrance = link(session, ring, ANA, now)
    rights.restrict(session, first, how="me", now=now, by=f"person:{first.public_id}")
    yes = [make.an_answer(at=now, confirmed=True)]
    holder = make.the_person(
        session, make.register(session, ring, ANA, yes, source="crm", now=now + SOON).person_id
    )
    assert access.sign_in_by_link(session, ring, entrance, now=now + SOON) is holder
    assert (first.state, holder.state) == ("merged", "restricted")
    assert make.the_state(session, holder, "updates") == "unknown"


def test_a_link_goes_to_the_mailbox_it_was_asked_for(session: Session, ring: Keyring, now: datetime) -> None:
    """Not to whoever has typed that address and waits for its button."""
    bea = make.a_person(session, ring, "bea@example.org", now=now)
    access.change_email(session, ring, bea, addresses.parse(ANA), now=now, by="person:x")
    ana = make.the_person(session, told(session, ring, "crm", now).person_id)
    entrance = link(session, ring, ANA, now)
    assert access.sign_in_by_link(session, ring, entrance, now=now + SOON) is ana


def test_an_address_typed_since_the_mail_is_not_confirmed_by_its_link(
    session: Session, ring: Keyring, now: datetime
) -> None:
    ana = make.the_person(session, told(session, ring, "shop", now).person_id)
    entrance = link(session, ring, ANA, now)
    access.change_email(session, ring, ana, addresses.parse("bea@example.org"), now=now, by="person:x")
    with pytest.raises(links.LinkExpired):
        access.sign_in_by_link(session, ring, entrance, now=now + SOON)
    assert session.get_one(Address, ana.address_id).confirmed_at is None


def test_a_link_mailed_to_the_mailbox_of_before_opens_nothing_once_they_have_moved(
    session: Session, ring: Keyring, now: datetime
) -> None:
    """Whoever reads there now is not asked for by anybody; while the new address waits for its button it is still theirs."""
    ana = make.a_person(session, ring, ANA, now=now)
    spare, entrance = link(session, ring, ANA, now), link(session, ring, ANA, now)
    access.change_email(session, ring, ana, addresses.parse("new@example.org"), now=now, by="person:x")
    assert access.sign_in_by_link(session, ring, spare, now=now) is ana
    make.press(session, ring, make.buttons(session, ana)[-1], now=now)
    with pytest.raises(links.LinkExpired):
        access.sign_in_by_link(session, ring, entrance, now=now + SOON)
    access.sign_in_by_link(session, ring, link(session, ring, "new@example.org", now), now=now + SOON)


def test_a_link_used_in_the_moment_of_the_move_opens_nothing(
    engine: Engine, ring: Keyring, now: datetime
) -> None:
    """On PostgreSQL it has read them when their new address is confirmed; on SQLite it comes after."""
    with transaction(engine) as session:
        ana = make.a_person(session, ring, ANA, now=now)
        entrance = link(session, ring, ANA, now)
        access.change_email(session, ring, ana, addresses.parse("new@example.org"), now=now, by="person:x")
        [button] = make.buttons(session, ana)
    if is_sqlite(engine):
        with transaction(engine) as session:
            make.press(session, ring, button, now=now)
    with pytest.raises(links.LinkExpired), transaction(engine) as session:  # noqa: PT012 - two in order
        held = session.get_one(Person, ana.id)
        if not is_sqlite(engine):
            with transaction(engine) as other:
                make.press(other, ring, button, now=now)
        assert held.pending_address_id is not None or is_sqlite(engine), "as it was when it was read"
        access.sign_in_by_link(session, ring, entrance, now=now + SOON)
