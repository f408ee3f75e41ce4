"""Ways in by a mailed link: alike for everybody, a few an hour, once, for half an hour."""

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pytest
from sqlalchemy.engine import Engine
from sqlmodel import Session, col, select

from service.db.session import transaction
from service.domain.links import rules as links
from service.domain.mailings.tables import Mailing
from service.domain.people.tables import Person
from service.domain.preferences import access
from service.kit import addresses
from service.kit.signing import Keyring
from tests import builders as make

ANA = addresses.parse("ana@example.org")


def _mails(session: Session, purpose: str) -> list[Mailing]:
    session.flush()
    return list(
        session.exec(select(Mailing).where(col(Mailing.purpose) == purpose).order_by(col(Mailing.id)))
    )


def _sign_in_link(session: Session, ring: Keyring, person: Person, now: datetime) -> links.Link:
    access.request_sign_in(session, ring, ANA, locale="en", now=now)
    return links.Link(links.SIGN_IN, person.alias, 0, _mails(session, "sign-in")[-1].alias, 1)


def test_a_link_is_mailed_to_whom_we_know_and_nobody_else(
    session: Session, ring: Keyring, now: datetime
) -> None:
    make.a_person(session, ring, now=now)
    access.request_preferences_link(
        session, ring, addresses.parse("nobody@example.org"), locale="en", now=now
    )
    assert _mails(session, "preferences-link") == []
    access.request_preferences_link(session, ring, addresses.parse("ANA@example.org"), locale="en", now=now)
    assert len(_mails(session, "preferences-link")) == 1


def test_std_n11_three_links_an_hour(session: Session, ring: Keyring, now: datetime) -> None:
    make.a_person(session, ring, now=now)
    for n in range(10):
        access.request_sign_in(session, ring, ANA, locale="en", now=now + n * timedelta(minutes=1))
    assert len(_mails(session, "sign-in")) == 3
    access.request_sign_in(session, ring, ANA, locale="en", now=now + timedelta(hours=1, minutes=5))
    assert len(_mails(session, "sign-in")) == 4


def test_a_sign_in_link_works_once(session: Session, ring: Keyring, now: datetime) -> None:
    ana = make.a_person(session, ring, now=now)
    link = _sign_in_link(session, ring, ana, now)
    assert access.sign_in_by_link(session, ring, link, now=now + timedelta(minutes=29)).id == ana.id
    with pytest.raises(links.LinkExpired):
        access.sign_in_by_link(session, ring, link, now=now + timedelta(minutes=29))


def test_a_sign_in_link_works_for_half_an_hour(session: Session, ring: Keyring, now: datetime) -> None:
    link = _sign_in_link(session, ring, make.a_person(session, ring, now=now), now)
    with pytest.raises(links.LinkExpired):
        access.sign_in_by_link(session, ring, link, now=now + timedelta(minutes=30))


def test_only_a_mail_that_was_a_sign_in_signs_in(session: Session, ring: Keyring, now: datetime) -> None:
    """A sign-in link is of a sign-in mail to that very person; another mail's number in it opens nothing."""
    ana, bea = (make.a_person(session, ring, f"{name}@example.org", now=now) for name in ("ana", "bea"))
    link = _sign_in_link(session, ring, ana, now)
    with pytest.raises(links.LinkExpired):
        access.sign_in_by_link(
            session, ring, links.Link(links.SIGN_IN, bea.alias, 0, link.mailing, 1), now=now
        )
    access.request_preferences_link(session, ring, ANA, locale="en", now=now)
    other = _mails(session, "preferences-link")[-1]
    with pytest.raises(links.LinkExpired):
        access.sign_in_by_link(
            session, ring, links.Link(links.SIGN_IN, ana.alias, 0, other.alias, 1), now=now
        )


def test_twenty_uses_at_once_are_one(engine: Engine, ring: Keyring, now: datetime) -> None:
    with transaction(engine) as session:
        link = _sign_in_link(session, ring, make.a_person(session, ring, now=now), now)

    def use(_: int) -> bool:
        try:
            with transaction(engine) as session:
                access.sign_in_by_link(session, ring, link, now=now)
        except links.LinkExpired:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(use, range(20))) == 1
