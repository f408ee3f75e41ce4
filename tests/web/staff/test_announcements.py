"""Announcements through their pages: write, look, test, approve, schedule, pause, report."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlmodel import Session, col, select
from starlette.testclient import TestClient

from service import fence
from service.db.session import reading
from service.domain.announcements import actions, queries
from service.domain.brands import actions as brands
from service.domain.deliveries import freeze as audiences
from service.domain.ledger import queries as ledger
from service.domain.mailings.tables import Audience, Mailing
from service.domain.senders.tables import Sender
from service.domain.staff import queries as staff
from service.kit import clock
from tests import builders as make
from tests.web.staff.conftest import Office

Browser = Callable[..., TestClient]
FORM = {
    "topic": "new-products", "template": "letter", "locale": "en", "subject": "The planner is here",
    "preheader": "Plan a week in two minutes",
    "body": "Hello {{ first_name|default('there') }},\n\nit is here.",
}  # fmt: skip


def state(office: Office, public_id: str) -> Any:
    with reading(office.house.engine) as session:
        return queries.shown(session, queries.by_public_id(session, public_id))


def kinds(office: Office, subject: str) -> list[str]:
    with reading(office.house.engine) as session:
        return [seen.kind for seen in ledger.of_subject(session, subject)]


def test_a_new_announcement_starts_from_a_starter(browser: Browser, office: Office) -> None:
    marketing = browser("marketing")
    page = marketing.get("/staff/announcements/new")
    assert page.text.count("<iframe") == 8
    made = marketing.post("/staff/announcements", data={"topic": "new-products", "template": "launch"})
    assert made.status_code == 303
    composer = marketing.get(made.headers["location"])
    assert "the new planner is here" in composer.text
    assert "draft" in composer.text
    assert marketing.post("/staff/announcements", data={"template": "nothing"}).status_code in (404, 422)


def test_saving_keeps_what_is_wrong_and_says_where(browser: Browser, office: Office) -> None:
    public_id, marketing = office.announcement(), browser("marketing")
    base = f"/staff/announcements/{public_id}"
    wrong = marketing.post(base, data={**FORM, "subject": "Hello {{ first_nam }}", "body": "Mine, not lost"})
    assert wrong.status_code == 422
    assert "<title>Error: " in wrong.text
    assert 'href="#subject"' in wrong.text
    assert "first_nam" in wrong.text
    assert "Mine, not lost" in wrong.text
    assert state(office, public_id).content["en"]["body"].startswith("Hello")
    right = marketing.post(base, data={**FORM, "subject": "Another subject", "then": "review"})
    assert right.headers["location"] == f"{base}/review"
    assert state(office, public_id).name == "Another subject"


def test_languages_are_kept_apart_and_an_empty_one_is_none(browser: Browser, office: Office) -> None:
    public_id, marketing = office.announcement(), browser("marketing")
    base = f"/staff/announcements/{public_id}"
    turned = marketing.post(base, data={**FORM, "to_locale": "de"})
    assert "locale=de" in turned.headers["location"]
    german = {**FORM, "locale": "de", "subject": "Der Planer ist da", "preheader": "", "body": "Guten Tag"}
    marketing.post(base, data=german)
    assert set(state(office, public_id).content) == {"en", "de"}
    marketing.post(base, data={**german, "subject": "", "body": ""})
    assert set(state(office, public_id).content) == {"en"}


def test_saving_without_a_change_voids_nothing(browser: Browser, office: Office) -> None:
    public_id, marketing = office.announcement(), browser("marketing")
    base = f"/staff/announcements/{public_id}"
    before = state(office, public_id)
    data = {"content_hash": before.content_hash}
    assert marketing.post(f"{base}/submit", data=data).status_code == 303
    assert browser("privacy_officer").post(f"{base}/approve", data=data).status_code == 303
    words = before.content["en"]
    marketing.post(base, data={**FORM, **words})
    assert state(office, public_id).state == "approved"
    marketing.post(base, data={**FORM, **words, "subject": "Changed"})
    assert state(office, public_id).state == "draft"


def test_two_tabs_never_overwrite_each_other_unseen(browser: Browser, office: Office) -> None:
    public_id, marketing = office.announcement(), browser("marketing")
    base = f"/staff/announcements/{public_id}"
    seen = state(office, public_id).content_hash
    assert f'name="based_on" value="{seen}"' in marketing.get(base).text
    marketing.post(base, data={**FORM, "body": "First tab", "based_on": seen})
    mine = {**FORM, "body": "Second tab", "attribute:plan": "pro", "based_on": seen}
    for way in (base, f"{base}/test"):
        late = marketing.post(way, data=mine)
        assert late.status_code == 409
        assert "it was changed meanwhile" in late.text
        assert "Second tab</textarea>" in late.text
        assert f'name="based_on" value="{seen}"' in late.text
        assert f'href="{base}" target="_blank"' in late.text
    assert state(office, public_id).content["en"]["body"] == "First tab"
    now = state(office, public_id).content_hash
    assert f'name="over" value="{now}"' in late.text
    assert marketing.post(base, data={**mine, "attribute:plan": "", "over": now}).status_code == 303
    assert state(office, public_id).content["en"]["body"] == "Second tab"
    assert marketing.post(base, data={**FORM, "body": "Third", "over": now}).status_code == 409


def test_count_and_checks_follow_what_is_typed_and_save_nothing(browser: Browser, office: Office) -> None:
    office.world.person("pro@example.org", attributes={"plan": "pro"})
    office.world.person("free@example.org", attributes={"plan": "free"})
    public_id, marketing = office.announcement(), browser("marketing")
    base, before = f"/staff/announcements/{public_id}", office.world.entries()
    assert "<strong>2</strong>" in marketing.post(f"{base}/count", data=FORM).text
    some = marketing.post(f"{base}/count", data={**FORM, "attribute:plan": "pro"}).text
    assert "<strong>1</strong>" in some
    assert "not in this audience" in some
    bad = marketing.post(f"{base}/checks", data={**FORM, "body": "{{ secret }}"})
    assert bad.status_code == 200
    assert "To fix:" in bad.text
    assert office.world.entries() == before


def test_the_preview_follows_what_is_typed_and_saves_nothing(browser: Browser, office: Office) -> None:
    public_id, marketing = office.announcement(), browser("marketing")
    base, before = f"/staff/announcements/{public_id}/preview", office.world.entries()
    typed = {**FORM, "subject": "Typed just now", "body": "Half a sentence, {{ first_name|default('x') }}"}
    frame = marketing.post(base, data=typed)
    assert "Half a sentence, Ana" in frame.text
    assert frame.headers["content-security-policy"].startswith("sandbox;")
    head = marketing.post(f"{base}?part=head", data={**typed, "view": "text"}).text
    assert "Typed just now" in head
    assert "Half a sentence, Ana" in head
    half = {**typed, "body": "Half a field, {{ first_na"}
    assert "No preview" in marketing.post(base, data=half).text
    assert "Typed just now" in marketing.post(f"{base}?part=head", data=half).text
    assert marketing.post(f"{base}?part=head", data={**typed, "topic": "nothing"}).status_code == 204
    assert office.world.entries() == before


def test_rel_h22_the_preview_is_a_frame_of_nobodys_origin(browser: Browser, office: Office) -> None:
    """H22: sandboxed by its own header too, no script, no cookie, no request to us but for pictures."""
    body = "<script>alert(1)</script><img src='https://example.org/a.png' onerror='alert(2)'> Hello"
    public_id = office.announcement(content={"en": {"subject": "S", "preheader": "P", "body": body}})
    marketing = browser("marketing")
    answer = marketing.get(f"/staff/announcements/{public_id}/preview")
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("sandbox;")
    assert "default-src 'none'" in policy
    assert "script-src" not in policy
    assert "connect-src" not in policy
    assert "frame-ancestors 'self'" in policy
    assert answer.headers["x-frame-options"] == "SAMEORIGIN"
    assert "set-cookie" not in answer.headers
    assert "<script" not in answer.text
    assert "onerror" not in answer.text
    page = marketing.get(f"/staff/announcements/{public_id}").text
    assert 'sandbox=""' in page
    assert "alert(1)" not in page.replace("&lt;script&gt;alert(1)", "")


def test_the_preview_shows_any_real_person_and_says_so_in_the_ledger(
    browser: Browser, office: Office
) -> None:
    ana = office.world.person("ana@example.org", profile={"first_name": "Ånna"})
    public_id, marketing = office.announcement(), browser("marketing")
    shown = marketing.get(f"/staff/announcements/{public_id}/preview?as={ana.public_id}")
    assert "Ånna" in shown.text
    assert kinds(office, ana.public_id).count("person.viewed") == 1
    assert "Ånna" not in marketing.get(f"/staff/announcements/{public_id}/preview").text


def test_a_preview_that_cannot_be_made_says_why(browser: Browser, office: Office) -> None:
    public_id = office.announcement()
    office.world.change(
        lambda s: brands.set_fields(s, "default", {"postal_address": ""}, now=clock.now(), by="cli")
    )
    answer = browser("marketing").get(f"/staff/announcements/{public_id}/preview")
    assert answer.status_code == 422
    assert "postal address" in answer.text
    assert answer.headers["content-security-policy"].startswith("sandbox;")
    assert "to fix" in browser("marketing").get(f"/staff/announcements/{public_id}").text


def test_rel_h65_a_test_goes_to_whoever_asks_and_twenty_times_an_hour(
    browser: Browser, office: Office
) -> None:
    """H65: the address is the signed-in person's own; no field of the form can name another."""
    public_id, marketing = office.announcement(), browser("marketing")
    base = f"/staff/announcements/{public_id}"
    strangers = {"email": "victim@example.org", "to": "victim@example.org", "rcpt": "victim@example.org"}
    assert marketing.post(f"{base}/test", data={**FORM, **strangers}).status_code == 303
    with reading(office.house.engine) as session:
        mailing = session.exec(select(Mailing).where(col(Mailing.kind) == "test")).one()
        member = session.exec(select(Audience).where(col(Audience.mailing_id) == mailing.id)).one()
        own = staff.by_public_id(session, office.ids["marketing"])
        assert member.address_id == staff.address_row(session, own.id or 0).id
        assert member.person_id is None
    for _ in range(19):
        assert marketing.post(f"{base}/test", data=FORM).status_code == 303
    often = marketing.post(f"{base}/test", data=FORM)
    assert often.status_code == 429
    assert FORM["subject"] in often.text


def test_rel_h65_roles_that_may_not_send_are_refused(browser: Browser, office: Office) -> None:
    """H65: product writes no announcements; a privacy officer approves and does not send."""
    public_id = office.announcement()
    base, data = (
        f"/staff/announcements/{public_id}",
        {"content_hash": state(office, public_id).content_hash, "when": "now"},
    )
    for role in ("product", "privacy_officer"):
        for act in ("schedule", "submit", "test", "pause", "cancel"):
            assert browser(role).post(f"{base}/{act}", data=data).status_code == 403, (role, act)
    assert browser("product").post(f"{base}/approve", data=data).status_code == 403


def test_rel_h65_with_two_persons_nobody_approves_their_own(browser: Browser, office: Office) -> None:
    office.world.change(
        lambda s: brands.set_setting(s, "two_person_approval", True, now=clock.now(), by="cli")
    )
    public_id = office.announcement()
    base, data = f"/staff/announcements/{public_id}", {"content_hash": state(office, public_id).content_hash}
    author, officer = browser("marketing"), browser("privacy_officer")
    assert "Ask for approval" in author.get(f"{base}/review").text
    early = author.post(f"{base}/schedule", data={**data, "when": "now"})
    assert early.status_code == 409
    assert "has not been approved" in early.text
    assert author.post(f"{base}/submit", data=data).status_code == 303
    assert author.post(f"{base}/approve", data=data).status_code == 403
    assert "Approve this version" in officer.get(f"{base}/review").text
    assert officer.post(f"{base}/approve", data=data).status_code == 303
    assert author.post(f"{base}/schedule", data={**data, "when": "now"}).status_code == 303
    assert state(office, public_id).state == "scheduled"


def test_schedule_now_takes_every_step_in_one_and_holds(browser: Browser, office: Office) -> None:
    office.world.person()
    public_id, marketing = office.announcement(), browser("marketing")
    base = f"/staff/announcements/{public_id}"
    review = marketing.get(f"{base}/review").text
    assert "Schedule for 1 person" in review
    assert "Now, after a hold of 5 min" in review
    done = marketing.post(
        f"{base}/schedule", data={"content_hash": state(office, public_id).content_hash, "when": "now"}
    )
    assert done.headers["location"] == f"{base}/report"
    report = marketing.get(f"{base}/report").text
    assert "Held" in report
    assert "The first mail leaves at" in report
    assert kinds(office, public_id)[-3:] == [
        "announcement.submitted",
        "announcement.approved",
        "announcement.scheduled",
    ]
    assert marketing.post(f"{base}/unschedule").headers["location"] == f"{base}/review"
    assert state(office, public_id).state == "approved"


def test_rel_h70_what_is_scheduled_is_what_was_shown(browser: Browser, office: Office) -> None:
    public_id, marketing = office.announcement(), browser("marketing")
    base, seen = f"/staff/announcements/{public_id}", state(office, public_id).content_hash
    marketing.post(base, data={**FORM, "subject": "Changed meanwhile"})
    answer = marketing.post(f"{base}/schedule", data={"content_hash": seen, "when": "now"})
    assert answer.status_code == 409
    assert "changed meanwhile" in answer.text
    assert state(office, public_id).state == "draft"


def test_rel_h68_an_hour_that_exists_twice_is_asked_about(
    browser: Browser, office: Office, later: Any
) -> None:
    """H68: neither instant is guessed; the choice settles it, and only for the time it was made for."""
    public_id, marketing = office.announcement(), browser("marketing")
    base = f"/staff/announcements/{public_id}"
    data = {"content_hash": state(office, public_id).content_hash, "when": "at", "zone": "Europe/Berlin"}
    twice = {**data, "date": "2027-10-31", "time": "02:30"}
    asked = marketing.post(f"{base}/schedule", data=twice)
    assert asked.status_code == 422
    assert "twice" in asked.text
    assert "UTC+02:00" in asked.text
    assert "UTC+01:00" in asked.text
    assert 'value="02:30"' in asked.text
    answered = marketing.post(f"{base}/schedule", data={**twice, "offset": "2027-10-31T02:30+01:00"})
    assert answered.status_code == 303
    assert state(office, public_id).due_at.isoformat() == "2027-10-31T01:30:00+00:00"
    marketing.post(f"{base}/unschedule")
    elsewhere = marketing.post(
        f"{base}/schedule", data={**twice, "time": "04:30", "offset": "2027-10-31T02:30+01:00"}
    )
    assert elsewhere.status_code == 303
    assert state(office, public_id).due_at.isoformat() == "2027-10-31T03:30:00+00:00"


def test_at_a_time_of_day_on_each_readers_own_clock(browser: Browser, office: Office) -> None:
    office.world.person("reader@example.org")
    public_id, marketing = office.announcement(), browser("marketing")
    base = f"/staff/announcements/{public_id}"
    data = {
        "content_hash": state(office, public_id).content_hash, "when": "at", "zone": "Europe/Berlin", "local": "1",
        "date": "2027-10-31", "time": "02:30",
    }  # fmt: skip
    assert marketing.post(f"{base}/schedule", data=data).status_code == 303
    shown = state(office, public_id)
    assert (shown.wall_time, shown.due_at.isoformat()) == ("2027-10-31T02:30", "2027-10-30T12:30:00+00:00")
    report = marketing.get(f"{base}/report").text
    assert "on 31 Oct 2027, 02:30, on each reader’s own clock" in report


def test_rel_h68_an_hour_that_does_not_exist_offers_its_neighbours(browser: Browser, office: Office) -> None:
    public_id, marketing = office.announcement(), browser("marketing")
    data = {"content_hash": state(office, public_id).content_hash, "when": "at", "zone": "Europe/Berlin"}
    answer = marketing.post(
        f"/staff/announcements/{public_id}/schedule", data={**data, "date": "2027-03-28", "time": "02:30"}
    )
    assert answer.status_code == 422
    assert "skip" in answer.text
    assert answer.text.count('name="offset"') == 2


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"date": "2020-01-01", "time": "09:00", "zone": "UTC"}, "time"),
        ({"date": "tomorrow", "time": "09:00", "zone": "UTC"}, "time"),
        ({"date": "2027-06-01", "time": "09:00", "zone": "Mars/Olympus"}, "zone"),
        ({"date": "2027-06-01", "time": "09:00", "zone": ""}, "zone"),
    ],
)
def test_rel_h69_a_time_that_cannot_be_is_mended_where_it_stands(
    browser: Browser, office: Office, given: dict[str, str], field: str
) -> None:
    public_id = office.announcement()
    data = {"content_hash": state(office, public_id).content_hash, "when": "at", **given}
    answer = browser("marketing").post(f"/staff/announcements/{public_id}/schedule", data=data)
    assert answer.status_code == 422
    assert f'href="#{field}"' in answer.text
    assert f'id="{field}-e"' in answer.text


def start(office: Office, public_id: str) -> None:
    """Let the clock begin it, far enough that its audience is fixed."""
    now = clock.now() + timedelta(hours=1)
    office.world.change(lambda s: actions.start_due(s, office.house.settings, now=now))
    for _ in range(10):
        with reading(office.house.engine) as session:
            mailing = queries.mailing_of(session, queries.by_public_id(session, public_id))
        if mailing is None or mailing.state != "freezing":
            return
        office.world.change(lambda s, m=mailing: make.freeze_step(s, m.id or 0, now=now))


def test_pause_resume_and_stop_say_exactly_what_happens(browser: Browser, office: Office) -> None:
    for number in range(3):
        office.world.person(f"reader{number}@example.org")
    public_id, marketing = office.announcement(), browser("marketing")
    base = f"/staff/announcements/{public_id}"
    marketing.post(
        f"{base}/schedule", data={"content_hash": state(office, public_id).content_hash, "when": "now"}
    )
    start(office, public_id)
    assert state(office, public_id).state == "sending"
    assert f'action="{base}/pause"' in marketing.get("/staff/topics").text, "the strip of every page"
    paused = marketing.post(f"{base}/pause")
    assert paused.headers["location"] == f"{base}/report"
    report = marketing.get(f"{base}/report").text
    assert "Resume: 3 left" in report
    assert "Stop for good: 3 get nothing" in report
    assert "is paused" in marketing.get("/staff").text
    marketing.post(f"{base}/resume")
    assert state(office, public_id).state == "sending"
    marketing.post(f"{base}/cancel")
    assert state(office, public_id).state == "cancelled"
    assert kinds(office, public_id)[-3:] == [
        "announcement.paused",
        "announcement.resumed",
        "announcement.cancelled",
    ]
    deliveries = marketing.get(f"{base}/deliveries").text
    assert deliveries.count('href="/staff/people/p_') == 3
    assert "reader0" not in deliveries, "opaque ids only: a list is no look at anybody"


def test_a_fence_not_reached_in_time_is_answered_202(
    browser: Browser, office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P1: a live sender that does not answer: recorded, and no promise is made."""
    office.world.person()
    public_id, marketing = office.announcement(), browser("marketing")
    base = f"/staff/announcements/{public_id}"
    marketing.post(
        f"{base}/schedule", data={"content_hash": state(office, public_id).content_hash, "when": "now"}
    )
    start(office, public_id)
    now = clock.now()
    silent = Sender(name="silent", host="h", pid=1, boot_id="b", renewed_at=now, started_at=now)
    office.world.change(lambda s: s.add(silent))
    monkeypatch.setattr(fence, "PATIENCE", 0.1)
    answer = marketing.post(f"{base}/pause")
    assert answer.status_code == 202
    assert "a message already on its way may still arrive" in answer.text
    assert state(office, public_id).state == "paused"
    office.world.change(
        lambda s: setattr(s.get_one(Sender, silent.id), "renewed_at", now - timedelta(minutes=5))
    )
    assert "has not been heard of" in marketing.get("/staff").text


def test_a_halted_mailing_says_why_what_to_look_at_and_can_go_on(browser: Browser, office: Office) -> None:
    office.world.person()
    public_id, marketing = office.announcement(), browser("marketing")
    base = f"/staff/announcements/{public_id}"
    marketing.post(
        f"{base}/schedule", data={"content_hash": state(office, public_id).content_hash, "when": "now"}
    )
    start(office, public_id)

    def halted(session: Session) -> None:
        mailing = queries.mailing_of(session, queries.by_public_id(session, public_id))
        assert mailing is not None
        audiences.halt(session, mailing, "hard_bounces", now=clock.now())

    office.world.change(halted)
    report = marketing.get(f"{base}/report").text
    assert "more than 3 % of the answers were refusals for good" in report
    assert "Look at the bounced people first" in report
    assert "Resume: 1 left" in report
    marketing.post(f"{base}/resume")
    assert state(office, public_id).state == "sending"
    assert kinds(office, public_id)[-1] == "announcement.resumed"
