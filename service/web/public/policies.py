"""`/policies`: what the company says it does, every version readable for ever."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter
from markupsafe import Markup
from sqlmodel import Session
from starlette.requests import Request
from starlette.responses import Response

from service.domain.policies import differences, queries
from service.domain.policies.rules import PolicyVersionUnknown
from service.domain.policies.tables import PolicyVersion
from service.kit import clock
from service.mail import markdown
from service.web import deps, pages, words

router = APIRouter()


@router.get("/policies")
async def page(request: Request) -> Response:
    """Every policy in force."""
    lang = pages.language(request)

    def look(session: Session) -> list[dict[str, Any]]:
        slugs = {policy.id: policy.slug for policy in queries.slugs(session)}
        texts = queries.listed(session, lang, now=clock.now())
        return [_row(text, f"/policies/{slugs[text.policy_id]}") for text in texts]

    return await pages.public(
        request, "public/policies.html", {"policies": await deps.read(deps.house(request), look)}
    )


@router.get("/policies/{slug}")
async def one(request: Request, slug: str) -> Response:
    """One policy as it is, or as `?version=` says it was; in the reader's language, or by `?lang=` in any it has."""
    lang, asked, since = pages.language(request), _number(request, "version"), _number(request, "since")
    wanted = request.query_params.get("lang", "")

    def look(session: Session) -> dict[str, Any]:
        every = queries.versions(session, slug)
        current = queries.in_force(session, slug, now=clock.now())
        texts = current if asked is None else queries.of_version(every, asked)
        older = queries.of_version(every, since) if since is not None else None
        if not texts or older == {}:
            raise PolicyVersionUnknown
        text = queries.best(texts, wanted if wanted in texts else lang)
        here = _Place(slug, every, lang, text.locale)
        return {
            "policy": _row(text, "")
            | {
                "effective_at": text.effective_at if text.effective_at != text.published_at else None,
                "locale": text.locale,
            },
            "body": Markup(markdown.published(text.body)),  # noqa: S704  our renderer lets no HTML through (standards N6)
            "there_in": here.languages(texts),
            "spoken": words.spoken(text.locale) == lang,
            "difference": here.difference(older, text) if older else None,
            "back": here.path(text.version),
            "versions": here.versions(text.version),
        }

    return await pages.public(request, "public/policy.html", await deps.read(deps.house(request), look))


@dataclass(frozen=True)
class _Place:
    """A policy before a reader: its texts, the language of the page, and that of the text they read."""

    slug: str
    every: Sequence[PolicyVersion]
    lang: str
    locale: str

    def path(self, number: int, since: int | None = None) -> str:
        """Where a version stands, beside an older one if need be; in the language that was asked for where the pages have none."""
        beside = f"&since={since}" if since is not None else ""
        kept = "" if words.spoken(self.locale) else f"&lang={self.locale}"
        return f"/policies/{self.slug}?version={number}{beside}{kept}"

    def languages(self, texts: Mapping[str, PolicyVersion]) -> list[dict[str, str]]:
        """The other languages of a version, each in the reader's words, with where it stands."""
        return [
            {
                "name": words.language_name(code, self.lang),
                "href": f"/policies/{self.slug}?version={text.version}&lang={code}",
            }
            for code, text in sorted(texts.items())
        ]

    def versions(self, current: int) -> list[dict[str, Any]]:
        """Every version, in the language of the text if it has it, with the last one before it in that language beside it."""
        found = []
        for number in dict.fromkeys(one.version for one in self.every):
            text = queries.best(queries.of_version(self.every, number), self.locale)
            before = queries.before(self.every, text)
            compare = self.path(number, before) if before is not None else None
            found.append(_row(text, self.path(number)) | {"current": number == current, "compare": compare})
        return found

    def difference(self, older: Mapping[str, PolicyVersion], newer: PolicyVersion) -> dict[str, Any]:
        """What changed since another version, in one language; where that lacks it, there is nothing to compare."""
        since, same = next(iter(older.values())).version, older.get(newer.locale)
        before = queries.before(self.every, newer)
        paragraphs = differences.between(same.body, newer.body) if same else ()
        if same and same.title != newer.title:
            paragraphs = differences.between(same.title, newer.title) + paragraphs
        return {
            "since": since,
            "missing": same is None,
            "before": {"version": before, "href": self.path(newer.version, before)} if before else None,
            "changed": differences.changed(paragraphs),
            "paragraphs": paragraphs,
        }


def _number(request: Request, name: str) -> int | None:
    """A version's number as asked for. Raises `PolicyVersionUnknown` for what can be none."""
    asked = request.query_params.get(name)
    if asked is None:
        return None
    if not (asked.isascii() and asked.isdecimal() and len(asked) < 7):
        raise PolicyVersionUnknown
    return int(asked)


def _row(text: PolicyVersion, href: str) -> dict[str, Any]:
    return {"title": text.title, "href": href, "version": text.version, "published_at": text.published_at}
