"""A policy's next version is written in every language it has: none vanishes unless somebody empties it, and each reader and each
mail finds their own."""

import re
from collections.abc import Callable
from datetime import timedelta
from html import unescape

import pytest
from sqlmodel import Session
from starlette.testclient import TestClient

from service.db.session import reading
from service.domain.policies import actions, queries, rules
from service.domain.policies.rules import PolicyText
from service.kit import clock
from tests.web.staff.conftest import Office

Browser = Callable[..., TestClient]
HERE = "/staff/policies/privacy"


def _form(page: str) -> dict[str, str]:
    """What the page's form holds, as a browser would send it."""
    areas = re.findall(r'<textarea[^>]*name="([^"]+)"[^>]*>\n?(.*?)</textarea>', page, re.S)
    lines = re.findall(r'<input[^>]*name="([^"]+)"[^>]*?value="([^"]*)"', page)
    return {name: unescape(value) for name, value in (*areas, *lines) if name != "csrf"}


def _newest(office: Office, slug: str = "privacy") -> dict[str, tuple[int, str]]:
    with reading(office.house.engine) as session:
        texts = queries.newest_of(queries.versions(session, slug))
        return {locale: (one.version, one.body.strip()) for locale, one in texts.items()}


def test_every_language_stands_in_the_form_and_goes_along(browser: Browser, office: Office) -> None:
    officer = browser("privacy_officer")
    form = _form(officer.get(HERE).text)
    before = _newest(office)
    assert {"title:en", "body:en", "title:de", "body:de"} <= set(form)
    assert form["body:de"].strip() == before["de"][1]
    answer = officer.post(
        HERE, data={**form, "body:en": "Anew.", "then": "publish"}, follow_redirects=True
    ).text
    assert "Published in English and Deutsch." in answer
    assert _newest(office) == {"de": (2, before["de"][1]), "en": (2, "Anew.")}
    assert "Anew." in officer.get("/policies/privacy?lang=en").text
    german = officer.get("/policies/privacy?lang=de").text
    assert "Fassung 2" in german
    assert "Anew." not in german


def test_a_language_the_form_does_not_name_goes_along(browser: Browser, office: Office) -> None:
    before = _newest(office)
    data = {"title:en": "Privacy", "body:en": "Anew.", "then": "publish"}
    assert browser("privacy_officer").post(HERE, data=data).status_code == 303
    assert _newest(office) == {"de": (2, before["de"][1]), "en": (2, "Anew.")}


def test_a_language_is_left_out_only_by_emptying_both_of_its_fields(browser: Browser, office: Office) -> None:
    officer = browser("privacy_officer")
    form = _form(officer.get(HERE).text) | {"then": "publish"}
    half = officer.post(HERE, data={**form, "body:de": " "})
    assert half.status_code == 422
    assert 'href="#body:de"' in half.text
    none = officer.post(HERE, data={**form, "title:de": "", "body:de": "", "title:en": "", "body:en": ""})
    assert none.status_code == 422
    assert "A policy needs its text in one language at least." in none.text
    assert _newest(office)["de"][0] == 1, "nothing was published"
    gone = {**form, "title:de": "", "body:de": ""}
    preview = officer.post(HERE, data={**gone, "then": "preview"}).text
    assert "Version 2 leaves out Deutsch" in preview
    answer = officer.post(HERE, data=gone, follow_redirects=True).text
    assert "Published in English, without Deutsch." in answer
    assert set(_newest(office)) == {"en"}
    assert "Deutsch is not in version 2" in officer.get(HERE).text
    assert office.world.entries("policy.published") == 2


def test_a_language_is_added_without_script(browser: Browser, office: Office) -> None:
    officer = browser("privacy_officer")
    form = _form(officer.get(HERE).text)
    wrong = officer.post(HERE, data={**form, "locale": "french", "then": "add"})
    assert wrong.status_code == 422
    assert 'href="#locale"' in wrong.text
    page = officer.post(HERE, data={**form, "body:en": "Typed.", "locale": "fr", "then": "add"}).text
    added = _form(page)
    assert (added["title:fr"], added["body:fr"], added["body:en"]) == ("", "", "Typed.")
    assert officer.post(HERE, data={**added, "then": "publish"}).status_code == 303
    assert set(_newest(office)) == {"de", "en"}, "what was added and left empty is none"
    more = {**added, "title:fr": "Vie privée", "body:fr": "Ce que nous tenons.", "then": "publish"}
    late = officer.post(HERE, data=more)
    assert late.status_code == 409, "that form was made before version 2"
    assert officer.post(HERE, data={**more, "based_on": "2"}).status_code == 303
    assert _newest(office)["fr"] == (3, "Ce que nous tenons.")


def test_a_language_that_was_lost_is_offered_with_its_last_text(browser: Browser, office: Office) -> None:
    """An installation from before: English has a second version, German only the first."""
    before = _newest(office)["de"][1]
    _lose_german(office)
    officer = browser("privacy_officer")
    page = officer.get(HERE).text
    assert "Deutsch is not in version 2" in page
    assert "body:de" not in _form(page)
    again = officer.post(HERE, data={**_form(page), "then": "add:de"}).text
    assert _form(again)["body:de"].strip() == before


def test_two_who_write_at_once_do_not_undo_each_other(browser: Browser, office: Office) -> None:
    officer, admin = browser("privacy_officer"), browser("admin")
    form = _form(officer.get(HERE).text) | {"then": "publish"}
    assert form["based_on"] == "1"
    assert admin.post(HERE, data={**form, "body:de": "Neu."}).status_code == 303
    late = officer.post(HERE, data={**form, "body:en": "Anew."})
    assert late.status_code == 409
    assert "published meanwhile" in late.text
    assert _form(late.text)["body:en"].strip() == "Anew.", "what was typed is kept"
    assert _form(late.text)["based_on"] == "2"


def test_a_new_policy_begins_with_one_language_and_can_take_more(browser: Browser, office: Office) -> None:
    officer = browser("privacy_officer")
    page = officer.get("/staff/policies/new").text
    data = {**_form(page), "slug": "terms", "title:en": "Terms", "body:en": "We agree.", "locale": "de"}
    page = officer.post("/staff/policies/new", data={**data, "then": "add"}).text
    data = {**_form(page), "title:de": "Bedingungen", "body:de": "Wir sind einig.", "then": "publish"}
    assert officer.post("/staff/policies/new", data=data).status_code == 303
    assert _newest(office, "terms") == {"de": (1, "Wir sind einig."), "en": (1, "We agree.")}


def test_the_newest_version_is_shown_to_everybody_and_says_in_which_languages_it_is(
    browser: Browser, office: Office
) -> None:
    _lose_german(office)
    page = browser("privacy_officer").get("/policies/privacy?lang=de").text
    assert "Only English." in page
    assert "Diese Fassung gibt es nur in diesen Sprachen:" in page
    assert "Englisch" in page
    assert "nur in diesen Sprachen" not in browser("privacy_officer").get("/policies/privacy?lang=en").text


def test_the_difference_is_between_texts_of_one_language(browser: Browser, office: Office) -> None:
    reader = browser("privacy_officer")
    _lose_german(office)
    office.world.change(
        lambda session: _publish(session, {"de": PolicyText("Datenschutz", "Wieder auf Deutsch.")})
    )
    page = reader.get("/policies/privacy?lang=de").text
    assert "version=3&amp;since=1" in page, "the last one in German"
    assert "version=3&amp;since=2" in reader.get("/policies/privacy?lang=en").text
    none = reader.get("/policies/privacy?version=3&since=2&lang=de").text
    assert "Fassung 2 gab es in dieser Sprache nicht" in none
    assert "<ins>" not in none
    assert "<del>" not in none
    assert "Wieder auf Deutsch." in none
    assert "<ins>Wieder auf Deutsch.</ins>" in reader.get(
        "/policies/privacy?version=3&since=1&lang=de"
    ).text.replace(" </ins>", "</ins>")


def test_a_text_in_a_language_the_pages_do_not_speak_can_be_read(browser: Browser, office: Office) -> None:
    office.world.change(lambda session: _publish(session, {"fr": PolicyText("Vie privée", "Ce qui est.")}))
    reader = browser("privacy_officer")
    assert "?version=2&amp;lang=fr" in reader.get("/policies/privacy").text
    french = reader.get("/policies/privacy?version=2&lang=fr").text
    assert "Ce qui est." in french
    assert '<div class="prose" lang="fr"' in french


def test_the_list_names_the_newest_version_in_any_language(browser: Browser, office: Office) -> None:
    office.world.change(
        lambda session: _publish(session, {"en": None, "de": PolicyText("Datenschutz", "Nur Deutsch.")})
    )
    page = browser("privacy_officer").get("/staff/policies").text
    assert re.search(r'href="/staff/policies/privacy"[^>]*>Datenschutz</a></th><td[^>]*>2<', page)


def _lose_german(office: Office) -> None:
    """As a version before this one would have published it."""
    office.world.change(
        lambda session: _publish(session, {"en": PolicyText("Privacy", "Only English."), "de": None})
    )


def _publish(session: Session, texts: dict[str, PolicyText | None]) -> None:
    actions.publish(session, slug="privacy", texts=texts, now=clock.now(), by="cli")


@pytest.mark.parametrize("then", ["preview", "add:fr", "publish"])
def test_what_a_colleague_published_is_not_passed_over_by_a_look_in_between(
    browser: Browser, office: Office, then: str
) -> None:
    """A preview, a language more, a title that was forgotten: the page that comes back still knows on what it was written."""
    officer = browser("privacy_officer")
    form = _form(officer.get(HERE).text)
    officer.post(HERE, data={**form, "body:en": "A colleague’s.", "then": "publish"})
    typed = {**form, "body:en": "Mine.", "then": then}
    looked = officer.post(HERE, data=typed | ({"title:en": ""} if then == "publish" else {}))
    mine = _form(looked.text) | {"title:en": "Mine", "then": "publish"}
    mine = {name: text for name, text in mine.items() if not name.endswith(":fr")}
    told = officer.post(HERE, data=mine)
    assert told.status_code == 409
    assert "A newer version was published meanwhile." in told.text
    assert "Mine." in told.text
    assert _newest(office)["en"] == (2, "A colleague’s.")
    assert officer.post(HERE, data=_form(told.text) | {"then": "publish"}).status_code == 303, "it was read"
    assert _newest(office)["en"] == (3, "Mine.")


@pytest.mark.parametrize("link", ["[your page](/me)", "![it](/media/it.png)", "[here](javascript:alert(1))"])
def test_a_text_that_no_page_could_show_is_not_published(browser: Browser, office: Office, link: str) -> None:
    """Published versions never change: readers, and the editor itself, would find an error there for good."""
    officer = browser("privacy_officer")
    form = _form(officer.get(HERE).text) | {"body:de": f"Siehe {link}."}
    for then in ("preview", "publish"):
        refused = officer.post(HERE, data={**form, "then": then})
        assert refused.status_code == 422
        assert 'href="#body:de"' in refused.text
        assert "must begin with https://, mailto: or tel:" in refused.text
    assert _newest(office)["de"][0] == 1
    assert officer.get("/policies/privacy?lang=de").status_code == 200


def test_one_that_an_earlier_version_published_is_read_as_it_was_typed_and_can_be_mended(
    browser: Browser, office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    officer = browser("privacy_officer")
    with monkeypatch.context() as earlier:
        earlier.setattr(rules, "to_html", lambda source: source)
        form = _form(officer.get(HERE).text) | {"body:en": "See [<b>yours</b>](/me)."}
        assert officer.post(HERE, data={**form, "then": "publish"}).status_code == 303
    page = officer.get("/policies/privacy?lang=en")
    assert page.status_code == 200
    assert "See [&lt;b&gt;yours&lt;/b&gt;](/me)." in page.text
    editor = officer.get(HERE)
    assert editor.status_code == 200
    mended = _form(editor.text) | {"body:en": "See your page.", "then": "publish"}
    assert officer.post(HERE, data=mended).status_code == 303
    assert _newest(office)["en"] == (3, "See your page.")


def test_in_force_from_today_is_at_once(browser: Browser, office: Office) -> None:
    officer = browser("privacy_officer")
    form = _form(officer.get(HERE).text) | {"body:en": "Anew.", "then": "publish"}
    yesterday = clock.now().date() - timedelta(days=1)
    assert officer.post(HERE, data={**form, "effective_on": yesterday.isoformat()}).status_code == 409
    today = clock.now().date().isoformat()
    assert officer.post(HERE, data={**form, "effective_on": today}).status_code == 303
    assert "Anew." in officer.get("/policies/privacy?lang=en").text
