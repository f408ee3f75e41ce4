"""The topic's page: who may be asked whether they agree, by whom it is begun and stopped, and what ends by itself soon."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlmodel import Session
from starlette.testclient import TestClient

from service import fence
from service.domain.preferences import reasking
from service.domain.preferences.intake import Transfer, look_up
from service.domain.preferences.registration import Registered, Registration, register_many
from service.domain.senders import actions as senders
from service.kit import clock
from tests.web.staff.conftest import Office

Browser = Callable[..., TestClient]
PAGE = "/staff/topics/new-products"


def _known(office: Office, basis: str, days: int, **countries: str) -> None:
    """People an import brought, with that label and a date so long ago."""
    at = (clock.now() - timedelta(days=days)).isoformat()
    said = {"topic": "new-products", "given": True, "source": "list", "evidence": {"at": at}}
    items = [
        Registration(
            name, f"{name}@example.org", "en", None, None, {"country": country}, [said], attested=False
        )
        for name, country in countries.items()
    ]

    def act(session: Session) -> list[object]:
        facts = look_up(session, clock.now(), Transfer("i_1", False, {"new-products": basis}))
        ring, now = office.house.ring, clock.now()
        return list(
            register_many(
                session, ring, "old", items, attest=True, topics=None, now=now, by="cli", facts=facts
            )
        )

    assert all(isinstance(one, Registered) for one in office.world.change(act))


def test_without_anybody_the_page_says_nothing_of_it(browser: Browser, office: Office) -> None:
    office.world.person("reader@example.org")
    page = browser("privacy_officer").get(PAGE).text
    assert "Registered long ago" not in page
    assert "ends to count" not in page


def test_the_officer_begins_and_stops_and_nobody_else(browser: Browser, office: Office) -> None:
    _known(office, "legacy_registration", 4000, ana="us", ben="de")
    officer, marketing = browser("privacy_officer"), browser("marketing")
    page = officer.get(PAGE).text
    assert "<strong>1 person</strong> may be asked by mail, once for ever" in page
    assert "1 person: no mail may ask them where they live" in page
    assert f'action="{PAGE}/ask"' in page
    assert f'action="{PAGE}/ask"' not in marketing.get(PAGE).text
    assert marketing.post(f"{PAGE}/ask").status_code == 403
    assert officer.post(f"{PAGE}/ask").status_code == 303
    again = officer.post(f"{PAGE}/ask")
    assert again.status_code == 409
    assert "being asked about this topic already" in again.text
    assert "Being asked now" in officer.get(PAGE).text
    assert officer.post(f"{PAGE}/ask/stop").status_code == 303
    assert officer.post(f"{PAGE}/ask/stop").status_code == 404
    assert "Asked, then stopped" in officer.get(PAGE).text


def test_the_page_says_what_waits_and_how_many_mails_a_stop_keeps_back(
    browser: Browser, office: Office
) -> None:
    _known(office, "legacy_registration", 4000, ana="us", ben="us", eva="us")
    officer = browser("privacy_officer")
    assert officer.post(f"{PAGE}/ask").status_code == 303
    assert "wait to leave" not in officer.get(PAGE).text
    office.world.change(lambda session: reasking.step(session, now=clock.now()))
    assert "3 mails that ask wait to leave. Stopped now, they do not" in officer.get(PAGE).text
    office.world.change(lambda session: reasking.step(session, now=clock.now()))
    through = officer.get(PAGE).text
    assert "Asked: 3 people" in through
    assert "Ask nobody else" in through, "the round is through, its mails are not"
    answer = officer.post(f"{PAGE}/ask/stop", follow_redirects=True).text
    assert "Nobody else is asked. 3 mails that waited will not leave." in answer
    assert "<strong>3 people</strong> may be asked by mail, once for ever" in answer
    assert "Ask nobody else" not in answer


def test_a_stop_that_a_sender_has_not_seen_is_no_success(
    browser: Browser, office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    _known(office, "legacy_registration", 4000, ana="us")
    officer = browser("privacy_officer")
    officer.post(f"{PAGE}/ask")
    office.world.change(
        lambda session: senders.begin(session, "one", boot_id="b", seen_seq=0, now=clock.now())
    )
    monkeypatch.setattr(fence, "PATIENCE", 0.1)
    answer = officer.post(f"{PAGE}/ask/stop")
    assert answer.status_code == 202
    assert "Nobody else is asked." in answer.text


def test_what_ends_by_itself_soon_is_said(browser: Browser, office: Office) -> None:
    _known(office, "implied_purchase", 700, ana="ca")
    _known(office, "implied_purchase", 100, ben="ca")
    assert "1 person get" in browser("marketing").get(PAGE).text.replace("1 person gets", "1 person get")
