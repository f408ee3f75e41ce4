"""`/join`: sign-up. Nothing comes ticked, what was shown is kept with what was said, a mail asks to confirm.

The answer is the same whether or not the address is known (H55); a topic that is not public is not there (H53).
"""

from typing import Any

from fastapi import APIRouter
from sqlmodel import Session
from starlette.requests import Request
from starlette.responses import Response

from service import fence
from service.domain.policies import queries as policies
from service.domain.policies import rules as policy_rules
from service.domain.preferences.registration import Registration, register_many
from service.domain.topics import queries as topics
from service.domain.topics.rules import TopicUnknown
from service.kit import addresses, clock
from service.kit.errors import DomainError, Invalid, NotFound
from service.kit.ids import new_id
from service.web import deps, forms, pages
from service.web.forms import Form
from service.web.public import limits
from service.web.public.lost_link import said

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
    try:
        asked = await _asked(request, form)
    except Invalid as wrong:
        return await _form(
            request,
            chosen=set(form.all("topic")),
            values=form.values(),
            errors=said(request, wrong),
            status=wrong.status,
        )
    if not form.text("website"):
        opened = deps.house(request)
        async with limits.even():
            done = await fence.perform(opened, lambda session: _register(request, session, asked))
        if isinstance(done.value, DomainError):
            field = (done.value.field or "").rpartition(".")[2]
            errors: dict[str, str] = {field: pages.speaker(request)(done.value.title)}
            return await _form(
                request,
                chosen=set(form.all("topic")),
                values=form.values(),
                errors=errors,
                status=done.value.status,
            )
    return await pages.public(
        request, "public/join_sent.html", {"email": addresses.parse(form.text("email")).shown}
    )


async def _asked(request: Request, form: Form) -> Registration:
    """What the form says, checked against what it showed. Raises Invalid; NotFound for a topic not public."""
    address = addresses.parse(form.text("email"))
    wordings, chosen = form.prefixed("wording:"), dict.fromkeys(form.all("topic"))
    if not chosen:
        raise TopicMissing(field="topic")

    def check(session: Session) -> None:
        public = {topic.slug: topic for topic in topics.public(session)}
        for slug in chosen:
            if slug not in public:
                raise TopicUnknown
            topic_id = public[slug].id
            assert topic_id is not None
            shown = topics.current_wordings(session, topic_id).values()
            if wordings.get(slug) not in {wording.public_id for wording in shown}:
                raise ShownHasChanged(field="topic")
        if policies.by_version_name(session, form.text("policy_version")) is None:
            raise ShownHasChanged(field="topic")

    await deps.read(deps.house(request), check)
    return Registration(
        external_id=new_id("v"),
        email=address.text,
        locale=pages.language(request),
        profile={"first_name": form.text("first_name")} if form.text("first_name") else None,
        consents=[
            {"topic": slug, "given": True, "wording": wordings[slug], "source": SOURCE} for slug in chosen
        ],
        attested=False,
    )


def _register(request: Request, session: Session, asked: Registration) -> object:
    now, opened = clock.now(), deps.house(request)
    for item in asked.consents:
        item["evidence"] = deps.evidence(request, session, path="/join", now=now)
    return register_many(
        session, opened.ring, SOURCE, [asked], attest=False, topics=None, now=now, by="visitor"
    )[0]


async def _form(
    request: Request, *, chosen: set[str], values: dict[str, str], errors: dict[str, str], status: int = 200
) -> Response:
    lang = pages.language(request)

    def look(session: Session) -> dict[str, Any]:
        return {"topics": _offers(session, lang), "policy": shown_policy(session, lang)}

    shown = await deps.read(deps.house(request), look)
    context = {**shown, "chosen": chosen, "values": values, "errors": errors}
    return await pages.public(request, "public/join.html", context, status=status)


def _offers(session: Session, lang: str) -> list[dict[str, str]]:
    """Every topic a visitor may choose, in their words."""
    offers = []
    for topic in topics.public(session):
        if topic.mail_class != "service" and topic.id is not None:
            words = topics.wording_for(session, topic.id, lang)
            offers.append(
                {
                    "slug": topic.slug,
                    "name": words.title,
                    "what": words.title,
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
