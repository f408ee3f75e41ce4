"""`/join`: sign-up. Nothing comes ticked, what was shown is kept with what was said, a mail asks to confirm.

The answer is the same whether or not the address is known (H55); a private topic is not there (H53).
"""

from typing import Any

from fastapi import APIRouter
from sqlmodel import Session
from starlette.requests import Request
from starlette.responses import Response

from service import fence
from service.domain.policies import queries as policies
from service.domain.policies import rules as policy_rules
from service.domain.policies.tables import PolicyVersion
from service.domain.preferences.intake import look_up
from service.domain.preferences.registration import Registered, Registration, register_many
from service.domain.topics import queries as topics
from service.domain.topics.rules import TopicUnknown
from service.domain.topics.tables import Topic
from service.kit import addresses, clock
from service.kit.errors import DomainError, Invalid, NotFound
from service.kit.ids import new_id
from service.web import deps, forms, pages
from service.web.forms import Form
from service.web.public import limits

router = APIRouter()

SOURCE = "join"
POLICY = "privacy"


class TopicMissing(Invalid):
    """Please choose at least one kind of mail."""


class ShownHasChanged(Invalid):
    """Our text has changed since this page was opened. Please read it once more and choose again."""


@router.get("/join")
async def page(request: Request) -> Response:
    """The form, with every public topic and nothing ticked."""
    return await _form(request, chosen=set(), values={}, errors={})


@router.post("/join")
async def join(request: Request) -> Response:
    """Keep what was said and mail the button."""
    limits.allowance.take(request)
    form = await forms.read(request)
    errors = await _faults(request, form)
    if not errors:
        async with limits.even():
            refused = None if form.text("website") else await _register(request, form)
        errors = pages.said(request, refused) if refused else {}
    if errors:
        chosen = set(form.all("topic"))
        return await _form(request, chosen=chosen, values=form.values(), errors=errors, status=422)
    return await pages.public(
        request, "public/join_sent.html", {"email": addresses.parse(form.text("email")).shown}
    )


async def _faults(request: Request, form: Form) -> dict[str, str]:
    """Everything that is to be mended, in the page's order. Raises `TopicUnknown` for a topic not offered."""
    errors: dict[str, str] = {}
    try:
        await deps.read(deps.house(request), lambda session: _check_shown(session, form))
    except Invalid as wrong:
        errors |= pages.said(request, wrong)
    try:
        addresses.parse(form.text("email"))
    except Invalid as wrong:
        errors |= pages.said(request, wrong)
    return errors


def _check_shown(session: Session, form: Form) -> None:
    """What was chosen must have been offered, in the words that are current."""
    wordings, chosen = form.prefixed("wording:"), form.all("topic")
    if not chosen:
        raise TopicMissing(field="topic")
    offered = {topic.slug: topic.id or 0 for topic in _offered(session)}
    for slug in chosen:
        if slug not in offered:
            raise TopicUnknown
        shown = topics.current_wordings(session, offered[slug]).values()
        if wordings.get(slug) not in {wording.public_id for wording in shown}:
            raise ShownHasChanged(field="topic")
    _policy_shown(session, form)


def _policy_shown(session: Session, form: Form) -> PolicyVersion:
    """The version the form was shown with, which must still be the one in effect. Raises `ShownHasChanged`."""
    shown = policies.by_version_name(session, form.text("policy_version"))
    if shown is None or policies.current(session, "privacy", shown.locale, now=clock.now()).id != shown.id:
        raise ShownHasChanged(field="topic")
    return shown


async def _register(request: Request, form: Form) -> DomainError | None:
    """Register the visitor; the error, if something in the form cannot be kept."""
    opened, now = deps.house(request), clock.now()
    wordings, first_name = form.prefixed("wording:"), form.text("first_name")

    def act(session: Session) -> Registered | DomainError:
        evidence = deps.shown_by(request, path="/join", now=now)
        said = {"given": True, "source": SOURCE, "evidence": evidence}
        visitor = Registration(
            external_id=new_id("v"),
            email=form.text("email"),
            locale=pages.language(request),
            profile={"first_name": first_name} if first_name else None,
            consents=[
                {"topic": slug, "wording": wordings[slug], **said}
                for slug in dict.fromkeys(form.all("topic"))
            ],
            attested=False,
        )
        facts = look_up(session, now, policy=_policy_shown(session, form))
        return register_many(
            session,
            opened.ring,
            SOURCE,
            [visitor],
            attest=False,
            topics=None,
            now=now,
            by="visitor",
            facts=facts,
        )[0]

    done = (await fence.perform(opened, act)).value
    return done if isinstance(done, DomainError) else None


async def _form(
    request: Request, *, chosen: set[str], values: dict[str, str], errors: dict[str, str], status: int = 200
) -> Response:
    lang = pages.language(request)

    def look(session: Session) -> dict[str, Any]:
        return {"topics": _offers(session, lang), "policy": shown_policy(session, lang)}

    shown = await deps.read(deps.house(request), look)
    context = {**shown, "chosen": chosen, "values": values, "errors": errors}
    return await pages.public(request, "public/join.html", context, status=status)


def _offered(session: Session) -> list[Topic]:
    """The topics a visitor may choose: public ones, but not what everybody gets who is registered at all."""
    return [topic for topic in topics.public(session) if topic.mail_class != "service"]


def _offers(session: Session, lang: str) -> list[dict[str, str]]:
    """Every topic a visitor may choose, in their words."""
    offers = []
    for topic in _offered(session):
        words = topics.wording_for(session, topic.id or 0, lang)
        offers.append(
            {
                "slug": topic.slug,
                "name": words.title,
                "often": words.frequency,
                "wording_id": words.public_id,
                "text": words.text,
            }
        )
    return offers


def shown_policy(session: Session, lang: str) -> dict[str, Any]:
    """The privacy policy beside the form, and the version that is kept with a yes."""
    try:
        text = policies.current(session, POLICY, lang, now=clock.now())
    except policy_rules.PolicyUnknown as missing:
        raise NotFound from missing
    return {
        "title": text.title,
        "version": text.version,
        "href": f"/policies/{POLICY}?version={text.version}",
        "version_id": policies.name_of(session, text),
    }
