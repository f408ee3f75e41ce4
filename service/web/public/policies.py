"""`/policies`: what the company says it does, every version readable for ever."""

from collections.abc import Mapping
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
from service.web import deps, pages

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
    """One policy as it is, or as `?version=` says it was."""
    lang, asked, since = pages.language(request), _number(request, "version"), _number(request, "since")

    def look(session: Session) -> dict[str, Any]:
        now = clock.now()
        current = queries.current(session, slug, lang, now=now)
        text = queries.version(session, slug, asked, lang) if asked is not None else current
        numbers = {version.version: version for version in reversed(queries.versions(session, slug))}
        older = queries.version(session, slug, since, text.locale) if since is not None else None
        return {
            "policy": _row(text, "")
            | {"effective_at": text.effective_at if text.effective_at != text.published_at else None},
            "body": Markup(markdown.to_html(text.body)),  # noqa: S704  our renderer lets no HTML through (standards N6)
            "difference": _difference(older, text) if older else None,
            "back": f"/policies/{slug}?version={text.version}",
            "versions": [
                _row(version, f"/policies/{slug}?version={number}")
                | {"current": number == text.version, "compare": _compared(slug, number, numbers)}
                for number, version in sorted(numbers.items(), reverse=True)
            ],
        }

    return await pages.public(request, "public/policy.html", await deps.read(deps.house(request), look))


def _number(request: Request, name: str) -> int | None:
    """A version's number as asked for. Raises `PolicyVersionUnknown` for what can be none."""
    asked = request.query_params.get(name)
    if asked is None:
        return None
    if not (asked.isascii() and asked.isdecimal() and len(asked) < 7):
        raise PolicyVersionUnknown
    return int(asked)


def _compared(slug: str, number: int, numbers: Mapping[int, PolicyVersion]) -> str | None:
    """Where a version stands beside the one before it; the first has none."""
    before = max((one for one in numbers if one < number), default=None)
    return f"/policies/{slug}?version={number}&since={before}" if before is not None else None


def _difference(older: PolicyVersion, newer: PolicyVersion) -> dict[str, Any]:
    paragraphs = differences.between(older.body, newer.body)
    return {
        "since": older.version,
        "other_language": older.locale if older.locale != newer.locale else None,
        "changed": differences.changed(paragraphs),
        "paragraphs": paragraphs,
    }


def _row(text: PolicyVersion, href: str) -> dict[str, Any]:
    return {"title": text.title, "href": href, "version": text.version, "published_at": text.published_at}
