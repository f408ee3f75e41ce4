"""`/changelog`: every published notice as a page, and as feeds for whoever reads along without mail."""

from collections.abc import Sequence
from html.parser import HTMLParser
from typing import Any

from fastapi import APIRouter
from markupsafe import Markup
from sqlmodel import Session
from starlette.requests import Request
from starlette.responses import Response

from service.domain.brands import queries as brands
from service.domain.notices import feeds
from service.domain.notices import queries as notices
from service.domain.topics import queries as topics
from service.mail.markdown import outline
from service.web import deps, pages, words
from service.web.public import join, tokens

router = APIRouter()

PER_PAGE = 8
ROOM = 2_400  # characters of entries in full on one page
BEGINNING = 200  # characters of what a longer one begins with
_WORDY, _SILENT = {"p", "li"}, {"h1", "h2", "h3", "h4", "h5", "h6", "table", "pre"}
IN_FEED = 30


@router.get("/changelog")
async def page(request: Request) -> Response:
    """Newest first; `?topic=` narrows, `?after=` goes on."""
    lang, topic = pages.language(request), request.query_params.get("topic") or None

    def look(session: Session) -> dict[str, Any]:
        found = notices.published(
            session, topic=topic, after=request.query_params.get("after"), limit=PER_PAGE, locale=lang
        )
        narrowed = f"topic={topic}&" if topic else ""
        return {
            "entries": _bounded(found.rows, pages.speaker(request)),
            "filters": _filters(request, session, topic, lang),
            "older": f"/changelog?{narrowed}after={found.next}" if found.next else None,
            "offer": _offer(session, topic, lang),
        }

    return await pages.public(request, "public/changelog.html", await deps.read(deps.house(request), look))


@router.get(feeds.ATOM_PATH)
async def atom(request: Request) -> Response:
    """The latest entries as Atom (RFC 4287)."""
    return Response(await _feed(request, feeds.atom), media_type="application/atom+xml; charset=utf-8")


@router.get(feeds.JSON_PATH)
async def json_feed(request: Request) -> Response:
    """The latest entries as JSON Feed 1.1."""
    return Response(await _feed(request, feeds.json_feed), media_type="application/feed+json; charset=utf-8")


@router.get("/changelog/{slug}")
async def one(request: Request, slug: str) -> Response:
    """One entry."""
    lang = pages.language(request)

    def look(session: Session) -> dict[str, Any]:
        found = notices.by_slug(session, slug, locale=lang)
        return {"entry": _entry(found), "offer": _offer(session, found.topic, lang)}

    return await pages.public(
        request, "public/changelog_entry.html", await deps.read(deps.house(request), look)
    )


async def _feed(request: Request, write: Any) -> bytes:
    opened, lang = deps.house(request), pages.language(request)

    def look(session: Session) -> bytes:
        entries = notices.published(session, limit=IN_FEED, locale=lang).rows
        title = brands.default_brand(session).title
        written: bytes = write(entries, base_url=opened.settings.base_url, title=title)
        return written

    return await deps.read(opened, look)


def _entry(one: notices.Entry) -> dict[str, Any]:
    return {
        "href": f"/changelog/{one.slug}",
        "title": one.title,
        "published_at": one.published_at,
        "topic": one.topic_name,
        "act_by": None,
        "corrected_at": one.corrected_at,
        "body": Markup(one.html),  # noqa: S704  made by our own Markdown renderer, which lets no HTML through (standards N6)
    }


def _bounded(found: Sequence[notices.Entry], say: words.Say) -> list[dict[str, Any]]:
    """Entries in full while the page stays small (standards M, 25 KB); of longer ones the first words. The title
    of an entry is a second heading here, so those in its text come below it."""
    left, shown = ROOM, []
    for one in found:
        entry, html = _entry(one), outline(one.html, 3)
        if len(html) <= left:
            left -= len(html)
            entry["body"] = Markup(html)  # noqa: S704  the same HTML, its headings one level lower
        else:
            first = Markup("<p>{}</p>").format(begun) if (begun := _beginning(html)) else ""
            more = Markup('{}<p><a href="{}">{}<span class="off-screen">: {}</span></a></p>')
            entry["body"] = more.format(first, entry["href"], say("Read on"), one.title)
        shown.append(entry)
    return shown


class _Sentences(HTMLParser):
    """The words of paragraphs and list items, in order. Headings, tables and code say nothing out of their place."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.blocks: list[str] = []
        self._open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _WORDY or tag in _SILENT:
            self._open.append(tag)
            self.blocks.append("")

    def handle_endtag(self, tag: str) -> None:
        if self._open and tag == self._open[-1]:
            self._open.pop()

    def handle_data(self, data: str) -> None:
        if self._open and not _SILENT & set(self._open):
            self.blocks[-1] += data


def _beginning(html: str) -> str:
    """The first words of a text, whole, as plain text."""
    found = _Sentences()
    found.feed(html)
    found.close()
    said = " ".join(" ".join(found.blocks).split())
    if len(said) <= BEGINNING:
        return said
    return said[: BEGINNING + 1].rpartition(" ")[0].rstrip(" ,;:–-") + "…"


def _filters(request: Request, session: Session, chosen: str | None, lang: str) -> list[dict[str, Any]]:
    """One link for each topic something was published under; none where there is only one."""
    slugs = notices.topics_published(session)
    if len(slugs) < 2:
        return []
    every = {
        "label": pages.speaker(request)("Everything"),
        "href": "/changelog",
        "current": chosen is None,
        "count": None,
    }
    tabs = [
        {
            "label": tokens.name_of(session, topics.by_slug(session, slug), lang),
            "href": f"/changelog?topic={slug}",
            "current": slug == chosen,
            "count": None,
        }
        for slug in slugs
    ]
    return [every, *tabs]


def _offer(session: Session, topic: str | None, lang: str) -> dict[str, Any] | None:
    """The same words as on the sign-up page, for one topic; None where mail about it cannot be chosen."""
    slug = topic or "updates"
    found = next(
        (one for one in topics.public(session) if one.slug == slug and one.mail_class != "service"), None
    )
    if found is None or found.id is None:
        return None
    wording, policy = topics.wording_for(session, found.id, lang), join.shown_policy(session, lang)
    return {
        "slug": slug,
        "text": wording.text,
        "wording_id": wording.public_id,
        "policy_version": policy["version_id"],
        "policy": {"href": policy["href"], "label": policy["title"]},
    }
