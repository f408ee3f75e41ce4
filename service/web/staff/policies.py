"""Policies: published versions never change; the editor writes the next one."""

from datetime import UTC, date, datetime, time
from typing import Annotated, Any

from fastapi import APIRouter, Request
from markupsafe import Markup
from sqlmodel import Session, col
from starlette.responses import Response

from service.domain.consent import queries as consent
from service.domain.consent.tables import Consent
from service.domain.ledger import queries as ledger
from service.domain.notices import actions as notices
from service.domain.notices import queries as notice_queries
from service.domain.policies import actions, queries, rules
from service.domain.policies.tables import PolicyVersion
from service.domain.preferences import queries as preferences
from service.domain.staff.queries import SignedIn
from service.domain.staff.rules import may
from service.domain.topics import queries as topics
from service.kit import clock
from service.kit.errors import DomainError, Invalid
from service.mail.markdown import to_html
from service.web import deps, forms, pages
from service.web.sessions import require
from service.web.staff import actors
from service.web.staff.desk import OFFERED, language
from service.web.staff.frame import act, choice, faults, show

router = APIRouter()

Reader = Annotated[SignedIn, require("policies:read")]
Writer = Annotated[SignedIn, require("policies:write")]

NOT_ASKED = ("contract", "legal_obligation")  # rest on no consent
FIELDS = ("slug", "title", "locale", "body", "effective_on")


class DayInvalid(Invalid):
    """That is not a day, such as 2026-11-24."""


@router.get("/staff/policies")
async def listing(request: Request, staff: Reader) -> Response:
    """Every policy with its newest version and the consents given under it."""

    def build(session: Session) -> dict[str, Any]:
        agreed = consent.per_policy(session)
        rows = [
            _row(queries.versions(session, policy.slug), policy.slug, agreed)
            for policy in queries.slugs(session)
        ]
        return {"rows": rows, "may_write": may(staff.role, "policies:write")}

    return await show(request, staff, "policies", "staff/policies.html", build)


def _row(versions: list[PolicyVersion], slug: str, agreed: dict[int, int]) -> dict[str, Any]:
    newest = next((one for one in versions if one.locale == "en"), versions[0])
    return {
        "title": newest.title,
        "href": f"/staff/policies/{slug}",
        "slug": slug,
        "version": newest.version,
        "published_at": newest.published_at,
        "agreed": sum(agreed.get(one.id or 0, 0) for one in versions),
    }


@router.get("/staff/policies/new")
async def new(request: Request, staff: Writer) -> Response:
    """A first version."""
    return await _editor(request, staff, None, {}, {})


@router.post("/staff/policies/new")
async def create(request: Request, staff: Writer) -> Response:
    """Preview or publish a policy's first version."""
    return await _publish(request, staff, None)


@router.get("/staff/policies/{slug}")
async def page(request: Request, slug: str, staff: Reader) -> Response:
    """A policy's versions, and the text of the newest to go on from."""
    return await _editor(request, staff, slug, {}, {})


@router.post("/staff/policies/{slug}")
async def publish(request: Request, slug: str, staff: Writer) -> Response:
    """Preview or publish the next version."""
    return await _publish(request, staff, slug)


@router.post("/staff/policies/{slug}/tell")
async def tell(request: Request, slug: str, staff: Writer) -> Response:
    """Begin the notice that tells people of the newest version; whoever may publish notices goes on with it."""
    house = deps.house(request)

    def begin(session: Session) -> str:
        return notices.tell_of_policy(session, house.settings, slug, now=clock.now(), by=staff.by).public_id

    made = (await act(request, begin)).value
    if may(staff.role, "notices:write"):
        words = "A draft. Say what it means for people, then publish and mail it."
        return pages.redirect(request, f"/staff/notices/{made}", flash=("ok", words))
    words = "A draft is there; a colleague who may publish notices sends it."
    return pages.redirect(request, f"/staff/policies/{slug}", flash=("ok", words))


async def _publish(request: Request, staff: SignedIn, slug: str | None) -> Response:
    form = await forms.read(request)
    name = slug or form.text("slug")
    try:
        text = rules.check_text(rules.PolicyText(form.text("title"), form.text("body")))
        if form.text("then") != "publish":
            return await _editor(request, staff, slug, form.values(), {}, preview=text.body)
        texts, effective_at = {form.text("locale"): text}, _effective(form.text("effective_on"))
        await act(
            request,
            lambda session: actions.publish(
                session, slug=name, texts=texts, effective_at=effective_at, now=clock.now(), by=staff.by
            ),
        )
    except DomainError as wrong:
        named = faults(wrong, {*FIELDS, "effective_at"})
        errors = {
            "effective_on" if field == "effective_at" else field: sentence
            for field, sentence in named.items()
        }
        return await _editor(request, staff, slug, form.values(), errors, status=wrong.status)
    return pages.redirect(
        request, f"/staff/policies/{name}", flash=("ok", "Published. It turns nobody’s no into a yes.")
    )


def _effective(text: str) -> datetime | None:
    """The first moment of that day, in UTC."""
    if not text:
        return None
    try:
        return datetime.combine(date.fromisoformat(text), time.min, UTC)
    except ValueError as wrong:
        raise DayInvalid(field="effective_on") from wrong


async def _editor(
    request: Request,
    staff: SignedIn,
    slug: str | None,
    values: dict[str, str],
    errors: dict[str, str],
    *,
    preview: str | None = None,
    status: int = 200,
) -> Response:
    def build(session: Session) -> dict[str, Any]:
        versions = queries.versions(session, slug) if slug else []
        wanted = values.get("locale") or request.query_params.get("locale", "en")
        newest = next((one for one in versions if one.locale == wanted), versions[0] if versions else None)
        words = (
            {"title": newest.title, "body": newest.body, "locale": wanted} if newest else {"locale": wanted}
        )
        shown = preview if preview is not None else newest.body if newest else None
        return {
            "title": newest.title if newest else "New policy",
            "action": f"/staff/policies/{slug or 'new'}",
            "new": slug is None,
            "next_version": max((one.version for one in versions), default=0) + 1,
            "values": {**words, **values},
            "errors": errors,
            "locales": [choice(code, language(code), code == wanted) for code in OFFERED],
            "preview": Markup(to_html(shown)) if shown else None,  # noqa: S704 - cleaned
            "versions": _versions(session, slug, versions),
            "may_write": may(staff.role, "policies:write"),
            "notice": _notice(session, slug, versions, staff),
            "fell": _without(session, versions, request.query_params.get("fell", "")),
        }

    return await show(request, staff, "policies", "staff/policy_editor.html", build, status=status)


def _notice(
    session: Session, slug: str | None, versions: list[PolicyVersion], staff: SignedIn
) -> dict[str, Any] | None:
    """Whether people were told of the newest version; None of a first one."""
    if not versions or versions[0].version == 1:
        return None
    number = versions[0].version
    row = notice_queries.of_policy(session, slug or "", number)
    told = row is not None and row.mailing_id is not None
    words = "Nobody has been told of it yet." if row is None else "Its notice is a draft."
    if row is not None and row.state == "published":
        words = "Its notice is published, and mailed." if told else "Its notice is published, but not mailed."
    link = f"/staff/notices/{row.public_id}" if row and may(staff.role, "notices:write") else None
    return {
        "version": number,
        "state": "approved" if told else "warn",
        "words": words,
        "href": link,
        "action": f"/staff/policies/{slug}/tell"
        if row is None and may(staff.role, "policies:write")
        else None,
    }


def _without(session: Session, versions: list[PolicyVersion], fell: str) -> dict[str, Any] | None:
    """Who would still be covered if a version fell (`?fell=1`), topic by topic; counted only when it is asked."""
    texts = [one.id for one in versions if str(one.version) == fell]
    if not texts:
        return None
    resting = preferences.people_per_topic(session, col(Consent.policy_version_id).in_(texts))
    every = preferences.people_per_topic(session)
    rows = [
        {
            "topic": topics.wording_for(session, one.id or 0, "en").title,
            "people": resting[one.id or 0],
            "rest": every[one.id or 0] - resting[one.id or 0],
        }
        for one in topics.everything(session)
        if resting.get(one.id or 0) and one.basis not in NOT_ASKED
    ]
    return {"version": fell, "rows": rows}


def _versions(session: Session, slug: str | None, versions: list[PolicyVersion]) -> list[dict[str, Any]]:
    """Each version and language, with who published it (from the ledger)."""
    published = {
        seen.body.get("version"): seen.actor
        for seen in ledger.of_kinds(session, ("policy.published",))
        if seen.body.get("policy") == slug
    }
    names = actors.names(session, published.values())
    return [
        {
            "version": f"{one.version}, {language(one.locale)}",
            "at": one.published_at,
            "by": names.get(published.get(one.version, ""), "Bidden"),
            "href": f"/policies/{slug}?version={one.version}&lang={one.locale}",
            "fell": f"?fell={one.version}#fell",
        }
        for one in versions
    ]
