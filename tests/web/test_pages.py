"""Languages, dates and numbers, redirects with a word, and that every text we say has its German."""

import ast
import tomllib
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from starlette.responses import HTMLResponse
from starlette.testclient import TestClient

import service
from service import app
from service.domain.notices.rules import NoticeUnknown
from service.domain.policies.rules import PolicyUnknown, PolicyVersionUnknown
from service.domain.privacy.rules import SUBJECTS
from service.domain.topics.rules import TopicUnknown
from service.kit.errors import DatabaseDamaged, DomainError
from service.ops.house import House
from service.web import errors, pages, words
from service.web.public import told
from service.web.public.choices import HOW
from service.web.public.copies import KINDS, RIGHTS
from service.web.public.held import LABELS, PLACES
from service.web.public.processing import FIXED
from service.web.public.why import CHANGED
from tests.web.conftest import BASE

AT = datetime(2026, 10, 2, 22, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("lang", "zone", "expected"),
    [
        ("en", "", "2 Oct 2026, 22:30 UTC"),
        ("en", "Europe/Berlin", "3 Oct 2026, 00:30 CEST"),
        ("de", "Europe/Berlin", "3. Okt. 2026, 00:30 MESZ"),
        ("de", "", "2. Okt. 2026, 22:30 UTC"),
        ("en", "Asia/Bangkok", "3 Oct 2026, 05:30 UTC+0700"),
        ("en", "America/New_York", "2 Oct 2026, 18:30 EDT"),
    ],
)
def test_moments_in_the_readers_language_and_zone(lang: str, zone: str, expected: str) -> None:
    assert words.moment(AT, lang=lang, zone=zone) == expected
    assert words.day(AT, lang=lang, zone=zone) == expected.rsplit(", ", 1)[0]


def test_dates_numbers_and_nothing() -> None:
    assert words.day(date(2026, 12, 24), lang="de", zone="") == "24. Dez. 2026"
    assert words.number(4812, lang="en") == "4,812"
    assert words.number(4812, lang="de") == "4.812"
    assert (
        words.day(None, lang="en", zone="")
        == words.moment(None, lang="en", zone="")
        == words.ago(None, lang="en")
        == ""
    )


@pytest.mark.parametrize(
    ("asked", "kept", "person", "accept", "expected"),
    [
        ("de", "en", "en", "en", "de"),
        (None, "de", "en", "en", "de"),
        (None, None, "de-AT", "en", "de"),
        ("xx", None, None, "fr, de;q=0.8, en;q=0.9", "en"),
        (None, None, "fr", "de-CH;q=0.5", "de"),
        ("../etc", None, "", "de;q=0, *", "en"),
        (None, None, None, "de;q=x, " + "a," * 5_000, "en"),
    ],
)
def test_which_language(
    asked: str | None, kept: str | None, person: str | None, accept: str, expected: str
) -> None:
    assert words.choose(asked=asked, kept=kept, person=person, accept=accept) == expected


def test_what_is_put_into_a_text_is_escaped() -> None:
    say = words.speaker("de")
    assert "<b>" not in say("No more “%(topic)s” mails.", topic="<b>x</b>")
    assert say("100%% %(x)s", x=1) == "100% 1"


def test_a_word_for_the_next_page_comes_once(house: House) -> None:
    made = app.build(house)

    @made.get("/leave")
    async def leave(request: pages.Request) -> pages.RedirectResponse:
        return pages.redirect(request, "/arrive", flash=("ok", "Saved."))

    @made.get("/arrive")
    async def arrive(request: pages.Request) -> HTMLResponse:
        told = [flash["text"] for flash in pages.flashes(request)]
        return pages.html(request, "macros/stamp.html", {}, headers={"X-Told": ",".join(told)})

    with TestClient(made, base_url=BASE) as client:
        assert client.get("/leave", follow_redirects=False).headers["location"] == "/arrive"
        assert client.get("/arrive").headers["x-told"] == "Saved."
        assert client.get("/arrive").headers["x-told"] == ""
        client.cookies.set("bidden-flash", "forged.00")
        assert client.get("/arrive").headers["x-told"] == ""


# --- every text has its German ---

PACKAGE = Path(service.__file__).parent
DOORS = [*(PACKAGE / "web" / "public").glob("*.py")]
CODES = (told.BASES, told.MAILS, told.PURPOSES, told.CAUSES, told.SCOPES, told.FACTS)


def said() -> set[str]:
    """Every text a handler of readers' pages says itself, read from its source."""
    texts = {
        *HOW.values(),
        *LABELS.values(),
        *PLACES.values(),
        *CHANGED.values(),
        *KINDS.values(),
        *RIGHTS.values(),
        *(text for known in CODES for text in known.values()),
        *FIXED,
        *errors.HEADINGS.values(),
    }
    for path in [*DOORS, PACKAGE / "web" / "errors.py"]:
        for node in ast.walk(ast.parse(path.read_text())):
            called = node.func if isinstance(node, ast.Call) else None
            speaks = isinstance(called, ast.Name) and called.id == "say"
            speaks = speaks or (
                isinstance(called, ast.Call) and getattr(called.func, "attr", "") == "speaker"
            )
            if isinstance(node, ast.Call) and speaks and isinstance(node.args[0], ast.Constant):
                texts.add(node.args[0].value)
    return texts


OURS = (
    "service.web.forms",
    "service.web.guard",
    "service.web.errors",
    "service.web.public.",
    "service.fence",
    "service.kit.",
    "service.domain.links.",
    "service.domain.preferences.",
    "service.domain.people.",
    "service.domain.privacy.",
)
NEVER = "service.kit.failpoints"  # a setting of tests; no page can meet it
ALSO = (TopicUnknown, PolicyUnknown, PolicyVersionUnknown, NoticeUnknown)


def refusals() -> set[str]:
    """Every sentence with which readers' pages can refuse something."""

    def below(kind: type[DomainError]) -> set[type[DomainError]]:
        return {kind}.union(*(below(one) for one in kind.__subclasses__()))

    kinds = {
        kind for kind in below(DomainError) if kind.__module__.startswith(OURS) and kind.__module__ != NEVER
    } - {DatabaseDamaged}  # said by commands and senders alone
    kinds |= set(ALSO)
    sentences = {" ".join((kind.__doc__ or "").split()) for kind in kinds}
    return sentences | {kind.fix_hint for kind in kinds if kind.fix_hint}


def test_everything_said_has_its_german() -> None:
    german = words.catalogue("de")
    assert sorted(said() - set(german)) == []


def test_every_refusal_has_its_german() -> None:
    german = words.catalogue("de")
    assert sorted(refusals() - set(german)) == []


def test_nothing_stale_is_translated() -> None:
    german = tomllib.loads((words.templates_dir() / "web" / "answers" / "de.toml").read_text())
    assert sorted(set(german) - said() - refusals() - set(SUBJECTS.values())) == []
