"""What sounds like an offer, and what does not (standards G7)."""

from pathlib import Path

import pytest

from service.mail.offers import MOST, signs
from service.mail.starters import starters


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Upgrade today and save 20 %", ["Upgrade today", "save 20 %"]),
        ("A limited-time **special\noffer**", ["limited-time", "special offer"]),
        ("Jetzt bestellen: 10 % Rabatt", ["Jetzt bestellen", "10 % Rabatt"]),
        ("Ihr Gutscheincode liegt bei", ["Gutscheincode"]),
        ("Only $9 a month", ["Only $9"]),
    ],
)
def test_offers_are_named_as_they_stand(text: str, found: list[str]) -> None:
    assert signs(text) == found


@pytest.mark.parametrize(
    "text",
    [
        "This version offers a faster search; order of columns is kept; save your work.",
        "We discontinue the old price list format. Die Aktion ist abgeschlossen, sparen kostet nichts.",
        'The field `discount` is gone.\n\n```json\n{"promo code": "buy now"}\n```\n',
        "Your password was reset. Change it on your profile page.",
    ],
)
def test_what_must_be_said_is_no_offer(text: str) -> None:
    assert signs(text) == []


def test_no_more_than_three_are_told_and_none_twice() -> None:
    told = signs("Discount! discount, free trial", "free trial, half price, buy now")
    assert told == ["Discount", "free trial", "half price"]
    assert len(told) == MOST


def test_the_starter_for_important_notices_is_no_offer() -> None:
    one = next(one for one in starters() if one.slug == "important-notice")
    assert [signs(one.subject[locale], one.body[locale]) for locale in one.body] == [[] for _ in one.body]


def test_our_own_release_notes_are_no_offers() -> None:
    notes = sorted(Path("tests/data").rglob("*.md"))
    assert notes
    assert {note.name: signs(note.read_text()) for note in notes if signs(note.read_text())} == {}
