"""Showing a page: the templates, what every readers' page gets, redirects with a word for the next page.

Called by every handler of the public and the staff pages.
"""

from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import lru_cache
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse

from service.domain.brands import queries as brands
from service.domain.people.tables import Person
from service.kit import clock
from service.kit.errors import DomainError
from service.kit.places import templates_dir
from service.mail.plaintext import in_one_line
from service.web import deps, forms, words

_A_YEAR = 31_536_000


@lru_cache(maxsize=1)
def environment() -> Environment:
    """The templates of all pages: escaped, and refusing a name the handler forgot."""
    made = Environment(
        loader=FileSystemLoader(templates_dir() / "web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {name: _in_language(name) for name in ("day", "weekday", "moment", "ago", "number")}
    return made


def _in_language(name: str) -> Callable[[Context, Any], str]:
    """A filter that reads the page's language and zone."""
    shape: Callable[..., str] = getattr(words, name)

    @pass_context
    def filtered(context: Context, value: Any) -> str:
        place = {"lang": context["lang"]}
        return (
            shape(value, **place, zone=context["zone"])
            if name in ("day", "weekday", "moment")
            else shape(value, **place)
        )

    return filtered


def html(
    request: Request,
    template: str,
    context: Mapping[str, Any],
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> HTMLResponse:
    """Any page from its context alone; `lang` is English and `zone` UTC unless the context says otherwise."""
    text = environment().get_template(template).render({"lang": words.ENGLISH, "zone": "", **context})
    response = HTMLResponse(text, status, dict(headers or {}))
    if getattr(request.state, "flashes_read", False):
        deps.clear_cookie(response, deps.house(request), "flash")
    return response


def language(request: Request, person: Person | None = None) -> str:
    """The language of a readers' page."""
    return words.choose(
        asked=request.query_params.get("lang"),
        kept=deps.get_cookie(request, "lang"),
        person=person.locale if person else None,
        accept=request.headers.get("accept-language", ""),
    )


def speaker(request: Request, person: Person | None = None) -> words.Say:
    """`_` in that language, for what a handler says itself."""
    return words.speaker(language(request, person))


def said(request: Request, wrong: DomainError, person: Person | None = None) -> dict[str, str]:
    """An error at its field, in the language of the page it stands on."""
    say = speaker(request, person)
    return {field: say(sentence) for field, sentence in forms.errors_of(wrong).items()}


async def public(
    request: Request,
    template: str,
    context: Mapping[str, Any],
    *,
    status: int = 200,
    person: Person | None = None,
    token_links: Mapping[str, str] | None = None,
) -> HTMLResponse:
    """A readers' page, in the language and zone of `person` when that is known."""
    opened, lang = deps.house(request), language(request, person)
    frame = {
        "lang": lang,
        "dir": words.direction(lang),
        "zone": person.zone if person else "",
        "brand": await _brand(request),
        "languages": [
            {"code": c, "name": n, "href": f"?lang={c}", "current": c == lang}
            for c, n in words.languages().items()
        ],
        "token_links": token_links,
        "_": words.speaker(lang),
    }
    response = html(request, template, {**frame, **context}, status=status)
    response.headers["Content-Language"] = lang
    if words.spoken(request.query_params.get("lang")) and request.method == "GET":
        deps.set_cookie(response, opened, "lang", lang, max_age=_A_YEAR)
    return response


async def _brand(request: Request) -> dict[str, str]:
    """Who speaks; a page that tells of trouble must not need the database to say so."""
    try:
        brand = await deps.read(deps.house(request), brands.default_brand)
    except SQLAlchemyError:
        return {"name": "Bidden", "postal_address": ""}
    return {"name": brand.title, "postal_address": in_one_line(brand.postal_address)}


def redirect(request: Request, path: str, *, flash: tuple[str, str] | None = None) -> RedirectResponse:
    """See another page of ours (303), with a word for it: ("ok" | "warn" | "bad", sentence)."""
    response = RedirectResponse(path, 303)
    if flash:
        opened = deps.house(request)
        facts = {"kind": flash[0], "text": flash[1]}
        value = deps.signed(opened.ring, "flash", facts, now=clock.now(), valid_for=timedelta(minutes=1))
        deps.set_cookie(response, opened, "flash", value, max_age=60)
    return response


def flashes(request: Request) -> list[dict[str, str]]:
    """The word a redirect left for this page; `html` then ends its cookie."""
    value = deps.get_cookie(request, "flash")
    if value is None:
        return []
    request.state.flashes_read = True
    facts = deps.unsigned(deps.house(request).ring, "flash", value, now=clock.now())
    return [{"kind": facts["kind"], "text": facts["text"]}] if facts else []
