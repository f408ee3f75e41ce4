"""Every text of readers' pages has its German, and no template carries what the CSP forbids."""

import re
import tomllib
from pathlib import Path

import pytest

WEB = Path(__file__).parents[2] / "templates" / "web"
TEXT = re.compile(r"_\('((?:[^'\\]|\\.)*)'")
PLACE = re.compile(r"%\((\w+)\)s")
FORBIDDEN = re.compile(r"<style|\sstyle=|\son\w+=|javascript:|(?:src|href)=\"(?:https?:)?//", re.IGNORECASE)
ALL = sorted(WEB.rglob("*.html"))


def texts() -> set[str]:
    """Every English text that a readers' page passes to `_`."""
    return {text for path in WEB.glob("public/*.html") for text in TEXT.findall(path.read_text())}


def test_german_is_whole_and_holds_nothing_stale() -> None:
    """Neither side has a text the other lacks."""
    german = tomllib.loads((WEB / "texts" / "de.toml").read_text())
    assert set(german) == texts()


def test_german_keeps_the_places() -> None:
    """A translation that lost %(topic)s would hide what is stopped."""
    german = tomllib.loads((WEB / "texts" / "de.toml").read_text())
    for english, translated in german.items():
        assert set(PLACE.findall(english)) == set(PLACE.findall(translated)), english


@pytest.mark.parametrize("path", ALL, ids=lambda path: str(path.relative_to(WEB)))
def test_templates_hold_under_the_strict_policy(path: Path) -> None:
    """No inline style or handler, no other origin; script only as a file, and none on readers' pages."""
    source = path.read_text()
    assert not FORBIDDEN.search(source)
    scripts = re.findall(r"<script[^>]*>", source)
    assert all(tag == '<script src="/static/app.js" defer>' for tag in scripts)
    assert not (scripts and "public" in path.parts)


@pytest.mark.parametrize("path", ALL, ids=lambda path: str(path.relative_to(WEB)))
def test_templates_begin_with_what_they_expect(path: Path) -> None:
    """The contract with the handlers is the first thing in each file."""
    assert path.read_text().startswith("{#")


CARDS = re.compile(r'<table class="table cards.*?</table>', re.DOTALL)
CELL = re.compile(r"<td([^>]*)>(.*?)</td>", re.DOTALL)
SPEAKS = (
    "stamp(",
    "<form",
)  # a state or an act needs no name beside it; neither does the number in the corner


@pytest.mark.parametrize(
    "path", [path for path in ALL if CARDS.search(path.read_text())], ids=lambda path: path.stem
)
def test_every_cell_of_a_phone_card_says_what_it_is(path: Path) -> None:
    """On a phone a table's head is gone, so each cell carries its name."""
    for table in CARDS.findall(path.read_text()):
        for marks, content in CELL.findall(table):
            named = "data-label=" in marks or 'class="n' in marks
            assert named or any(word in content for word in SPEAKS), content
