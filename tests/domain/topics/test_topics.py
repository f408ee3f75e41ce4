"""Topics and the wordings people agree to."""

import hashlib
import json
from datetime import datetime

import pytest
from sqlmodel import Session

from service.domain.brands import queries as brands
from service.domain.brands.rules import ReplyToNotMonitored
from service.domain.ledger.actions import appended
from service.domain.topics import actions, queries, rules
from service.domain.topics.rules import WordingText
from service.domain.topics.tables import Topic
from service.kit.errors import Invalid

TEXT = WordingText("Tips", "Now and then", "Send me tips. I can stop any time.")


def _create(session: Session, now: datetime, slug: str = "tips", **more: object) -> Topic:
    brand_id = brands.default_brand(session).id
    given = {"basis": "consent", "mail_class": "marketing", "mailbox": "tips", "texts": {"en": TEXT}, **more}
    return actions.create(session, slug=slug, brand_id=brand_id, now=now, by="cli", **given)  # type: ignore[arg-type]


def test_create_makes_a_topic_with_its_first_wording(session: Session, now: datetime) -> None:
    topic = _create(session, now)
    assert 0 < topic.alias < 2**31
    assert (topic.visibility, topic.double_opt_in, topic.cadences, topic.position) == (
        "public",
        True,
        ["each"],
        3,
    )
    assert (
        queries.by_slug(session, "tips")
        == queries.by_alias(session, topic.alias)
        == queries.by_id(session, topic.id or 0)
    )
    wording = queries.wording_by_public_id(session, "tips-v1-en")
    assert wording is not None
    value = {
        "frequency": TEXT.frequency,
        "locale": "en",
        "text": TEXT.text,
        "title": TEXT.title,
        "topic": "tips",
        "version": 1,
    }
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert wording.sha256 == hashlib.sha256(text.encode()).hexdigest()
    assert [entry.kind for entry in appended(session)] == ["topic.created", "wording.published"]
    assert wording.sha256 in appended(session)[1].text


@pytest.mark.parametrize("slug", ["", "Tips", "tips_1", "-tips", "tips--x", "x" * 61, "../x", "tips.x"])
def test_a_slug_is_good_in_urls_and_list_ids(session: Session, now: datetime, slug: str) -> None:
    with pytest.raises(rules.SlugInvalid):
        _create(session, now, slug)


def test_what_a_topic_may_be(session: Session, now: datetime) -> None:
    with pytest.raises(rules.SlugTaken):
        _create(session, now, "updates")
    for mail_class, basis in (
        ("marketing", "contract"),
        ("marketing", "legal_obligation"),
        ("service", "consent"),
        ("notice", "soft_opt_in"),
    ):
        with pytest.raises(rules.BasisDoesNotFit):
            _create(session, now, mail_class=mail_class, basis=basis)
    with pytest.raises(rules.TopicInvalid):
        _create(session, now, visibility="secret")
    with pytest.raises(ReplyToNotMonitored):
        _create(session, now, mailbox="no-reply")
    assert appended(session) == []


def test_change_notes_what_differs_and_never_the_basis(session: Session, now: datetime) -> None:
    assert actions.change(
        session, "updates", visibility="private", double_opt_in=True, now=now, by="cli"
    ) == ["visibility"]
    assert [topic.slug for topic in queries.public(session)] == ["new-products", "important-notices"]
    assert [topic.slug for topic in queries.active(session)] == [
        "updates",
        "new-products",
        "important-notices",
    ]
    assert [entry.kind for entry in appended(session)] == ["topic.changed"]
    assert not {"basis", "mail_class", "slug"} & set(actions.change.__annotations__) - {"slug"}
    with pytest.raises(rules.TopicInvalid):
        actions.change(session, "updates", visibility="hidden", now=now, by="cli")


def test_a_retired_topic_stays_known(session: Session, now: datetime) -> None:
    actions.retire(session, "updates", now=now, by="cli")
    actions.retire(session, "updates", now=now, by="cli")
    assert "updates" not in [topic.slug for topic in queries.active(session)]
    assert queries.by_slug(session, "updates").state == "retired"
    assert [entry.kind for entry in appended(session)] == ["topic.retired"]
    for _ in range(2):
        actions.restore(session, "updates", now=now, by="cli")
    assert queries.by_slug(session, "updates").state == "active"
    assert [entry.kind for entry in appended(session)] == ["topic.retired", "topic.restored"]
    with pytest.raises(rules.TopicUnknown):
        actions.retire(session, "nothing", now=now, by="cli")


def test_a_new_wording_is_a_new_version_and_leaves_the_others(session: Session, now: datetime) -> None:
    topic = queries.by_slug(session, "new-products")
    assert topic.id
    before = queries.wording_for(session, topic.id, "en")
    actions.publish_wording(session, "new-products", {"en": TEXT}, now=now, by="cli")
    newest = queries.current_wordings(session, topic.id)
    assert {locale: wording.public_id for locale, wording in newest.items()} == {
        "en": "new-products-v2-en",
        "de": "new-products-v1-de",
    }
    assert queries.wording_by_id(session, before.id or 0).text == before.text
    assert queries.wording_for(session, topic.id, "de-CH").locale == "de"
    assert queries.wording_for(session, topic.id, "fr").locale == "en"
    assert [wording.version for wording in queries.wordings(session, topic.id)] == [2, 1, 1]
    assert queries.wording_by_public_id(session, "new-products-v9-en") is None


@pytest.mark.parametrize(
    ("text", "field"),
    [
        (WordingText("", "often", "text"), "name"),
        (WordingText("name", " ", "text"), "often"),
        (WordingText("name", "often", "\n"), "text"),
        (WordingText("x" * 121, "often", "text"), "name"),
        (WordingText("name\nBcc: x", "often", "text"), "name"),
        (WordingText("name", "often", "x" * 2001), "text"),
        (WordingText("name", "often", "a\x00b"), "text"),
        (WordingText("name", "often", "a\ud800"), "text"),
    ],
)
def test_rel_h04_h50_a_bad_wording_is_refused_by_its_part(text: WordingText, field: str) -> None:
    with pytest.raises(Invalid) as refused:
        rules.check_wording(text)
    assert refused.value.field == field
