"""The text part: faithful, readable, without litter."""

import re

import pytest

from service.mail.letters import load
from service.mail.plaintext import from_markdown
from tests.mail.samples import CLASSES, OWN_CORPUS, built, values


def test_links_are_written_out_once():
    text = from_markdown(
        "[See it](https://example.org/x), https://example.org/y, help@example.org, [here](#top)"
    )
    assert text == "See it (https://example.org/x), https://example.org/y, help@example.org,\nhere\n"


def test_std_l7_lines_end_by_column_78_and_no_url_is_broken():
    url = "https://example.org/" + "a" * 120
    text = from_markdown("word " * 60 + f"[go]({url}) " + "word " * 30)
    assert url in text
    assert all(len(line) <= 78 or url in line for line in text.split("\n"))


@pytest.mark.parametrize("mail_class", CLASSES)
def test_std_l7_no_litter_in_what_we_ship(mail_class):
    text = load(built(mail_class=mail_class)).render(values()).text
    assert not re.search(r"<|&\w+;|\*\*|\]\(|\N{NO-BREAK SPACE}", text)
    assert all(len(line) <= 78 or "https://" in line for line in text.split("\n"))


def test_tables_stand_in_columns_or_as_named_lines():
    text = from_markdown("| a | long name |\n|---|---|\n| 1 | 2 |\n| 日本 | x |")
    assert text.split("\n")[:4] == ["a    | long name", "-----+----------", "1    | 2", "日本 | x"]
    wide = from_markdown("| Setting | Before |\n|---|---|\n| " + "x " * 30 + "| " + "y " * 30 + "|")
    assert "Setting: x x" in wide
    assert "Before: y y" in wide


def test_lists_nest_and_number():
    text = from_markdown("3. three\n4. four\n   * a\n   * b\n")
    assert text == "3. three\n4. four\n   * a\n   * b\n"


def test_code_is_kept_letter_by_letter():
    text = from_markdown("```\nif a < 3 && b:\n    x = '{{ y }}'\n```\n")
    assert text == "    if a < 3 && b:\n        x = '{{ y }}'\n"


def test_html_in_markdown_leaves_its_words():
    text = from_markdown((OWN_CORPUS / "release.md").read_text("utf-8"))
    assert "Text inside HTML, with Ctrl + S." in text
    assert "[The new board] (https://example.org/media/board.png)" in text
    assert "2. Then do that,\n   on two lines." in text
    assert "| Note: quotes are kept." in text
    assert "👨‍👩‍👧‍👦" in text


def test_a_statement_leaves_no_empty_lines_behind():
    mail = built("letter")
    named, nameless = (load(mail).render(values(first_name=name)).text for name in ("Ana", None))
    assert named.startswith("Dear Ana,\n\nnext year")
    assert nameless.startswith("Hello,\n\nnext year")


def test_std_l8_the_footer_is_in_the_text_too():
    text = load(built()).render(values()).text
    for wanted in (
        "Stop these: https://",
        "Choose what you get: https://",
        "Why me: https://",
        "Acme GmbH, Musterstraße 1",
    ):
        assert wanted in text
    assert "because you chose “New products” on 3 March 2026" in " ".join(text.split())
