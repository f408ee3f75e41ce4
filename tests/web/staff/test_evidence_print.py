"""The evidence file as it is printed loses nothing of the file that programs read: who wrote each entry, on what basis and until when
somebody's yes stood, why and how far a no reached, and whether it permitted mail."""

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlmodel import Session
from starlette.testclient import TestClient

from service.domain.ledger import actions as ledger
from service.domain.preferences import rights
from service.kit import clock
from tests import builders as make
from tests.web.staff.conftest import Office

Browser = Callable[..., TestClient]


def plain(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", re.sub(r"</?bdi>", "", page)))


@pytest.fixture
def printed(browser: Browser, office: Office) -> Callable[[Callable[[Session, str], object]], str]:
    """The page, after something was done to Ana."""
    ana = office.world.person("ana@example.org").public_id

    def after(act: Callable[[Session, str], object]) -> str:
        office.world.change(lambda session: act(session, ana))
        return plain(browser("privacy_officer").get(f"/staff/people/{ana}/evidence").text)

    return after


def test_who_wrote_it_and_why_and_how_far_it_reached(
    printed: Callable[[Callable[[Session, str], object]], str], office: Office
) -> None:
    by = f"staff:{office.ids['privacy_officer']}"

    def bar(session: Session, ana: str) -> None:
        one = make.the_person(session, ana)
        rights.bar(session, one, reason="Order 7/26", now=clock.now(), by=by)

    page = printed(bar)
    assert "The law or an authority asks for it." in page
    assert "All mail" in page
    assert "“Order 7/26”" in page
    assert "by Privacy_Officer Person" in page
    assert "by k_test" in page or "by a site" in page
    assert "for important-notices" in page, "what rests on the registration"


def test_whether_it_permitted_mail_on_what_basis_and_until_when(
    printed: Callable[[Callable[[Session, str], object]], str],
) -> None:
    ends = (clock.now() + timedelta(days=40)).replace(hour=12, minute=34)

    def buys(session: Session, ana: str) -> None:
        body = {
            "topic": "updates", "state": "given", "state_before": "unknown", "basis": "implied_purchase",
            "valid_until": ends.isoformat(), "wording_sha256": "ab" * 32, "import": "i_1",
        }  # fmt: skip
        ledger.append(session, "consent.given", subject=ana, body=body, by="cli", now=clock.now())

    page = printed(buys)
    assert "on implied purchase" in page
    assert f"words with SHA-256 {'ab' * 32}" in page
    assert f"ends {ends.day} {ends:%b %Y}, 12:34" in page
    assert page.count("Permits mail") == 1
    assert re.search(r"updates Yes yes", page)
    page = printed(
        lambda session, ana: rights.restrict(
            session, make.the_person(session, ana), how="staff", now=clock.now(), by="cli"
        )
    )
    assert re.search(r"updates Yes no", page)
