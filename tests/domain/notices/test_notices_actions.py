"""Written, published, mailed once, corrected; and the feeds."""

import json
from datetime import datetime, timedelta
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from sqlmodel import Session

from service.config import Settings
from service.domain.brands import actions as brands
from service.domain.ledger import actions as ledger
from service.domain.mailings.rules import WrongState
from service.domain.notices import actions, feeds, queries, rules
from service.domain.notices.tables import Notice
from service.kit.errors import DomainError
from service.kit.signing import Keyring

BY = "staff:s_pia"
BODY = "## What changed\n\n| a | b |\n|---|---|\n| `{{ x }}` | 🎉 |\n\n[Read on](http://example.org/a)\n"
SETTINGS = Settings(public_url="https://mail.example.org")


@pytest.fixture
def ready(session: Session, now: datetime) -> Session:
    brands.set_fields(session, "default", {"postal_address": "Musterstraße 1, Berlin"}, now=now, by="cli")
    return session


def _notice(session: Session, now: datetime, title: str = "Planner 2", **more: Any) -> Notice:
    content = {"en": {"title": title, "preheader": "", "body": BODY}}
    given = {"topic": "updates", "content": content, **more}
    return actions.create(session, SETTINGS, now=now, by=BY, **given)


def _publish(session: Session, row: Notice, now: datetime, **more: Any) -> Notice:
    return actions.publish(session, SETTINGS, row.public_id, now=now, by=BY, **more)


def test_publish_puts_it_on_the_page_at_once(session: Session, now: datetime) -> None:
    row = _notice(session, now)
    with pytest.raises(rules.NoticeUnknown):
        queries.by_slug(session, "planner-2")
    _publish(session, row, now)
    entry = queries.by_slug(session, "planner-2")
    assert (entry.title, entry.topic, entry.published_at, entry.corrected_at) == (
        "Planner 2",
        "updates",
        now,
        None,
    )
    assert "{{ x }}" in entry.html.replace("&#123;", "{")
    assert "<table>" in entry.html
    assert (row.mailing_id, row.mail) == (None, False)


def test_publish_mails_once(ready: Session, now: datetime) -> None:
    row = _notice(ready, now, mail=True, audience={"attributes": {"plan": "pro"}})
    _publish(ready, row, now, hold_seconds=300)
    mailing = queries.mailing_of(ready, row)
    assert mailing is not None
    assert (mailing.kind, mailing.mail_class, mailing.state) == ("notice", "notice", "freezing")
    assert (mailing.audience, mailing.due_at) == (
        {"attributes": {"plan": ["pro"]}},
        now + timedelta(seconds=300),
    )
    with pytest.raises(rules.AlreadyMailed) as refused:
        _publish(ready, row, now)
    assert (refused.value.status, refused.value.code) == (409, "already_mailed")


def test_publish_may_mail_later_what_is_on_the_page(ready: Session, now: datetime) -> None:
    row = _publish(ready, _notice(ready, now), now)
    _publish(ready, row, now + timedelta(days=1), mail=True)
    assert row.mailing_id is not None
    assert row.published_at == now


def test_edit_after_publishing_corrects_and_never_mails(ready: Session, now: datetime) -> None:
    row = _publish(ready, _notice(ready, now, mail=True), now)
    mailing, later = row.mailing_id, now + timedelta(hours=2)
    content = {"en": {"title": "Planner 2.1", "preheader": "", "body": "Corrected"}}
    actions.edit(ready, SETTINGS, row.public_id, content=content, now=later, by=BY)
    entry = queries.by_slug(ready, "planner-2")
    assert (entry.title, entry.corrected_at, row.mailing_id) == ("Planner 2.1", later, mailing)
    kinds = [entry.kind for entry in ledger.appended(ready) if entry.subject == row.public_id]
    assert kinds == ["notice.created", "notice.published", "notice.corrected"]


def test_important_notices_are_service_mail(ready: Session, now: datetime) -> None:
    row = _publish(ready, _notice(ready, now, topic="important-notices", mail=True), now)
    mailing = queries.mailing_of(ready, row)
    assert mailing is not None
    assert (row.template, mailing.mail_class, mailing.unknown_rule) == (
        "important-notice",
        "service",
        "at_least_once",
    )


def test_edit_to_another_topic_brings_its_template(session: Session, now: datetime) -> None:
    row = _notice(session, now)
    assert row.template == "small-update"
    actions.edit(session, SETTINGS, row.public_id, topic="important-notices", now=now, by=BY)
    assert row.template == "important-notice"


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"topic": "new-products"}, "topic_not_for_notices"),
        ({"topic": "no-such"}, "topic_unknown"),
        ({"template": "no-such"}, "unknown_template"),
        ({"template": "launch"}, "unknown_template"),
        ({"slug": "No Slug"}, "slug_invalid"),
        ({"audience": {"attributes": {"height": "2"}}}, "unknown_field"),
        ({"content": {"en": {"title": "x", "body": "[x](javascript:alert(1))"}}}, "link_scheme"),
    ],
)
def test_create_refuses(given: dict[str, Any], code: str, session: Session, now: datetime) -> None:
    with pytest.raises(DomainError) as refused:
        _notice(session, now, **given)
    assert refused.value.code == code


def test_publish_with_mail_is_refused_by_a_check_and_then_nothing_is_live(
    session: Session, now: datetime
) -> None:
    row = _notice(session, now, mail=True)
    brands.set_fields(session, "default", {"postal_address": ""}, now=now, by="cli")
    with pytest.raises(rules.NotReady) as refused:
        _publish(session, row, now)
    assert refused.value.code == "postal_address_missing"
    assert row.state == "draft"


OFFER = {"en": {"title": "Keys expire", "preheader": "", "body": "Upgrade today and save 20 %."}}


def test_std_g7_an_important_notice_that_sounds_like_an_offer_is_answered_for(
    ready: Session, now: datetime
) -> None:
    row = _notice(ready, now, topic="important-notices", content=OFFER, mail=True)
    with pytest.raises(rules.NotReady) as refused:
        _publish(ready, row, now)
    assert (refused.value.code, refused.value.field) == ("advertising_suspected", "content.en.body")
    assert "“Upgrade today”, “save 20 %”" in refused.value.detail
    assert row.state == "draft"
    _publish(ready, row, now, not_advertising=True)
    [entry] = [one for one in ledger.appended(ready) if one.kind == "notice.published"]
    [answered] = json.loads(entry.text)["body"]["not_advertising"]
    assert "save 20 %" in answered


def test_std_g7_the_answer_covers_no_other_fault(session: Session, now: datetime) -> None:
    row = _notice(session, now, topic="important-notices", content=OFFER, mail=True)
    brands.set_fields(session, "default", {"postal_address": ""}, now=now, by="cli")
    with pytest.raises(rules.NotReady) as refused:
        _publish(session, row, now, not_advertising=True)
    assert refused.value.code == "postal_address_missing"


def test_std_g7_who_chose_news_may_read_of_a_discount(ready: Session, now: datetime) -> None:
    row = _publish(ready, _notice(ready, now, content=OFFER, mail=True), now)
    assert row.mailing_id is not None
    [entry] = [one for one in ledger.appended(ready) if one.kind == "notice.published"]
    assert "not_advertising" not in json.loads(entry.text)["body"]


def test_rel_h70_what_is_published_is_what_was_looked_at(session: Session, now: datetime) -> None:
    row = _notice(session, now)
    seen = row.content_hash
    actions.edit(session, SETTINGS, row.public_id, content=OFFER, now=now, by=BY)
    with pytest.raises(rules.StaleVersion):
        _publish(session, row, now, based_on=seen)
    assert _publish(session, row, now, based_on=row.content_hash).state == "published"


def test_addresses_are_unique(session: Session, now: datetime) -> None:
    assert [_notice(session, now).slug for _ in range(3)] == ["planner-2", "planner-2-2", "planner-2-3"]
    assert _notice(session, now, slug="planner").slug == "planner"
    with pytest.raises(rules.SlugTaken):
        _notice(session, now, slug="planner")


def test_cancel_gives_up_a_draft_or_stops_the_mail(ready: Session, now: datetime) -> None:
    draft, mailed, plain = (_notice(ready, now, mail=mail) for mail in (False, True, False))
    _publish(ready, mailed, now)
    _publish(ready, plain, now)
    actions.cancel(ready, draft.public_id, now=now, by=BY)
    assert draft.state == "cancelled"
    actions.cancel(ready, mailed.public_id, now=now, by=BY)
    mailing = queries.mailing_of(ready, mailed)
    assert mailing is not None
    assert (mailing.state, mailed.state) == ("cancelled", "published")
    assert ledger.appended(ready)[-1].takes
    for row in (plain, draft):
        with pytest.raises(WrongState):
            actions.cancel(ready, row.public_id, now=now, by=BY)
    with pytest.raises(WrongState):
        _publish(ready, draft, now)


def test_the_changelog_runs_from_the_newest_to_the_oldest(session: Session, now: datetime) -> None:
    names = ["One", "Two", "Three", "Four", "Five"]
    for number, name in enumerate(names):
        topic = "important-notices" if name == "Two" else "updates"
        row = _notice(session, now, name, topic=topic)
        _publish(session, row, now + timedelta(days=number // 2))  # two of a moment
    seen, after = [], None
    while True:
        page = queries.published(session, after=after, limit=2)
        seen += [entry.title for entry in page.rows]
        if page.next is None:
            break
        after = page.next
    assert seen == names[::-1]
    assert [one.title for one in queries.published(session, topic="important-notices").rows] == ["Two"]
    assert queries.topics_published(session) == ["important-notices", "updates"]
    with pytest.raises(DomainError):
        queries.published(session, after="bm9uc2Vuc2U")


def test_a_reader_gets_the_language_there_is(session: Session, now: datetime) -> None:
    words = {"title": "Planner 2", "preheader": "", "body": "x"}
    content = {"en": words, "de": {**words, "title": "Planer 2"}}
    _publish(session, _notice(session, now, content=content), now)
    titles = {
        locale: queries.by_slug(session, "planner-2", locale=locale).title for locale in ("de-AT", "fr", "en")
    }
    assert titles == {"de-AT": "Planer 2", "fr": "Planner 2", "en": "Planner 2"}


def test_post_keeps_a_file_as_a_draft(session: Session, now: datetime) -> None:
    posted = rules.read_post("---\nmail: true\nslug: p2\n---\n# Planner 2\n\nBody\n")
    row = actions.post(session, SETTINGS, posted, now=now, by="cli")
    assert (row.slug, row.mail, row.state, queries.title_of(row)) == ("p2", True, "draft", "Planner 2")


def test_the_same_file_is_posted_once_unless_said_again(session: Session, now: datetime) -> None:
    posted = rules.read_post("---\nslug: p2\n---\n# Planner 2\n\nBody\n")
    row = actions.post(session, SETTINGS, posted, now=now, by="cli")
    with pytest.raises(rules.AlreadyPosted) as refused:
        actions.post(session, SETTINGS, posted, now=now, by="cli")
    assert row.public_id in str(refused.value.fix)
    assert actions.post(session, SETTINGS, posted, again=True, now=now, by="cli").slug == "planner-2"
    other = rules.read_post("---\nslug: p3\n---\n# Planner 2\n\nAnother body\n")
    assert actions.post(session, SETTINGS, other, now=now, by="cli").slug == "p3"


def test_what_was_given_up_may_be_posted_again(session: Session, now: datetime) -> None:
    posted = rules.read_post("# Planner 2\n\nBody\n")
    row = actions.post(session, SETTINGS, posted, now=now, by="cli")
    actions.cancel(session, row.public_id, now=now, by="cli")
    assert actions.post(session, SETTINGS, posted, now=now, by="cli").id != row.id


def test_preview_and_audience(ready: Session, ring: Keyring, now: datetime) -> None:
    draft = queries.draft_of(ready, _notice(ready, now))
    mail = queries.preview(ready, ring, SETTINGS, draft, locale="en", as_person=None, now=now)
    assert mail.subject == "Planner 2"
    assert "{{ x }}" in mail.text
    assert queries.audience(ready, draft, now=now).total == 0
    assert not [one for one in queries.check(ready, SETTINGS, draft) if one.level == "block"]


def _entries(session: Session, now: datetime) -> list[queries.Entry]:
    content = {
        "en": {
            "title": "A < B & “C”",
            "preheader": "",
            "body": "Text & <b>bold</b>\n\n[x](https://example.org/?a=1&b=2)",
        }
    }
    first = _publish(session, _notice(session, now, content=content), now)
    actions.edit(
        session, SETTINGS, first.public_id, template="maintenance", now=now + timedelta(hours=1), by=BY
    )
    _publish(session, _notice(session, now, "Second"), now + timedelta(days=1))
    return list(queries.published(session).rows)


def test_the_atom_feed_is_valid(session: Session, now: datetime) -> None:
    """RFC 4287 section 4.1: the required elements, ids that stay, absolute links, escaped content."""
    entries = _entries(session, now)
    document = feeds.atom(entries, base_url="https://mail.example.org", title="Acme & Sons")
    root, atom = ET.fromstring(document), f"{{{feeds.ATOM}}}"
    assert document.startswith(b"<?xml")
    assert root.tag == f"{atom}feed"
    assert root.findtext(f"{atom}title") == root.findtext(f"{atom}author/{atom}name") == "Acme & Sons"
    assert root.findtext(f"{atom}updated") == "2026-11-25T09:20:00Z"
    found = root.findall(f"{atom}entry")
    assert [one.findtext(f"{atom}title") for one in found] == ["Second", "A < B & “C”"]
    for one in found:
        assert str(one.findtext(f"{atom}id")).startswith("urn:uuid:")
        link = one.find(f"{atom}link")
        assert link is not None
        assert link.get("href", "").startswith("https://mail.example.org/changelog/")
    assert found[1].findtext(f"{atom}updated") == "2026-11-24T10:20:00Z"
    assert "<b>bold</b>" in str(found[1].findtext(f"{atom}content"))
    renamed = ET.fromstring(feeds.atom(entries, base_url="https://other.example.org", title="Acme"))
    ids = [[one.findtext(f"{atom}id") for one in tree.findall(f"{atom}entry")] for tree in (root, renamed)]
    assert ids[0] == ids[1]


def test_the_atom_feed_holds_only_what_xml_may(session: Session, now: datetime) -> None:
    entry = _entries(session, now)[0]
    odd = [queries.Entry(**{**entry.__dict__, "title": "a\x0b\ufffeb", "html": "<p>\x00</p>"})]
    assert ET.fromstring(feeds.atom(odd, base_url="https://mail.example.org", title="Acme")) is not None
    assert ET.fromstring(feeds.atom([], base_url="https://mail.example.org", title="Acme")) is not None


def test_a_picture_kept_here_has_its_address_in_both_feeds(session: Session, now: datetime) -> None:
    name = "/media/" + "0a" * 32 + ".png"
    words = {"en": {"title": "A board", "preheader": "", "body": f"![The board]({name})"}}
    _publish(session, _notice(session, now, content=words), now)
    made = [queries.by_slug(session, "a-board")]
    for write in (feeds.atom, feeds.json_feed):
        feed = write(made, base_url="https://mail.example.org", title="Acme").decode()
        assert f"https://mail.example.org{name}" in feed


def test_the_json_feed_has_what_version_1_1_asks_for(session: Session, now: datetime) -> None:
    feed = json.loads(
        feeds.json_feed(_entries(session, now), base_url="https://mail.example.org", title="Acme")
    )
    assert feed["version"] == "https://jsonfeed.org/version/1.1"
    assert feed["feed_url"] == "https://mail.example.org/changelog/feed.json"
    second, first = feed["items"]
    assert first["url"] == "https://mail.example.org/changelog/a-b-and-c"
    assert (first["date_published"], first["date_modified"]) == (
        "2026-11-24T09:20:00Z",
        "2026-11-24T10:20:00Z",
    )
    assert "date_modified" not in second
    assert first["tags"] == ["Updates"]
