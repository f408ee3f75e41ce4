"""The other rooms through their pages: notices, topics, policies, messages, ledger, settings, staff, keys, inbox."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlmodel import Session, update
from starlette.testclient import TestClient

from scheduler import jobs
from service import app
from service.config import Settings
from service.db.session import reading
from service.domain.api_keys import queries as api_keys
from service.domain.brands import queries as brands
from service.domain.deliveries import freeze
from service.domain.mailings.tables import Mailing
from service.domain.notices import actions as notice_actions
from service.domain.notices import queries as notices
from service.domain.privacy import actions as privacy
from service.domain.staff import queries as staff
from service.domain.staff.rules import ROLES
from service.domain.topics import queries as topics
from service.inbox import Captured
from service.kit import addresses, clock
from service.ops import captured, doctor
from service.ops.house import House
from tests.web.conftest import BASE
from tests.web.staff.conftest import OURS, Office

Browser = Callable[..., TestClient]
TOPIC = {
    "slug": "tips", "name": "Tips", "often": "Small tricks, once a month", "class": "marketing", "basis": "consent",
    "visibility": "public", "mailbox": "tips", "double_opt_in": "1", "locale": "en",
    "text": "Send me tips. I can stop any time.",
}  # fmt: skip
MAIL = (
    b"From: Kettle Works <news@example.org>\r\nTo: ana@example.org\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n"
    b"List-Unsubscribe: <https://example.org/u/X>\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"
    b"MIME-Version: 1.0\r\nContent-Type: multipart/alternative; boundary=b\r\n\r\n"
    b"--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nHello in text\r\n"
    b"--b\r\nContent-Type: text/html; charset=utf-8\r\n\r\n"
    b"<html><head><title>x</title></head><body><script>alert(1)</script>"
    b"<a href='https://example.org/u/X'>Stop</a></body></html>\r\n--b--\r\n"
)


def shown_notice(office: Office, public_id: str) -> Any:
    with reading(office.house.engine) as session:
        return notices.shown(session, notices.by_public_id(session, public_id))


def test_a_notice_is_written_reviewed_published_and_corrected(browser: Browser, office: Office) -> None:
    office.world.person("ana@example.org", yes=("updates",))
    product = browser("product")
    form = {
        "title": "Exports are faster",
        "topic": "updates",
        "locale": "en",
        "body": "| a | b |\n|---|---|\n| 1 | 2 |",
        "mail": "1",
    }
    empty = product.post("/staff/notices/new", data={**form, "title": ""})
    assert empty.status_code == 422
    assert "| 1 | 2 |" in empty.text
    made = product.post("/staff/notices/new", data={**form, "then": "review"})
    base = made.headers["location"].removesuffix("/review")
    review = product.get(f"{base}/review").text
    assert "<table" in review
    assert "Publish and mail 1 person" in review
    assert browser("marketing").post(f"{base}/publish", data={"mail": ""}).status_code == 403
    assert product.post(f"{base}/publish", data={"mail": "1"}).headers["location"] == f"{base}/report"
    assert product.get(f"{base}/report").status_code == 200
    notice = shown_notice(office, base.rpartition("/")[2])
    assert (notice.state, notice.mailing_state) == ("published", "freezing")
    assert re.search(r"mail held until \d\d:\d\d:\d\d UTC", product.get("/staff/notices").text)
    product.post(base, data={**form, "body": "Corrected"})
    assert shown_notice(office, notice.id).corrected_at is not None
    assert product.post(f"{base}/cancel").status_code in (202, 303)


def halted_notice(office: Office) -> str:
    """The public id of an important notice whose mail to one person the guard has halted."""
    office.world.person("ana@example.org", yes=("updates",))
    content = {"en": {"title": "Keys expire", "preheader": "", "body": "Renew them by Friday."}}
    house = office.house

    def publish(session: Session) -> str:
        now, given = clock.now(), {"topic": "important-notices", "content": content, "mail": True}
        row = notice_actions.create(session, house.settings, **given, now=now, by="cli")
        return notice_actions.publish(session, house.settings, row.public_id, now=now, by="cli").public_id

    def halt(session: Session) -> None:
        mailing = notices.mailing_of(session, notices.by_public_id(session, public_id))
        assert mailing is not None
        freeze.halt(session, mailing, "render_errors", now=clock.now())

    public_id = str(office.world.change(publish))
    jobs.freeze(house, clock.now())
    office.world.change(halt)
    return public_id


def test_a_halted_notice_says_why_and_goes_on_or_stops(browser: Browser, office: Office) -> None:
    public_id, product = halted_notice(office), browser("product")
    base = f"/staff/notices/{public_id}"
    assert "The mail of “Keys expire” is halted" in product.get("/staff").text
    page = product.get(f"{base}/report").text
    assert "Halted: 0 of 1 sent." in page
    assert "more than one mail in a thousand could not be made. Look at a field of its text" in page
    assert "Resume: 1 left" in page
    assert "Stop for good: 1 get nothing" in page
    assert re.search(
        r"It may go on until <time[^>]*>[^<]+</time>\. Who has not got it by then gets nothing", page
    )
    assert "Resume" not in browser("marketing").get(f"{base}/report").text
    assert browser("marketing").post(f"{base}/resume").status_code == 403
    assert product.post(f"{base}/resume").headers["location"] == f"{base}/report"
    assert shown_notice(office, public_id).mailing_state == "sending"
    assert "The mail of" not in product.get("/staff").text
    assert product.post(f"{base}/resume").status_code == 409
    assert product.post(f"{base}/cancel").status_code in (202, 303)
    assert shown_notice(office, public_id).mailing_state == "cancelled"


def test_a_halted_notice_cannot_go_on_when_its_time_has_run_out(browser: Browser, office: Office) -> None:
    public_id, product = halted_notice(office), browser("product")
    base, late = f"/staff/notices/{public_id}", clock.now() + timedelta(days=4)
    office.world.change(lambda s: s.execute(update(Mailing).values(valid_until=clock.now())))
    page = product.get(f"{base}/report").text
    assert "Resume" not in page
    assert "Stop for good" in page
    refused = product.post(f"{base}/resume")
    assert (refused.status_code, "Its time has run out" in refused.text) == (409, True)
    jobs.expire(office.house, late)
    assert "Its time ran out: 0 of 1 sent." in product.get(f"{base}/report").text


def test_std_g7_an_offer_in_an_important_notice_is_answered_on_the_review(
    browser: Browser, office: Office
) -> None:
    product = browser("product")
    form = {
        "title": "Keys expire", "topic": "important-notices", "locale": "en", "mail": "1", "then": "review",
        "body": "Upgrade today and save 20 %.",
    }  # fmt: skip
    review = product.post("/staff/notices/new", data=form).headers["location"]
    page = product.get(review).text
    assert "“Upgrade today”, “save 20 %”: that sounds like advertising" in page
    assert 'name="not_advertising" value="1" required' in page
    base = review.removesuffix("/review")
    public_id, publish = base.rpartition("/")[2], {"mail": "1"}
    refused = product.post(f"{base}/publish", data=publish)
    assert (refused.status_code, "or say that it is none" in refused.text) == (422, True)
    stale = product.post(f"{base}/publish", data={**publish, "not_advertising": "1", "based_on": "0" * 64})
    assert stale.status_code == 409
    assert shown_notice(office, public_id).state == "draft"
    seen = shown_notice(office, public_id).content_hash
    product.post(f"{base}/publish", data={**publish, "not_advertising": "1", "based_on": seen})
    assert shown_notice(office, public_id).mailing_state == "freezing"
    assert "not_advertising" not in product.get(review).text


def test_two_tabs_never_overwrite_each_others_notice_unseen(browser: Browser, office: Office) -> None:
    product = browser("product")
    form = {"title": "Exports", "topic": "updates", "locale": "en", "body": "First"}
    base = product.post("/staff/notices/new", data=form).headers["location"].partition("?")[0]
    public_id = base.rpartition("/")[2]
    seen = shown_notice(office, public_id).content_hash
    assert f'name="based_on" value="{seen}"' in product.get(base).text
    product.post(base, data={**form, "body": "First tab", "based_on": seen})
    late = product.post(base, data={**form, "body": "Second tab", "based_on": seen})
    assert late.status_code == 409
    assert "it was changed meanwhile" in late.text
    assert "Second tab</textarea>" in late.text
    now = shown_notice(office, public_id).content_hash
    assert shown_notice(office, public_id).content["en"]["body"] == "First tab"
    assert f'name="over" value="{now}"' in late.text
    product.post(base, data={**form, "body": "Second tab", "based_on": seen, "over": now})
    assert shown_notice(office, public_id).content["en"]["body"] == "Second tab"


def test_a_topic_is_added_and_its_wording_renewed(browser: Browser, office: Office) -> None:
    officer = browser("privacy_officer")
    unfit = officer.post("/staff/topics", data={**TOPIC, "basis": "contract"})
    assert unfit.status_code == 422
    assert 'href="#basis"' in unfit.text
    assert "Send me tips." in unfit.text
    assert officer.post("/staff/topics", data=TOPIC).headers["location"] == "/staff/topics/tips"
    newer = {**TOPIC, "text": "Send me tips, please."}
    assert officer.post("/staff/topics/tips/wordings", data=newer).status_code == 303
    page = officer.get("/staff/topics/tips").text
    assert "Version 2, en" in page
    assert "Version 1, en" in page
    assert officer.post("/staff/topics/tips/retire").status_code == 303
    with reading(office.house.engine) as session:
        assert topics.by_slug(session, "tips").state == "retired"
    assert "Use it again" in officer.get("/staff/topics/tips").text
    assert officer.post("/staff/topics/tips/restore").status_code == 303
    with reading(office.house.engine) as session:
        assert topics.by_slug(session, "tips").state == "active"
    assert "0 people would get no more" in officer.get("/staff/topics/tips").text


def test_an_empty_notice_leads_to_the_field_that_is_missing(browser: Browser) -> None:
    answer = browser("product").post("/staff/notices/new", data={"topic": "updates", "locale": "en"})
    assert answer.status_code == 422
    assert 'href="#title"' in answer.text


def test_a_policy_is_previewed_and_published_as_the_next_version(browser: Browser, office: Office) -> None:
    officer = browser("privacy_officer")
    form = {"title:en": "Privacy", "body:en": "## Anew\n\n<script>alert(1)</script>Text"}
    preview = officer.post("/staff/policies/privacy", data={**form, "then": "preview"})
    assert "<h2>Anew</h2>" in preview.text
    assert "<script>alert" not in preview.text
    assert (
        officer.post(
            "/staff/policies/privacy", data={**form, "then": "publish", "effective_on": "soon"}
        ).status_code
        == 422
    )
    assert officer.post("/staff/policies/privacy", data={**form, "then": "publish"}).status_code == 303
    page = officer.get("/staff/policies/privacy").text
    assert "Version 2</strong>" in page
    assert "Publish version 3" in page
    assert "Privacy_Officer Person" in page


def test_a_message_is_read_on_record_and_answered(browser: Browser, office: Office) -> None:
    ask = {
        "address": addresses.parse("zoe@example.org"),
        "name": "Zoe",
        "subject": "data",
        "text": "What do you hold?",
        "locale": "en",
    }
    asked = office.world.change(lambda s: privacy.ask(s, office.house.ring, now=clock.now(), **ask).public_id)
    officer, base = browser("privacy_officer"), f"/staff/contact/{asked}"
    listed = officer.get("/staff/contact").text
    assert "z***e@example.org" in listed
    assert "What do you hold?" not in listed
    assert office.world.entries("contact.read") == 0
    assert "What do you hold?" in officer.get(base).text
    assert office.world.entries("contact.read") == 1
    assert officer.post(f"{base}/answer", data={"body": ""}).status_code == 422
    assert officer.post(f"{base}/answer", data={"body": "Your address."}).status_code == 303
    assert "Your address." in officer.get(base).text
    assert len(office.world.mails("contact-answer")) == 1
    assert officer.post(f"{base}/close").status_code == 303
    assert browser("marketing").get(base).status_code == 403


def test_the_chain_is_verified_by_a_button_and_a_fault_is_named(browser: Browser, office: Office) -> None:
    officer = browser("privacy_officer")
    good = officer.post("/staff/ledger/verify").text
    assert "Chain holds" in good
    assert "brand.changed" in officer.get("/staff/ledger?kind=brand.changed").text
    assert 'id="e3"' in officer.get("/staff/ledger?entry=3").text
    with office.house.engine.connect() as connection:
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("DROP TRIGGER IF EXISTS ledger_entry_no_update")
            names = connection.execute(
                text("SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'ledger_entry'")
            )
            for name in [row[0] for row in names]:
                connection.exec_driver_sql(f"DROP TRIGGER {name}")
        else:
            connection.exec_driver_sql("ALTER TABLE ledger_entry DISABLE TRIGGER ALL")
        connection.execute(
            text("UPDATE ledger_entry SET entry = replace(entry, 'version', 'versoin') WHERE seq = 3")
        )
        connection.commit()
    bad = officer.post("/staff/ledger/verify").text
    assert "Chain broken" in bad
    assert "Entry 3." in bad


def test_settings_are_changed_by_group_and_kept_when_wrong(browser: Browser, office: Office) -> None:
    admin = browser("admin")
    wrong = admin.post(
        "/staff/settings", data={"group": "brand", "title": "Kettle Works", "from_domain": "gmail.com"}
    )
    assert wrong.status_code == 422
    assert 'href="#from_domain"' in wrong.text
    assert 'value="gmail.com"' in wrong.text
    assert 'value="Kettle Works"' in wrong.text
    assert admin.post("/staff/settings", data={"group": "brand", "title": "Kettle Works"}).status_code == 303
    sending = {"group": "sending", "two_person_approval": "1"}
    assert admin.post("/staff/settings", data=sending).status_code == 303
    with reading(office.house.engine) as session:
        assert brands.default_brand(session).title == "Kettle Works"
        known = brands.settings(session)
    assert known["two_person_approval"] is True
    assert known["sending_on"] is False, "its box was not ticked"
    assert office.world.entries("settings.sending_off") == 1
    assert "Sending is switched off: nothing leaves" in admin.get("/staff/topics").text
    pace = {
        "group": "pace",
        "domain_limits": "gmail.com per_hour=2000 connections=4",
        "warm_up": "2026-12-01: 200 400",
    }
    assert admin.post("/staff/settings", data=pace | {"warm_up": "soon"}).status_code == 422
    assert admin.post("/staff/settings", data=pace).status_code == 303
    shown = admin.get("/staff/settings").text
    assert all(value in shown for value in (pace["domain_limits"], pace["warm_up"]))
    assert admin.post("/staff/settings", data={"group": "nothing"}).status_code == 404
    assert "Save brand" not in browser("marketing").get("/staff/settings").text


def test_a_colleague_is_invited_once_given_a_role_and_let_go(browser: Browser, office: Office) -> None:
    admin = browser("admin")
    again = admin.post("/staff/staff", data={"name": "X", "email": "admin@example.org", "role": "product"})
    assert again.status_code == 409
    answer = admin.post("/staff/staff", data={"name": "Teo", "email": "teo@example.org", "role": "product"})
    link = answer.text.partition(f"{BASE}/staff/start/")[2].partition("<")[0]
    assert len(link) > 30
    assert link not in admin.get("/staff/staff").text, "shown once"
    assert len(office.world.mails("staff-invite")) == 1
    teo = browser()
    assert "Teo" in teo.get(f"/staff/start/{link}").text
    assert (
        teo.post(
            f"/staff/start/{link}", data={"name": "Teo M", "password": "seven green boats row"}
        ).status_code
        == 303
    )
    assert teo.get("/staff/notices/new").status_code == 200
    with reading(office.house.engine) as session:
        public_id = next(one.public_id for one in staff.members(session) if one.name == "Teo M")
    admin.post(f"/staff/staff/{public_id}/role", data={"role": "marketing"})
    assert teo.get("/staff").status_code == 303
    admin.post(f"/staff/staff/{public_id}/disable")
    assert "Disabled" in admin.get("/staff/staff").text
    assert admin.post(f"/staff/staff/{office.ids['admin']}/disable").status_code == 409, "one admin remains"


def test_a_key_is_shown_once_and_revoked(browser: Browser, office: Office) -> None:
    admin = browser("admin")
    reserved = admin.post("/staff/keys", data={"name": "Own", "source": "me", "scope": "people:read"})
    assert reserved.status_code == 422
    assert "what people say of themselves" in reserved.text
    none = admin.post("/staff/keys", data={"name": "Web shop", "source": "shop"})
    assert none.status_code == 422
    assert 'value="Web shop"' in none.text
    answer = admin.post(
        "/staff/keys", data={"name": "Web shop", "source": "shop", "scope": ["people:write", "topics:read"]}
    )
    plain = answer.text.partition("bk_")[2].partition("<")[0]
    assert answer.headers["cache-control"] == "no-store"
    assert plain not in admin.get("/staff/keys").text
    with reading(office.house.engine) as session:
        key = api_keys.by_plaintext(session, f"bk_{plain}", now=clock.now())
        assert key is not None
    assert admin.post(f"/staff/keys/{key.public_id}/revoke").status_code == 303
    with reading(office.house.engine) as session:
        assert api_keys.by_plaintext(session, f"bk_{plain}", now=clock.now()) is None


def test_the_captured_inbox_shows_a_mail_in_every_way(browser: Browser, office: Office) -> None:
    at = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
    captured.keep(office.house, Captured("b+1@example.org", "ana@example.org", MAIL, at))
    captured.keep(
        office.house, Captured("b+2@example.org", "zoe@example.org", MAIL.replace(b"ana@", b"zoe@"), at)
    )
    admin = browser("admin")
    page = admin.get("/inbox").text
    assert "Captured inbox (2)" in page
    assert "Grüße" in page
    assert "One-click stop: both headers are there." in page
    assert "ana@example.org" not in admin.get("/inbox?q=zoe").text
    first = "/inbox?mail=1"
    assert "Hello in text" in admin.get(f"{first}&view=text").text
    assert "List-Unsubscribe-Post" in admin.get(f"{first}&view=headers").text
    assert "=?utf-8?q?Gr=C3=BC" in admin.get(f"{first}&view=source").text
    frame = admin.get("/inbox/1/html")
    assert frame.headers["content-security-policy"].startswith(
        "sandbox allow-popups allow-popups-to-escape-sandbox;"
    )
    assert "allow-scripts" not in frame.headers["content-security-policy"]
    assert '<base target="_blank">' in frame.text
    assert admin.get("/inbox?mail=77").status_code == 404
    admin.post("/inbox/empty")
    assert "Nothing has arrived" in admin.get("/inbox").text


@pytest.mark.parametrize("role", ROLES)
def test_only_admins_see_the_captured_mail_of_others(browser: Browser, office: Office, role: str) -> None:
    at = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
    captured.keep(office.house, Captured("b+1@example.org", "ana@example.org", MAIL, at))
    own = f"{role.replace('_', '-')}@example.org"
    captured.keep(office.house, Captured("b+2@example.org", own.title(), MAIL, at))
    colleague, sees_all = browser(role), role == "admin"
    page = colleague.get("/inbox").text
    assert f"Captured inbox ({2 if sees_all else 1})" in page
    assert own.title() in page, "a test to oneself"
    assert ("<bdi>ana@example.org</bdi>" in page) == sees_all
    assert ("<bdi>ana@example.org</bdi>" in colleague.get("/inbox?q=ana").text) == sees_all
    assert colleague.get("/inbox?mail=1").status_code == (200 if sees_all else 404)
    assert colleague.get("/inbox/1/html").status_code == (200 if sees_all else 404)
    assert colleague.get("/inbox/2/html").status_code == 200
    assert ("Empty the inbox" in page) == sees_all
    assert colleague.post("/inbox/empty").status_code == (303 if sees_all else 403)


def test_there_is_no_inbox_where_mail_really_leaves(office: Office, tmp_path: Path) -> None:
    real = Settings(
        data_dir=tmp_path,
        database_url=office.house.settings.database_url,
        public_url=BASE,
        smtp_url="smtp://127.0.0.1:25",
    )
    built = app.build(House(real, office.house.engine, office.house.ring))
    admin = TestClient(
        built,
        base_url=BASE,
        follow_redirects=False,
        headers=OURS,
        cookies={"bidden-staff": office.token("admin")},
    )
    assert admin.get("/inbox").status_code == 404
    assert admin.post("/inbox/empty").status_code == 404
    assert "/inbox" not in admin.get("/staff").text


def test_the_first_page_says_what_to_do_when_nothing_was_sent(browser: Browser, office: Office) -> None:
    admin = browser("admin")
    page = admin.get("/staff").text
    assert "Send yourself the first mail" in page
    assert page.index('href="/join"') < page.index("Choose a starter"), "nobody is known here yet"
    assert "Nothing is planned for the next seven days; nothing waits for you." in page
    office.world.person("ana@example.org")
    assert 'href="/join"' not in admin.get("/staff").text


def test_health_says_what_is_wrong_and_shows_no_secret(browser: Browser, office: Office) -> None:
    page = browser("marketing").get("/staff/health").text
    assert "Ledger" in page
    assert "What was examined" in page
    assert "secret" not in page


def test_the_health_page_finds_what_doctor_finds(browser: Browser, office: Office) -> None:
    admin, house = browser("admin"), office.house
    page = admin.get("/staff/health").text
    inside = {fact.name for fact in doctor.inside(house, now=clock.now())}
    everything = {fact.name for fact in doctor.examine(house, now=clock.now())}
    assert {"key file", "postal address", "guards"} <= inside < everything
    assert [name for name in everything if f"<strong>{name[:1].upper()}{name[1:]}</strong>" in page] == [
        name for name in everything if name in inside
    ]
    assert "Public address, mail server, clock and DNS were not asked" in page
    asked = browser("marketing").post("/staff/health").text
    assert all(f"<strong>{name[:1].upper()}{name[1:]}</strong>" in asked for name in everything)
    assert "does not answer" in asked, "nothing listens at the public address of this test"
