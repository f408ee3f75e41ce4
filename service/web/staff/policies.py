"""Policies: published versions never change; the editor writes the next one."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time
from typing import Annotated, Any

from fastapi import APIRouter, Request
from markupsafe import Markup
from sqlmodel import Session, col
from starlette.responses import Response

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
from service.mail.markdown import published
from service.web import deps, forms, pages
from service.web.forms import Form
from service.web.sessions import require
from service.web.staff import actors
from service.web.staff.desk import OFFERED, language, written_on
from service.web.staff.frame import act, faults, show

router = APIRouter()

Reader = Annotated[SignedIn, require("policies:read")]
Writer = Annotated[SignedIn, require("policies:write")]

NOT_ASKED = ("contract", "legal_obligation")  # rest on no consent
FIELDS = ("slug", "locale", "effective_on")
TEXTS = ("title", "body")  # of each language: title:de, body:de


class DayInvalid(Invalid):
    """That is not a day, such as 2026-11-24."""


@router.get("/staff/policies")
async def listing(request: Request, staff: Reader) -> Response:
    """Every policy with its newest version and the consents given under it."""

    def build(session: Session) -> dict[str, Any]:
        rows = [
            _row(session, queries.versions(session, policy.slug), policy.slug)
            for policy in queries.slugs(session)
        ]
        return {"rows": rows, "may_write": may(staff.role, "policies:write")}

    return await show(request, staff, "policies", "staff/policies.html", build)


def _row(session: Session, versions: list[PolicyVersion], slug: str) -> dict[str, Any]:
    newest = queries.best(queries.newest_of(versions), "en")
    return {
        "title": newest.title,
        "href": f"/staff/policies/{slug}",
        "slug": slug,
        "version": newest.version,
        "published_at": newest.published_at,
        "agreed": sum(_resting(session, [one.id for one in versions]).values()),
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
    name, then = slug or form.text("slug"), form.text("then")
    values, texts, after = form.values(), _texts(form), written_on(form)
    added = then.partition(":")[2] or form.text("locale") if then.startswith("add") else ""
    try:
        if then.startswith("add"):
            rules.check_locale(added)
        if errors := _faults_of(texts) if not then.startswith("add") else {}:
            return await _editor(request, staff, slug, values, errors, after=after, status=422)
        if then != "publish":
            return await _editor(request, staff, slug, values, {}, after=after, added=added, texts=texts)
        effective_at = _effective(form.text("effective_on"))

        def publish(session: Session) -> tuple[list[str], list[str]]:
            had = queries.newest_of(queries.versions(session, name)) if slug else {}
            made = actions.publish(
                session,
                slug=name,
                texts=texts,
                effective_at=effective_at,
                after=after,
                now=clock.now(),
                by=staff.by,
            )
            held = [one.locale for one in made]
            return held, sorted(set(had) - set(held))

        held, left_out = (await act(request, publish)).value
    except DomainError as wrong:
        errors = _named(faults(wrong, {*FIELDS, *TEXTS, "effective_at"}), [*texts, "en"][0])
        after = None if isinstance(wrong, rules.PublishedMeanwhile) else after
        return await _editor(request, staff, slug, values, errors, after=after, status=wrong.status)
    words = f"Published in {_listed(held)}{f', without {_listed(left_out)}' if left_out else ''}."
    return pages.redirect(
        request, f"/staff/policies/{name}", flash=("ok", f"{words} It turns nobody’s no into a yes.")
    )


def _texts(form: Form) -> dict[str, rules.PolicyText | None]:
    """What was typed, by language; None of one both of whose fields are empty: it is left out."""
    codes = dict.fromkeys([*form.prefixed("title:"), *form.prefixed("body:")])
    typed = {code: rules.PolicyText(form.text(f"title:{code}"), form.text(f"body:{code}")) for code in codes}
    return {code: text if text.title or text.body else None for code, text in typed.items()}


def _faults_of(texts: Mapping[str, rules.PolicyText | None]) -> dict[str, str]:
    """What is wrong with the texts, by the fields of each language."""
    errors: dict[str, str] = {}
    for code, text in texts.items():
        try:
            rules.check_locale(code)
            rules.check_text(text) if text else None
        except DomainError as wrong:
            errors |= _named(faults(wrong, TEXTS), code)
    return errors


def _named(errors: dict[str, str], code: str) -> dict[str, str]:
    """The same by the names the form has for them."""
    names = {field: f"{field}:{code}" for field in TEXTS} | {"effective_at": "effective_on"}
    return {names.get(field, field): sentence for field, sentence in errors.items()}


def _listed(codes: Sequence[str]) -> str:
    """Languages in a sentence, English first."""
    names = [language(code) for code in sorted(codes, key=lambda code: (code != "en", code))]
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _effective(text: str) -> datetime | None:
    """The first moment of that day, in UTC; None for today, of which that is over: at once."""
    if not text:
        return None
    try:
        day = date.fromisoformat(text)
    except ValueError as wrong:
        raise DayInvalid(field="effective_on") from wrong
    return datetime.combine(day, time.min, UTC) if day != clock.now().date() else None


async def _editor(
    request: Request,
    staff: SignedIn,
    slug: str | None,
    values: dict[str, str],
    errors: dict[str, str],
    *,
    after: int | None = None,
    added: str = "",
    texts: Mapping[str, rules.PolicyText | None] | None = None,
    status: int = 200,
) -> Response:
    """The page of a policy. `after`: the version it was written on, the newest where it does not say; `added`: one language more than
    are there; `texts`: what was typed, to be previewed."""

    def build(session: Session) -> dict[str, Any]:
        versions = queries.versions(session, slug) if slug else []
        newest = queries.newest_of(versions)
        number = max((one.version for one in versions), default=0)
        shown, words = _written(versions, newest, values, added)
        typed = {code: rules.PolicyText(one.title, one.body) for code, one in newest.items()} | dict(
            texts or {}
        )
        return {
            "title": queries.best(newest, "en").title if newest else "New policy",
            "action": f"/staff/policies/{slug or 'new'}",
            "new": slug is None,
            "next_version": number + 1,
            "values": {**words, **values, "locale": "" if added else values.get("locale", "")},
            "errors": errors,
            "languages": [{"code": code, "name": language(code)} for code in shown],
            "lost": _lost(versions, shown, slug),
            "newest": number,
            "based_on": number if after is None else after,
            "offered": [code for code in OFFERED if code not in shown],
            "left_out": _listed([code for code, text in typed.items() if text is None and code in newest]),
            "previews": _previews(typed),
            "versions": _versions(session, slug, versions),
            "may_write": may(staff.role, "policies:write"),
            "notice": _notice(session, slug, versions, staff),
            "fell": _without(session, versions, request.query_params.get("fell", "")),
        }

    return await show(request, staff, "policies", "staff/policy_editor.html", build, status=status)


def _written(
    versions: Sequence[PolicyVersion],
    newest: Mapping[str, PolicyVersion],
    values: Mapping[str, str],
    added: str,
) -> tuple[list[str], dict[str, str]]:
    """The languages that stand in the form, and their fields: as in the newest version, of one that is added as it was last."""
    typed = [name.partition(":")[2] for name in values if name.startswith(("title:", "body:"))]
    codes = sorted({*newest, *typed, *([added] if added else [])}, key=lambda code: (code != "en", code))
    words: dict[str, str] = {}
    for code in codes or ["en"]:
        last = newest.get(code) or next((one for one in versions if one.locale == code), None)
        words |= {f"title:{code}": last.title, f"body:{code}": last.body} if last else {}
    return codes or ["en"], words


def _lost(versions: Sequence[PolicyVersion], shown: Sequence[str], slug: str | None) -> list[dict[str, Any]]:
    """Languages that an earlier version had and the newest has not."""
    last: dict[str, PolicyVersion] = {}
    for one in versions:
        last.setdefault(one.locale, one)
    return [
        {
            "code": code,
            "name": language(code),
            "version": one.version,
            "href": f"/policies/{slug}?version={one.version}&lang={code}",
        }
        for code, one in sorted(last.items())
        if code not in shown
    ]


def _previews(texts: Mapping[str, rules.PolicyText | None]) -> list[dict[str, Any]]:
    return [
        {"name": language(code), "code": code, "html": Markup(published(text.body))}  # noqa: S704 - cleaned
        for code, text in sorted(texts.items(), key=lambda one: (one[0] != "en", one[0]))
        if text is not None
    ]


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
    resting = _resting(session, texts)
    every = preferences.people_per_topic(session)
    rows = [
        {
            "topic": topics.wording_for(session, one.id or 0, "en").title,
            "people": resting[one.id or 0],
            "rest": every[one.id or 0] - resting[one.id or 0],
        }
        for one in topics.everything(session)
        if resting.get(one.id or 0)
    ]
    return {"version": fell, "rows": rows}


def _resting(session: Session, texts: Sequence[int | None]) -> dict[int, int]:
    """How many people's yes stands under these texts, by topic; what rests on a registration is no consent."""
    found = preferences.people_per_topic(session, col(Consent.policy_version_id).in_(texts))
    asked = {one.id for one in topics.everything(session) if one.basis not in NOT_ASKED}
    return {topic_id: people for topic_id, people in found.items() if topic_id in asked}


def _versions(session: Session, slug: str | None, versions: list[PolicyVersion]) -> list[dict[str, Any]]:
    """Each version with its languages, and who published it (from the ledger)."""
    published = {
        seen.body.get("version"): seen.actor
        for seen in ledger.of_kinds(session, ("policy.published",))
        if seen.body.get("policy") == slug
    }
    names = actors.names(session, published.values())
    numbers = dict.fromkeys(one.version for one in versions)
    return [
        {
            "version": number,
            "at": next(one.published_at for one in versions if one.version == number),
            "by": names.get(published.get(number, ""), "Bidden"),
            "languages": [
                {
                    "name": language(code),
                    "href": f"/policies/{slug}?version={number}&lang={code}",
                }
                for code in sorted(
                    queries.of_version(versions, number), key=lambda code: (code != "en", code)
                )
            ],
            "fell": f"?fell={number}#fell",
        }
        for number in numbers
    ]
