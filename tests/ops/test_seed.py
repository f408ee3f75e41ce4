"""What a new database begins with."""

import re
from datetime import datetime

from sqlalchemy.engine import Engine
from sqlmodel import Session, select

from service.db.session import reading, transaction
from service.domain.brands import actions as brand_actions
from service.domain.brands import queries as brands
from service.domain.ledger import queries as ledger
from service.domain.people.tables import AttributeKind
from service.domain.policies import queries as policies
from service.domain.templates import queries as templates
from service.domain.topics import actions as topic_actions
from service.domain.topics import queries as topics
from service.kit.signing import Keyring
from service.mail import starters
from service.mail.markdown import to_html
from service.ops.seed import seed

PICTURE = re.compile(r'!\[(.+?)\]\(/media/([0-9a-f]{64})\.png "(\d+)x(\d+)"\)')


def test_three_topics_with_a_wording_in_two_languages(session: Session) -> None:
    found = {topic.slug: topic for topic in topics.public(session)}
    assert list(found) == ["updates", "new-products", "important-notices"]
    assert {
        slug: (topic.mail_class, topic.basis, topic.double_opt_in, topic.mailbox)
        for slug, topic in found.items()
    } == {
        "updates": ("notice", "consent", True, "updates"),
        "new-products": ("marketing", "consent", True, "news"),
        "important-notices": ("service", "contract", False, "service"),
    }
    for topic in found.values():
        wordings = topics.current_wordings(session, topic.id or 0)
        assert set(wordings) == {"en", "de"}
        assert all(
            wording.version == 1 and wording.frequency and wording.text for wording in wordings.values()
        )


def test_std_h8_the_policy_says_what_a_notice_must(session: Session, now: datetime) -> None:
    english, german = (policies.current(session, "privacy", locale, now=now) for locale in ("en", "de"))
    assert (english.locale, german.locale, english.version) == ("en", "de", 1)
    for word in (
        "consent",
        "contract",
        "erasure",
        "restriction",
        "copy",
        "object",
        "authority",
        "cookie",
        "sell",
        "How long",
        "one click",
    ):
        assert word in english.body
    for word in (
        "Einwilligung",
        "Vertrag",
        "Löschung",
        "Einschränkung",
        "Kopie",
        "widersprechen",
        "behörde",
        "Cookie",
        "verkaufen",
        "Wie lange",
    ):
        assert word in german.body
    for text in (english, german):
        html = to_html(text.body)
        assert "<table>" in html
        assert html.count("<h2>") == english.body.count("\n## ") + english.body.startswith("## ")


def test_seeding_again_changes_nothing(engine: Engine, ring: Keyring, now: datetime) -> None:
    with transaction(engine) as session:
        brand_actions.set_fields(session, "default", {"title": "Acme"}, now=now, by="cli")
        topic_actions.retire(session, "updates", now=now, by="cli")
    with reading(engine) as session:
        before = ledger.tail(session)
    with transaction(engine) as session:
        seed(session, ring, now=now)
    with reading(engine) as session:
        assert ledger.tail(session) == before
        assert ledger.verify(session).holds
        assert brands.default_brand(session).title == "Acme"
        assert len(topics.everything(session)) == 3
        assert {row.name for row in session.exec(select(AttributeKind))} == {"plan", "role", "country"}


def test_the_pictures_that_starters_show_are_kept(session: Session) -> None:
    """Every picture in a starter's words is one of ours, said in words, at half its size for sharp screens."""
    shown = [
        (alt, name, int(width), int(height))
        for starter in starters.starters()
        for body in starter.body.values()
        for alt, name, width, height in PICTURE.findall(body)
    ]
    assert {starter.slug for starter in starters.starters() if PICTURE.search(starter.body["en"])} == {
        "launch"
    }
    for alt, name, width, height in shown:
        kept = templates.media(session, name)
        assert kept is not None
        assert (kept.width, kept.height, len(alt) > 20) == (2 * width, 2 * height, True)
        assert len(kept.content) < 20_000
