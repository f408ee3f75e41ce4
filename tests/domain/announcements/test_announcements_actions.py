"""From draft to sent, step by step, and what refuses each step."""

import email
import email.policy
import threading
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.engine import Engine
from sqlmodel import Session, col

from service.config import Settings
from service.db.session import reading, transaction
from service.domain.announcements import actions, queries, rules
from service.domain.announcements.tables import Announcement
from service.domain.brands import actions as brands
from service.domain.deliveries import claims
from service.domain.deliveries.compose import Composer
from service.domain.deliveries.queries import opened
from service.domain.ledger import actions as ledger
from service.domain.ledger.rules import TAKING_AWAY
from service.domain.mailings.rules import WrongState
from service.domain.mailings.tables import Audience, Mailing, MailingContent
from service.domain.people.tables import Person
from service.domain.preferences.registration import Registration, register_many
from service.domain.senders import actions as senders
from service.domain.staff import actions as staff
from service.domain.staff.tables import StaffMember
from service.domain.templates.tables import TemplateVersion
from service.kit import addresses
from service.kit.errors import DomainError
from service.kit.signing import Keyring

ANA, JANA = "staff:s_ana", "staff:s_jana"
WORDS = {
    "en": {
        "subject": "{{ first_name|default('Hello') }}, the planner is here",
        "preheader": "Plan a week in two minutes",
        "body": 'Hello\n\n[See it](https://example.org/planner "button")',
    }
}


@pytest.fixture
def settings() -> Settings:
    return Settings(public_url="https://mail.example.org")


@pytest.fixture
def ready(session: Session, now: datetime) -> Session:
    """A session whose brand may send."""
    brands.set_fields(
        session, "default", {"postal_address": "Musterstraße 1, 10115 Berlin"}, now=now, by="cli"
    )
    return session


def _draft(session: Session, settings: Settings, now: datetime, **more: Any) -> Announcement:
    given = {"topic": "new-products", "template": "launch", "content": WORDS, "by": ANA, **more}
    return actions.create(session, settings, now=now, **given)


def _approved(session: Session, settings: Settings, now: datetime, **more: Any) -> Announcement:
    row = _draft(session, settings, now, **more)
    actions.submit(session, settings, row.public_id, now=now, by=ANA)
    digest = queries.shown(session, row).content_hash
    return actions.approve(session, settings, row.public_id, content_hash=digest, now=now, by=ANA)


def _scheduled(session: Session, settings: Settings, now: datetime, at: str = "now") -> Announcement:
    row = _approved(session, settings, now)
    return actions.schedule(session, row.public_id, at=at, hold_seconds=300, now=now, by=ANA)


def _register(session: Session, ring: Keyring, now: datetime, count: int, **profile: str) -> None:
    evidence = {"at": (now - timedelta(days=1)).isoformat(), "url": "https://example.org/join"}
    people = [
        Registration(
            f"u{number}",
            f"person{number}@example.org",
            profile=dict(profile),
            consents=[
                {
                    "topic": "new-products",
                    "given": True,
                    "source": "signup",
                    "evidence": evidence,
                    "confirmed": {"at": evidence["at"], "method": "mail"},
                }
            ],
        )
        for number in range(count)
    ]
    answers = register_many(session, ring, "shop", people, attest=True, topics=None, now=now, by="key:k_1")
    assert not [answer for answer in answers if isinstance(answer, DomainError)]


def _kinds(session: Session, row: Announcement) -> list[str]:
    return [entry.kind for entry in ledger.appended(session) if entry.subject == row.public_id]


def test_each_step_is_one_entry_of_the_same_verb(ready: Session, settings: Settings, now: datetime) -> None:
    row = _scheduled(ready, settings, now)
    actions.pause(ready, row.public_id, now=now, by=ANA)
    actions.resume(ready, row.public_id, now=now, by=ANA)
    actions.unschedule(ready, row.public_id, now=now, by=ANA)
    actions.cancel(ready, row.public_id, now=now, by=ANA)
    steps = ["created", "submitted", "approved", "scheduled", "paused", "resumed", "unscheduled", "cancelled"]
    assert _kinds(ready, row) == [f"announcement.{step}" for step in steps]
    assert {kind for kind in _kinds(ready, row) if kind in TAKING_AWAY} == {
        "announcement.paused",
        "announcement.cancelled",
    }


def test_create_keeps_what_the_api_shows(session: Session, settings: Settings, now: datetime) -> None:
    row = _draft(session, settings, now, audience={"attributes": {"plan": "pro"}})
    shown = queries.shown(session, row)
    assert (shown.state, shown.topic, shown.name) == ("draft", "new-products", "Hello, the planner is here")
    assert shown.audience == {"attributes": {"plan": ["pro"]}}
    assert len(shown.content_hash) == 64
    assert not shown.approved


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"template": "no-such"}, "unknown_template"),
        ({"topic": "no-such"}, "topic_unknown"),
        ({"topic": "important-notices"}, "topic_not_for_announcements"),
        ({"audience": {"attributes": {"height": "2"}}}, "unknown_field"),
        ({"audience": ["pro"]}, "filter_invalid"),
        ({"content": {"en": {**WORDS["en"], "body": "[x](javascript:alert(1))"}}}, "link_scheme"),
        ({"content": {"en": {**WORDS["en"], "body": "{{ config }}"}}}, "template_unknown_name"),
    ],
)
def test_create_refuses(
    given: dict[str, Any], code: str, session: Session, settings: Settings, now: datetime
) -> None:
    with pytest.raises(DomainError) as refused:
        _draft(session, settings, now, **given)
    assert refused.value.code == code


def test_submit_is_refused_without_a_postal_address(
    session: Session, settings: Settings, now: datetime
) -> None:
    row = _draft(session, settings, now)
    brands.set_fields(session, "default", {"postal_address": ""}, now=now, by="cli")
    with pytest.raises(rules.NotReady) as refused:
        actions.submit(session, settings, row.public_id, now=now, by=ANA)
    assert refused.value.code == "postal_address_missing"
    assert row.state == "draft"


def test_rel_h24_no_way_to_stop_refuses_submission_and_approval(
    ready: Session, settings: Settings, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A layout that lost its stop link, as a broken upgrade of the templates would bring it."""
    row = _draft(ready, settings, now)
    actions.submit(ready, settings, row.public_id, now=now, by=ANA)
    monkeypatch.setattr("service.mail.letters.STOPPABLE", frozenset())
    digest = queries.shown(ready, row).content_hash
    with pytest.raises(rules.NotReady) as refused:
        actions.approve(ready, settings, row.public_id, content_hash=digest, now=now, by=JANA)
    assert refused.value.code == "unsubscribe_missing"
    assert [finding.level for finding in refused.value.findings] == ["block"]
    assert row.state == "in_review"
    other = _draft(ready, settings, now)
    with pytest.raises(rules.NotReady):
        actions.submit(ready, settings, other.public_id, now=now, by=ANA)


def test_rel_h25_a_mail_that_is_too_large_is_not_submitted(
    ready: Session, settings: Settings, now: datetime
) -> None:
    words = {"en": {**WORDS["en"], "body": "<p>" + "word & " * 55_000 + "</p>"}}
    row = _draft(ready, settings, now, content=words)
    with pytest.raises(rules.NotReady) as refused:
        actions.submit(ready, settings, row.public_id, now=now, by=ANA)
    assert refused.value.code == "message_too_large"


def test_rel_h65_nobody_approves_their_own_where_two_are_needed(
    ready: Session, settings: Settings, now: datetime
) -> None:
    brands.set_setting(ready, "two_person_approval", True, now=now, by="cli")
    row = _draft(ready, settings, now)
    actions.submit(ready, settings, row.public_id, now=now, by=ANA)
    digest = queries.shown(ready, row).content_hash
    with pytest.raises(rules.OwnApproval) as refused:
        actions.approve(ready, settings, row.public_id, content_hash=digest, now=now, by=ANA)
    assert (refused.value.status, refused.value.code) == (403, "own_approval")
    actions.approve(ready, settings, row.public_id, content_hash=digest, now=now, by=JANA)
    assert row.approved_by == JANA


def test_rel_h65_an_editor_is_an_author_too(engine: Engine, settings: Settings, now: datetime) -> None:
    with transaction(engine) as session:
        brands.set_fields(session, "default", {"postal_address": "Berlin"}, now=now, by="cli")
        brands.set_setting(session, "two_person_approval", True, now=now, by="cli")
        row = _draft(session, settings, now)
    with transaction(engine) as session:
        actions.edit(session, settings, row.public_id, template="letter", now=now, by=JANA)
        actions.submit(session, settings, row.public_id, now=now, by=JANA)
    for author in (ANA, JANA):
        with transaction(engine) as session:
            digest = queries.shown(session, queries.by_public_id(session, row.public_id)).content_hash
        with pytest.raises(rules.OwnApproval), transaction(engine) as session:
            actions.approve(session, settings, row.public_id, content_hash=digest, now=now, by=author)


def _member(session: Session, ring: Keyring, now: datetime, *, joined: bool = True) -> StaffMember:
    address = addresses.parse("ana@example.org")
    invited = staff.invite(
        session, ring, address=address, name="Ana", role="admin", mail=False, now=now, by="cli"
    )
    if joined:
        staff.accept(
            session, ring, invited.token, name="Ana", password="correct horse battery", address=None, now=now
        )
    return invited.member


def test_rel_h65_a_test_mail_goes_to_oneself_only(
    ready: Session, ring: Keyring, settings: Settings, now: datetime
) -> None:
    member, row = _member(ready, ring, now), _draft(ready, settings, now)
    mailing = actions.test_mail(
        ready,
        ring,
        settings,
        row.public_id,
        member=member,
        as_person=None,
        locale="de",
        now=now,
        by=f"staff:{member.public_id}",
    )
    assert (mailing.kind, mailing.mail_class, mailing.topic_id) == ("test", "marketing", row.topic_id)
    content = ready.scalars(select(MailingContent).where(col(MailingContent.mailing_id) == mailing.id)).one()
    version = ready.get_one(TemplateVersion, content.template_version_id)
    assert version.subject.startswith("[Test] ")
    assert ready.get_one(Audience, (mailing.id, 1)).person_id is None
    with pytest.raises(rules.TestOnlyToYourself) as refused:
        actions.test_mail(
            ready, ring, settings, row.public_id, member=member, as_person=None, locale="en", now=now, by=JANA
        )
    assert (refused.value.status, refused.value.code) == (403, "test_only_to_yourself")


def test_a_test_mail_is_what_that_person_would_get_with_links_that_act_on_nobody(
    engine: Engine, ring: Keyring, settings: Settings, now: datetime
) -> None:
    with transaction(engine) as session:
        brands.set_fields(session, "default", {"postal_address": "Berlin"}, now=now, by="cli")
        _register(session, ring, now, 1, first_name="Zoë")
        member, row = _member(session, ring, now), _draft(session, settings, now)
        as_person = session.scalars(select(Person)).one()
        actions.test_mail(
            session,
            ring,
            settings,
            row.public_id,
            member=member,
            as_person=as_person,
            locale="en",
            now=now,
            by=f"staff:{member.public_id}",
        )
    with transaction(engine) as session:
        lease = senders.begin(session, "one", boot_id="b", seen_seq=0, now=now)
        [batch] = claims.claim(session, ring, lease.id or 0, now=now, limit=1, system=True)
    composer = Composer(
        settings, ring, batch.mailing, batch.topic, batch.names, batch.brand, batch.contents, now=now
    )
    [reader] = batch.members
    assert reader.refusal is None
    made = composer.compose(opened(ring, reader))
    message = email.message_from_bytes(made.data, policy=email.policy.default)
    text = message.get_body(("plain",))
    assert text is not None
    assert (message["To"], message["Subject"]) == ("ana@example.org", "[Test] Zoë, the planner is here")
    assert "https://mail.example.org/lost-link" in text.get_content()
    assert "/u/" not in text.get_content()
    assert message["List-Unsubscribe"] == "<https://mail.example.org/lost-link>"


def test_rel_h65_an_invited_colleague_gets_no_test_mail(
    ready: Session, ring: Keyring, settings: Settings, now: datetime
) -> None:
    member, row = _member(ready, ring, now, joined=False), _draft(ready, settings, now)
    with pytest.raises(rules.TestOnlyToYourself):
        actions.test_mail(
            ready,
            ring,
            settings,
            row.public_id,
            member=member,
            as_person=None,
            locale="en",
            now=now,
            by=f"staff:{member.public_id}",
        )


def test_rel_h65_twenty_tests_an_hour(
    ready: Session, ring: Keyring, settings: Settings, now: datetime
) -> None:
    member, row = _member(ready, ring, now), _draft(ready, settings, now)

    def test_mail(at: datetime) -> Mailing:
        return actions.test_mail(
            ready,
            ring,
            settings,
            row.public_id,
            member=member,
            as_person=None,
            locale="en",
            now=at,
            by=f"staff:{member.public_id}",
        )

    for _ in range(20):
        test_mail(now)
    with pytest.raises(rules.TestTooOften) as refused:
        test_mail(now + timedelta(minutes=59))
    assert (refused.value.status, refused.value.code) == (429, "test_too_often")
    test_mail(now + timedelta(minutes=61))


def test_rel_h70_what_was_edited_meanwhile_is_not_approved(
    ready: Session, settings: Settings, now: datetime
) -> None:
    row = _draft(ready, settings, now)
    actions.submit(ready, settings, row.public_id, now=now, by=ANA)
    seen = queries.shown(ready, row).content_hash
    changed = {"en": {**WORDS["en"], "subject": "Another subject"}}
    actions.edit(ready, settings, row.public_id, content=changed, now=now, by=ANA)
    for _ in range(2):  # as the draft it is now, and submitted again
        with pytest.raises(rules.StaleVersion) as refused:
            actions.approve(ready, settings, row.public_id, content_hash=seen, now=now, by=JANA)
        assert (refused.value.status, refused.value.code) == (409, "stale_version")
        if row.state == "draft":
            actions.submit(ready, settings, row.public_id, now=now, by=ANA)


def test_rel_h70_two_editors_do_not_overwrite_each_other(
    ready: Session, settings: Settings, now: datetime
) -> None:
    row = _draft(ready, settings, now)
    seen = queries.shown(ready, row).content_hash
    actions.edit(ready, settings, row.public_id, template="letter", based_on=seen, now=now, by=ANA)
    with pytest.raises(rules.StaleVersion):
        actions.edit(ready, settings, row.public_id, template="launch", based_on=seen, now=now, by=JANA)


def test_edit_voids_the_approval(ready: Session, settings: Settings, now: datetime) -> None:
    row = _approved(ready, settings, now)
    assert queries.shown(ready, row).approved
    actions.edit(ready, settings, row.public_id, audience={"attributes": {"plan": "pro"}}, now=now, by=ANA)
    assert (row.state, row.approved_hash, row.approved_by) == ("draft", None, None)
    with pytest.raises(rules.NotApproved):
        actions.schedule(ready, row.public_id, at="now", hold_seconds=0, now=now, by=ANA)


def test_schedule_needs_an_approval_for_what_it_says_now(
    ready: Session, settings: Settings, now: datetime
) -> None:
    row = _draft(ready, settings, now)
    with pytest.raises(rules.NotApproved) as refused:
        actions.schedule(ready, row.public_id, at="now", hold_seconds=0, now=now, by=ANA)
    assert (refused.value.status, refused.value.code) == (409, "not_approved")
    other = _approved(ready, settings, now)
    brands.set_fields(ready, "default", {"postal_address": "Other street 2, Rome"}, now=now, by="cli")
    with pytest.raises(rules.NotApproved):
        actions.schedule(ready, other.public_id, at="now", hold_seconds=0, now=now, by=ANA)
    actions.submit(ready, settings, other.public_id, now=now, by=ANA)
    assert other.state == "in_review"


def test_schedule_writes_down_instant_zone_and_wall_time(
    ready: Session, settings: Settings, now: datetime
) -> None:
    row = _approved(ready, settings, now)
    actions.schedule(
        ready, row.public_id, at="2026-12-01T09:00", zone="Europe/Berlin", hold_seconds=300, now=now, by=ANA
    )
    shown = queries.shown(ready, row)
    assert (shown.state, shown.zone, shown.wall_time) == (
        "scheduled",
        "Europe/Berlin",
        "2026-12-01T09:00+01:00",
    )
    assert shown.valid_until == shown.due_at + timedelta(hours=24) if shown.due_at else False
    assert [one.id for one in queries.upcoming(ready, now=now)] == [row.public_id]
    with pytest.raises(WrongState):
        actions.edit(ready, settings, row.public_id, template="letter", now=now, by=ANA)


def test_start_due_waits_for_its_time(ready: Session, settings: Settings, now: datetime) -> None:
    row = _scheduled(ready, settings, now)
    assert actions.start_due(ready, settings, now=now + timedelta(seconds=299)) == []
    assert actions.start_due(ready, settings, now=now + timedelta(seconds=300)) == [row.public_id]
    assert actions.start_due(ready, settings, now=now + timedelta(seconds=301)) == []
    mailing = queries.mailing_of(ready, row)
    assert mailing is not None
    assert (mailing.state, mailing.content_hash, mailing.due_at) == (
        "freezing",
        row.approved_hash,
        row.due_at,
    )
    assert queries.state_of(row, mailing) == ("freezing", "")
    assert _kinds(ready, row)[-1] == "announcement.started"


def test_start_due_pauses_what_is_six_hours_late(ready: Session, settings: Settings, now: datetime) -> None:
    row, late = _scheduled(ready, settings, now), now + timedelta(hours=6, minutes=6)
    assert actions.start_due(ready, settings, now=late) == []
    assert (row.state, row.reason, row.mailing_id) == ("paused", "late", None)
    actions.resume(ready, row.public_id, now=late, by=ANA)
    assert (row.state, row.due_at) == ("scheduled", late)
    assert actions.start_due(ready, settings, now=late) == [row.public_id]


def test_start_due_pauses_what_changed_since_its_approval(
    ready: Session, settings: Settings, now: datetime
) -> None:
    row = _scheduled(ready, settings, now)
    brands.set_fields(ready, "default", {"title": "Another name"}, now=now, by="cli")
    assert actions.start_due(ready, settings, now=now + timedelta(minutes=6)) == []
    assert (row.state, row.reason) == ("paused", "changed")
    with pytest.raises(rules.NotApproved):
        actions.resume(ready, row.public_id, now=now, by=ANA)
    actions.unschedule(ready, row.public_id, now=now, by=ANA)
    assert row.state == "draft"


def test_start_due_begins_nothing_while_sending_is_off(
    ready: Session, settings: Settings, now: datetime
) -> None:
    row = _scheduled(ready, settings, now)
    brands.set_setting(ready, "sending_on", False, now=now, by="cli")
    assert actions.start_due(ready, settings, now=now + timedelta(minutes=6)) == []
    assert row.state == "scheduled"


def test_start_due_pauses_one_it_cannot_build_and_begins_the_others(
    ready: Session, settings: Settings, now: datetime
) -> None:
    broken, whole = _scheduled(ready, settings, now), _scheduled(ready, settings, now)
    broken.content = {"en": {**WORDS["en"], "body": "{{ gone }}"}}
    broken.approved_hash = queries.content_hash(ready, queries.draft_of(ready, broken))
    ready.flush()
    assert actions.start_due(ready, settings, now=now + timedelta(minutes=6)) == [whole.public_id]
    assert (broken.state, broken.reason) == ("paused", "template_unknown_name")


def test_start_due_by_two_clocks_begins_once(engine: Engine, settings: Settings, now: datetime) -> None:
    with transaction(engine) as session:
        brands.set_fields(session, "default", {"postal_address": "Berlin"}, now=now, by="cli")
        row = _scheduled(session, settings, now)
    begun: list[str] = []
    together = threading.Barrier(2)

    def clock() -> None:
        together.wait()
        with transaction(engine) as session:
            begun.extend(actions.start_due(session, settings, now=now + timedelta(minutes=6)))

    clocks = [threading.Thread(target=clock) for _ in range(2)]
    for one in clocks:
        one.start()
    for one in clocks:
        one.join(30)
    assert begun == [row.public_id]
    with reading(engine) as session:
        assert len(session.scalars(select(Mailing).where(col(Mailing.kind) == "announcement")).all()) == 1


def test_expire_ends_what_never_began(ready: Session, settings: Settings, now: datetime) -> None:
    row = _scheduled(ready, settings, now)
    actions.pause(ready, row.public_id, now=now, by=ANA)
    assert actions.expire(ready, now=now + timedelta(hours=24)) == []
    assert actions.expire(ready, now=now + timedelta(hours=25)) == [row.public_id]
    assert row.state == "expired"


def test_duplicate_is_a_new_draft(ready: Session, settings: Settings, now: datetime) -> None:
    row = _approved(ready, settings, now)
    copy = actions.duplicate(ready, row.public_id, now=now, by=JANA)
    assert (copy.state, copy.author, copy.approved_hash) == ("draft", JANA, None)
    assert (copy.content, copy.content_hash) == (row.content, row.content_hash)


def test_preview_is_made_for_a_sample_reader_and_for_a_person(
    ready: Session, ring: Keyring, settings: Settings, now: datetime
) -> None:
    draft = queries.draft_of(ready, _draft(ready, settings, now))
    mail = queries.preview(ready, ring, settings, draft, locale="fr", as_person=None, now=now)
    assert mail.subject == "Ana, the planner is here"
    assert "/lost-link" in mail.text
    assert "New products" in mail.html
    _register(ready, ring, now, 1, first_name="Zoë")
    person = ready.scalars(select(Person)).one()
    mail = queries.preview(ready, ring, settings, draft, locale="fr", as_person=person, now=now)
    assert mail.subject == "Zoë, the planner is here"
    assert "/lost-link" in mail.text
    assert "/u/" not in mail.html


def test_check_names_the_field_and_counts_tell_why(
    ready: Session, ring: Keyring, settings: Settings, now: datetime
) -> None:
    _register(ready, ring, now, 3)
    words = {
        "en": {**WORDS["en"], "preheader": ""},
        "de": {**WORDS["en"], "body": "![](https://example.org/a.png)"},
    }
    draft = queries.draft_of(ready, _draft(ready, settings, now, content=words))
    found = queries.check(ready, settings, draft)
    assert ("preheader_missing", "content.en.preheader") in {(one.code, one.field) for one in found}
    assert ("alt_missing", "content.de.body") in {(one.code, one.field) for one in found}
    assert queries.audience(ready, draft, now=now).total == 3


def test_page_and_counts_follow_the_mailing(ready: Session, settings: Settings, now: datetime) -> None:
    rows = [_draft(ready, settings, now) for _ in range(2)] + [_scheduled(ready, settings, now)]
    actions.start_due(ready, settings, now=now + timedelta(minutes=6))
    assert queries.counts(ready) == {"draft": 2, "freezing": 1}
    first = queries.page(ready, limit=2)
    rest = queries.page(ready, limit=2, after=first.next)
    assert [one.id for one in [*first.rows, *rest.rows]] == [row.public_id for row in reversed(rows)]
    assert [one.id for one in queries.page(ready, states=["freezing"]).rows] == [rows[2].public_id]
    assert [one.id for one in queries.running(ready)] == [rows[2].public_id]
