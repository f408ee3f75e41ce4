"""How a notice is read from a Markdown file, and how its address is made."""

import pytest

from service.domain.notices import rules
from service.kit.errors import DomainError, Invalid


def test_post_without_front_matter_takes_its_first_heading() -> None:
    posted = rules.read_post(
        "\ufeffIntro\r\n\r\n```\r\n# a comment\r\n```\r\n"
        "# **Planner** [2.0](https://example.org) #\r\nText\r\n"
    )
    assert posted.title == "Planner 2.0"
    assert posted.body == "Intro\n\n```\n# a comment\n```\nText\n"
    assert (posted.topic, posted.locale, posted.mail, posted.slug) == ("updates", "en", None, None)


def test_post_with_front_matter() -> None:
    posted = rules.read_post(
        "---\ntitle: Service window\ntopic: important-notices\nlocale: de\nmail: yes\nslug: window-1\n"
        "preheader: On Sunday\naudience:\n  attributes: {plan: [pro, team]}\n---\n\n"
        "# Service window\n\nBody {{ literal }}\n"
    )
    assert (posted.title, posted.topic, posted.locale) == ("Service window", "important-notices", "de")
    assert (posted.mail, posted.slug, posted.preheader) == (True, "window-1", "On Sunday")
    assert posted.audience == {"attributes": {"plan": ["pro", "team"]}}
    assert posted.body == "Body {{ literal }}\n"


def test_post_keeps_a_heading_that_is_not_the_title() -> None:
    assert rules.read_post("---\ntitle: 2.0\n---\n# What changed\nText").body == "# What changed\nText\n"


@pytest.mark.parametrize("top", ["", "title: x\n"])
def test_post_with_front_matter_of_any_length(top: str) -> None:
    assert rules.read_post(f"---\n{top}---\n# Heading\nText").title == ("x" if top else "Heading")


@pytest.mark.parametrize(
    ("text", "code", "field"),
    [
        ("just text", "title_missing", "title"),
        ("---\ntitle: [\n---\n", "front_matter_invalid", "front_matter"),
        ("---\n- a\n---\n", "front_matter_invalid", "front_matter"),
        ("---\ntitel: x\n---\n", "front_matter_invalid", "front_matter"),
        ("---\nmail: perhaps\n---\n# x", "front_matter_invalid", "mail"),
        ("---\naudience: pro\n---\n# x", "front_matter_invalid", "audience"),
        ("---\ntitle: 2026-11-24\n---\n", "front_matter_invalid", "title"),
        ("---\n!!python/object/apply:os.system [id]\n---\n# x", "front_matter_invalid", "front_matter"),
        ("---\n" + "a: &a [x]\n" * 3_000 + "---\n# x", "front_matter_invalid", "front_matter"),
    ],
)
def test_post_refuses_what_it_cannot_read(text: str, code: str, field: str) -> None:
    with pytest.raises(Invalid) as refused:
        rules.read_post(text)
    assert (refused.value.code, refused.value.field) == (code, field)


def test_post_reads_release_notes_as_people_write_them() -> None:
    posted = rules.read_post("# FastAPI 0.100.0 (2023-07-07)\n\n### Features\n\n* ✨ Add `x`.\n")
    assert (posted.title, posted.body) == ("FastAPI 0.100.0 (2023-07-07)", "### Features\n\n* ✨ Add `x`.\n")
    assert rules.check_slug(rules.slug_of(posted.title)) == "fastapi-0-100-0-2023-07-07"


@pytest.mark.parametrize(
    ("title", "slug"),
    [
        ("What's new in 2.0?", "whats-new-in-2-0"),
        ("Größere Änderung: Ærø & Łódź", "groessere-aenderung-aero-and-lodz"),
        ("Новый планировщик", "novyy-planirovshchik"),
        ("Ελληνικά νέα", "ellinika-nea"),
        ("Ñandú über café", "nandu-ueber-cafe"),
        ("日本語のお知らせ", "notice"),
        ("🎉", "notice"),
    ],
)
def test_the_address_is_made_from_the_title(title: str, slug: str) -> None:
    assert rules.slug_of(title) == slug


def test_the_address_is_never_too_long_nor_unsafe() -> None:
    assert len(rules.slug_of("word " * 100)) <= rules.SLUG_LIMIT
    for slug in ("", "A", "a b", "../a", "a--b", "-a", "ü", "x" * 81):
        with pytest.raises(rules.SlugInvalid):
            rules.check_slug(slug)


def test_rel_h04_a_title_without_control_characters() -> None:
    for title, code in (("a\u2028b", "header_control_char"), ("a\u202eb", "bidi_control")):
        with pytest.raises(DomainError) as refused:
            rules.read_draft(topic="updates", template=None, content={"en": {"title": title, "body": "x"}})
        assert (refused.value.code, refused.value.field) == (code, "content.en.title")
