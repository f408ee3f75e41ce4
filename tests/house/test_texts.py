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
