"""Words that promise more, on staff pages: a tick publishes and asks, and a mail may say that it keeps within older ones."""

from collections.abc import Callable

from sqlmodel import col, select
from starlette.testclient import TestClient

from service.db.session import reading
from service.domain.announcements import queries
from service.domain.mailings.rules import ASK_ANEW
from service.domain.mailings.tables import Mailing
from tests.web.staff.conftest import Office
from tests.web.staff.test_announcements import FORM

Browser = Callable[..., TestClient]
PAGE = "/staff/topics/new-products"
MORE = {
    "name": "New products", "often": "Twice a month", "locale": "en", "text": "New products, and what partners offer.", "material": "1",
    "name:de": "Neue Produkte", "often:de": "Zweimal im Monat", "text:de": "Neue Produkte, und was Partner anbieten.",
}  # fmt: skip


def test_the_tick_makes_a_round_that_can_be_stopped_and_gone_on_with(
    browser: Browser, office: Office
) -> None:
    office.world.person("ana@example.org")
    officer, marketing = browser("privacy_officer"), browser("marketing")
    assert "It promises more or other mail than before" in officer.get(PAGE).text
    assert "Agreed to older words" not in officer.get(PAGE).text
    assert officer.post(f"{PAGE}/wordings", data=MORE).status_code == 303
    page = officer.get(PAGE).text
    assert "promises more</span>" in page
    assert "Agreed to older words" in page
    assert "<strong>1 person</strong> may be asked by mail, once for these words" in page
    assert "Being asked now: 0 people" in page
    assert f'action="{PAGE}/ask/stop"' not in marketing.get(PAGE).text
    assert officer.post(f"{PAGE}/ask/stop", data={"about": "renewal"}).status_code == 303
    assert "Asked, then stopped" in officer.get(PAGE).text
    assert marketing.post(f"{PAGE}/ask", data={"about": "renewal"}).status_code == 403
    assert officer.post(f"{PAGE}/ask", data={"about": "renewal"}).status_code == 303
    assert officer.post(f"{PAGE}/ask", data={"about": "renewal"}).status_code == 409
    assert officer.post(f"{PAGE}/ask").status_code == 409, "nobody was made to agree by registering"
    with reading(office.house.engine) as session:
        assert session.exec(select(Mailing).where(col(Mailing.purpose) == ASK_ANEW)).all() == []


def test_the_other_languages_are_asked_for_and_nothing_typed_is_lost(
    browser: Browser, office: Office
) -> None:
    officer = browser("privacy_officer")
    page = officer.get(PAGE).text
    kept = page.split('name="text:de"')[1].split(">", 1)[1].split("</textarea>")[0]
    wrong = officer.post(f"{PAGE}/wordings", data={**MORE, "text:de": kept})
    assert wrong.status_code == 422
    assert "These are the words of before" in wrong.text
    assert "what partners offer." in wrong.text
    assert 'href="#text:de"' in wrong.text


def test_a_tick_forgotten_changes_nothing_for_anybody(browser: Browser, office: Office) -> None:
    office.world.person("ana@example.org")
    officer = browser("privacy_officer")
    without = {name: value for name, value in MORE.items() if name != "material"}
    assert officer.post(f"{PAGE}/wordings", data=without).status_code == 303
    assert "Agreed to older words" not in officer.get(PAGE).text


def test_the_composer_offers_the_words_and_counts_by_them(browser: Browser, office: Office) -> None:
    office.world.person("ana@example.org")
    public_id, marketing, officer = office.announcement(), browser("marketing"), browser("privacy_officer")
    base = f"/staff/announcements/{public_id}"
    assert 'name="words"' not in marketing.get(base).text, "there is nothing to choose yet"
    officer.post(f"{PAGE}/wordings", data=MORE)
    page = marketing.get(base).text
    assert 'name="words"' in page
    assert "agreed to older words, which cover less" in page
    within = {**FORM, "words": "new-products-v1-en"}
    counted = marketing.post(f"{base}/count", data=within).text
    assert "agreed to older words" not in counted
    assert marketing.post(base, data=within).status_code == 303
    with reading(office.house.engine) as session:
        kept = queries.by_public_id(session, public_id).audience
    assert kept == {"attributes": {}, "words": "new-products-v1-en"}
    assert '<option value="new-products-v1-en" selected>' in marketing.get(base).text
    assert marketing.post(base, data={**within, "topic": "updates"}).status_code == 303
    with reading(office.house.engine) as session:
        assert queries.by_public_id(session, public_id).audience == {"attributes": {}}
