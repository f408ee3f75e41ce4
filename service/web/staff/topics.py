"""Topics and their wordings: what people may say yes to, in the very words they see."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Request
from sqlmodel import Session, col
from starlette.responses import Response

from service.domain.brands import queries as brands
from service.domain.consent import queries as consent
from service.domain.consent.tables import Consent
from service.domain.policies.rules import PublishedMeanwhile
from service.domain.preferences import expiring, reasking
from service.domain.preferences import queries as preferences
from service.domain.preferences.rules import REGISTERED, RENEWAL
from service.domain.staff.queries import SignedIn
from service.domain.staff.rules import may
from service.domain.topics import actions, queries, rules
from service.domain.topics.rules import WordingText
from service.domain.topics.tables import Topic, Wording
from service.kit import clock
from service.kit.errors import DomainError
from service.web import forms, pages
from service.web.forms import Form
from service.web.sessions import require
from service.web.staff.desk import OFFERED, language, written_on
from service.web.staff.frame import act, choice, done, faults, show

router = APIRouter()

Reader = Annotated[SignedIn, require("topics:read")]
Writer = Annotated[SignedIn, require("topics:write")]

Officer = Annotated[SignedIn, require("people:ask")]
LEFT_OUT = {
    "law_forbids_asking": "no mail may ask them where they live, or nobody knows where that is",
    "asked_before": "they were asked before",
    "address_pending": "their address is being changed",
    "on_break": "they take a break",
}

LOOK_AHEAD = timedelta(days=60)
FIELDS = ("name", "slug", "class", "basis", "visibility", "mailbox", "often", "locale", "text")
CHANGEABLE = {
    "visibility": "where it is shown",
    "double_opt_in": "double opt-in",
    "mailbox": "the sender’s mailbox",
}
WAS = "was:"  # before a field's name: what it held when the page was made
# What the actions call a field and the form calls otherwise.
_AS_FORM = {"title": "name", "frequency": "often", "mail_class": "class"}


@router.get("/staff/topics")
async def listing(request: Request, staff: Reader) -> Response:
    """Every topic, with how many get it."""

    def build(session: Session) -> dict[str, Any]:
        people = preferences.people_per_topic(session)
        rows = [_row(session, topic, people.get(topic.id or 0, 0)) for topic in queries.everything(session)]
        return {"rows": rows, "may_write": may(staff.role, "topics:write")}

    return await show(request, staff, "topics", "staff/topics.html", build)


def _row(session: Session, topic: Topic, people: int) -> dict[str, Any]:
    wording = queries.wording_for(session, topic.id or 0, "en")
    return {
        "name": wording.title,
        "href": f"/staff/topics/{topic.slug}",
        "what": wording.frequency,
        "class_": topic.mail_class,
        "basis": topic.basis.replace("_", " "),
        "visibility": topic.visibility if topic.state == "active" else "retired",
        "people": people,
        "version": wording.version,
    }


@router.get("/staff/topics/new")
async def new(request: Request, staff: Writer) -> Response:
    """The form for a topic."""
    return await _new(request, staff, {"double_opt_in": "1"}, {})


@router.post("/staff/topics")
async def create(request: Request, staff: Writer) -> Response:
    """Add a topic with its first wording; nobody is enrolled."""
    form = await forms.read(request)

    def make(session: Session) -> None:
        actions.create(
            session,
            slug=form.text("slug"),
            brand_id=brands.default_brand(session).id or 0,
            basis=form.text("basis"),
            mail_class=form.text("class"),
            mailbox=form.text("mailbox"),
            texts=_texts(form),
            visibility=form.text("visibility"),
            double_opt_in="double_opt_in" in form,
            now=clock.now(),
            by=staff.by,
        )

    try:
        await act(request, make)
    except DomainError as wrong:
        return await _new(request, staff, form.values(), _faults(wrong), status=wrong.status)
    return pages.redirect(
        request, f"/staff/topics/{form.text('slug')}", flash=("ok", "Added. Nobody is enrolled by it.")
    )


def _texts(form: Form) -> dict[str, WordingText]:
    return {form.text("locale"): WordingText(form.text("name"), form.text("often"), form.text("text"))}


def _every_text(session: Session, slug: str, form: Form) -> dict[str, WordingText]:
    """The words in the language chosen; and in each other one that was written anew, or that has to be."""
    present = queries.current_wordings(session, queries.by_slug(session, slug).id or 0)
    texts = _texts(form)
    for code, text in form.prefixed("text:").items():
        words = WordingText(form.text(f"name:{code}"), form.text(f"often:{code}"), text)
        kept = present.get(code)
        same = kept is not None and words == WordingText(kept.title, kept.frequency, kept.text)
        if code not in texts and ("material" in form or not same):
            texts[code] = words
    return texts


def _faults(wrong: DomainError, others: Sequence[str] = ()) -> dict[str, str]:
    """What is wrong, by the form's fields. `others`: the languages beside the one that was chosen."""
    named = {f"text:{code}" for code in others}
    found = faults(wrong, {*FIELDS, *_AS_FORM, *named})
    return {_AS_FORM.get(name, name): sentence for name, sentence in found.items()}


async def _new(
    request: Request, staff: SignedIn, values: dict[str, str], errors: dict[str, str], *, status: int = 200
) -> Response:
    context = {
        **_choices(values),
        "title": "New topic",
        "action": "/staff/topics",
        "new": True,
        "state": "active",
        "values": values,
        "errors": errors,
        "wordings": [],
        "others": [],
        "people": 0,
        "ending": None,
        "asking": None,
        "renewal": None,
        "may_write": True,
    }
    return await show(request, staff, "topics", "staff/topic.html", lambda _: context, status=status)


def _choices(values: dict[str, str]) -> dict[str, Any]:
    def options(name: str, known: tuple[str, ...]) -> list[dict[str, Any]]:
        return [choice(one, one.replace("_", " ").capitalize(), values.get(name) == one) for one in known]

    return {
        "classes": options("class", rules.CLASSES),
        "bases": options("basis", rules.BASES),
        "visibilities": options("visibility", rules.VISIBILITIES),
        "locales": [choice(code, language(code), values.get("locale") == code) for code in OFFERED],
    }


@router.get("/staff/topics/{slug}")
async def page(request: Request, slug: str, staff: Reader) -> Response:
    """One topic with every wording it ever had."""
    return await _topic(request, staff, slug, {}, {})


@router.post("/staff/topics/{slug}/wordings")
async def publish_wording(request: Request, slug: str, staff: Writer) -> Response:
    """Publish the next version; who agreed before stays under the earlier one, and is asked anew where it promises more."""
    form = await forms.read(request)

    def publish(session: Session) -> None:
        texts, material, after = _every_text(session, slug, form), "material" in form, written_on(form)
        reasking.publish(session, slug, texts, material=material, after=after, now=clock.now(), by=staff.by)

    try:
        await act(request, publish)
    except DomainError as wrong:
        errors, values = _faults(wrong, [*form.prefixed("text:")]), form.values()
        if isinstance(wrong, PublishedMeanwhile):  # the page shows it now
            values.pop("based_on", None)
        return await _topic(request, staff, slug, values, errors, status=wrong.status)
    return pages.redirect(
        request, f"/staff/topics/{slug}", flash=("ok", "Published. It is shown from now on.")
    )


@router.post("/staff/topics/{slug}/change")
async def change(request: Request, slug: str, staff: Writer) -> Response:
    """Change where a topic is shown, whether a yes needs a press in a mail, and the sender's mailbox."""
    form = await forms.read(request)

    def save(session: Session) -> list[str]:
        return actions.change(
            session,
            slug,
            **_differs(form),
            now=clock.now(),
            by=staff.by,
        )

    try:
        changed = (await act(request, save)).value
    except DomainError as wrong:
        values = {"double_opt_in": "", **form.values()}
        return await _topic(request, staff, slug, values, _faults(wrong), status=wrong.status)
    words = ", ".join(label for name, label in CHANGEABLE.items() if name in changed)
    said = f"Changed: {words}." if changed else "Nothing changed: it was so already."
    return pages.redirect(request, f"/staff/topics/{slug}", flash=("ok", said))


def _differs(form: Form) -> dict[str, Any]:
    """What may change, of it only what the page's reader changed: what a colleague changed meanwhile stays theirs."""
    typed = {"visibility": form.text("visibility"), "mailbox": form.text("mailbox")}
    typed["double_opt_in"] = "1" if "double_opt_in" in form else ""
    was = form.prefixed(WAS)
    changed: dict[str, Any] = {name: text for name, text in typed.items() if text != was.get(name)}
    return changed | ({"double_opt_in": bool(typed["double_opt_in"])} if "double_opt_in" in changed else {})


@router.post("/staff/topics/{slug}/retire")
async def retire(request: Request, slug: str, staff: Writer) -> Response:
    """Take a topic out of use; its stop links live for ever."""
    fenced = await act(request, lambda session: actions.retire(session, slug, now=clock.now(), by=staff.by))
    return await done(
        request, staff, fenced, f"/staff/topics/{slug}", "Retired: nobody is written to under it any more."
    )


@router.post("/staff/topics/{slug}/restore")
async def restore(request: Request, slug: str, staff: Writer) -> Response:
    """Take it into use again: the way back from a mistaken press."""
    await act(request, lambda session: actions.restore(session, slug, now=clock.now(), by=staff.by))
    return pages.redirect(
        request, f"/staff/topics/{slug}", flash=("ok", "In use again, for those who said yes to it.")
    )


@router.post("/staff/topics/{slug}/ask")
async def ask(request: Request, slug: str, staff: Officer) -> Response:
    """Ask, once, whom registering made agree (the privacy officer's approval and the beginning are one press), or go on asking those
    whose yes was to older words."""
    try:
        form = await forms.read(request)
        about = RENEWAL if form.text("about") == RENEWAL else REGISTERED
        await act(request, lambda session: reasking.begin(session, slug, about, now=clock.now(), by=staff.by))
    except DomainError as wrong:
        return await _topic(request, staff, slug, {}, {"ask": wrong.detail}, status=wrong.status)
    return pages.redirect(
        request,
        f"/staff/topics/{slug}",
        flash=("ok", "They are being asked, a few at a time, each once for ever."),
    )


@router.post("/staff/topics/{slug}/ask/stop")
async def ask_no_more(request: Request, slug: str, staff: Officer) -> Response:
    """Ask nobody else; what waits does not leave any more."""
    try:
        form = await forms.read(request)
        about = RENEWAL if form.text("about") == RENEWAL else REGISTERED
        fenced = await act(
            request, lambda session: reasking.stop(session, slug, about, now=clock.now(), by=staff.by)
        )
    except DomainError as wrong:
        return await _topic(request, staff, slug, {}, {"ask": wrong.detail}, status=wrong.status)
    kept_back = {0: "", 1: " One mail that waited will not leave."}.get(
        fenced.value, f" {fenced.value:,} mails that waited will not leave."
    )
    return await done(request, staff, fenced, f"/staff/topics/{slug}", "Nobody else is asked." + kept_back)


async def _topic(
    request: Request,
    staff: SignedIn,
    slug: str,
    values: dict[str, str],
    errors: dict[str, str],
    *,
    status: int = 200,
) -> Response:
    def build(session: Session) -> dict[str, Any]:
        topic = queries.by_slug(session, slug)
        current, per = (
            queries.current_wordings(session, topic.id or 0),
            consent.per_wording(session, topic.id or 0),
        )
        newest = queries.wording_for(session, topic.id or 0, values.get("locale", "en"))
        wordings = queries.wordings(session, topic.id or 0)
        people = preferences.people_per_topic(session).get(topic.id or 0, 0)
        others = [one for one in current.values() if one.locale != newest.locale]
        number = max(one.version for one in wordings)
        filled = {**_as_it_stands(topic, newest, number), **_of_others(others), **values}
        return {
            **_choices(filled),
            "title": newest.title,
            "action": f"/staff/topics/{slug}/wordings",
            "new": False,
            "state": topic.state,
            "values": filled,
            "others": [{"code": one.locale, "name": language(one.locale)} for one in others],
            "errors": errors,
            "wordings": [_wording(one, current, per) for one in wordings],
            "people": people,
            "ending": _ending(session, topic),
            "fell": _without(session, wordings, people, request.query_params.get("fell", "")),
            "may_write": may(staff.role, "topics:write"),
            "asking": _asking(session, topic, REGISTERED, may_ask=may(staff.role, "people:ask")),
            "renewal": _asking(session, topic, RENEWAL, may_ask=may(staff.role, "people:ask")),
        }

    return await show(request, staff, "topics", "staff/topic.html", build, status=status)


def _as_it_stands(topic: Topic, newest: Wording, newest_version: int) -> dict[str, str]:
    """The fields of both forms, before anything is typed."""
    double = "1" if topic.double_opt_in else ""
    may_change = {"visibility": topic.visibility, "double_opt_in": double, "mailbox": topic.mailbox}
    return {
        **may_change,
        **{WAS + name: value for name, value in may_change.items()},
        "based_on": str(newest_version),
        "name": newest.title,
        "often": newest.frequency,
        "locale": newest.locale,
        "text": newest.text,
    }


def _of_others(others: Sequence[Wording]) -> dict[str, str]:
    """The fields of the other languages as they stand."""
    return {
        f"{field}:{one.locale}": value
        for one in others
        for field, value in (("name", one.title), ("often", one.frequency), ("text", one.text))
    }


def _ending(session: Session, topic: Topic) -> dict[str, Any] | None:
    """How many consents by a sale or an inquiry end by themselves in the next two months."""
    now = clock.now()
    people = expiring.ending(session, topic.id or 0, now=now, until=now + LOOK_AHEAD)
    return {"people": people, "days": LOOK_AHEAD.days} if people else None


def _asking(session: Session, topic: Topic, about: str, *, may_ask: bool) -> dict[str, Any] | None:
    """Whom registering made agree to this topic, or whose yes was to older words, and whether they are being asked; None where
    there is nobody."""
    if topic.mail_class == "service":
        return None
    row, seen = reasking.last(session, topic, about), reasking.outlook(session, topic, about, now=clock.now())
    if row is None and not seen.people and "law_forbids_asking" not in seen.left_out:
        return None
    return {
        "people": seen.people,
        "left_out": [{"people": count, "why": LEFT_OUT[why]} for why, count in sorted(seen.left_out.items())],
        "round": {"state": row.state, "asked": row.asked, "began": row.began_at} if row else None,
        "waiting": reasking.waiting(session, topic, about, now=clock.now()) if row else 0,
        "may": may_ask,
    }


def _wording(one: Wording, current: dict[str, Wording], per: dict[int, int]) -> dict[str, Any]:
    return {
        "version": one.version,
        "locale": one.locale,
        "text": one.text,
        "hash": one.sha256,
        "at": one.published_at,
        "people": per.get(one.id or 0, 0),
        "current": current[one.locale].id == one.id,
        "material": one.material,
    }


def _without(session: Session, wordings: Sequence[Wording], people: int, fell: str) -> dict[str, Any] | None:
    """Who would still be covered if a wording fell, named as in `?fell=2-en`; counted only when it is asked."""
    one = next((one for one in wordings if f"{one.version}-{one.locale}" == fell), None)
    if one is None:
        return None
    resting = preferences.people_per_topic(session, col(Consent.wording_id) == one.id).get(one.topic_id, 0)
    return {"version": one.version, "locale": one.locale, "people": resting, "rest": people - resting}
