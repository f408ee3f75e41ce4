"""`/contact`: a question to people, answered by mail from the staff pages."""

from fastapi import APIRouter
from sqlmodel import Session
from starlette.requests import Request
from starlette.responses import Response

from service import fence
from service.domain.privacy import actions, rules
from service.kit import addresses, clock
from service.kit.errors import Invalid
from service.kit.ids import new_id
from service.web import deps, forms, pages
from service.web.forms import Form
from service.web.public import limits

router = APIRouter()


@router.get("/contact")
async def page(request: Request) -> Response:
    """The form; `?subject=` chooses what it is about."""
    return await _form(request, values={"subject": request.query_params.get("subject", "")}, errors={})


@router.post("/contact")
async def ask(request: Request) -> Response:
    """Keep the question for staff."""
    limits.allowance.take(request)
    form = await forms.read(request)
    errors = _faults(request, form)
    if errors:
        return await _form(request, values=form.values(), errors=errors, status=422)
    reference = new_id("q") if form.text("website") else await _ask(request, form)
    return await pages.public(request, "public/contact_sent.html", {"reference": reference})


def _faults(request: Request, form: Form) -> dict[str, str]:
    """Everything that is to be mended, in the order of the page."""
    errors: dict[str, str] = {}
    for check in (
        lambda: rules.check_text(form.text("message"), field="message"),
        lambda: addresses.parse(form.text("email")),
        lambda: rules.check_name(form.text("name")),
    ):
        try:
            check()
        except Invalid as wrong:
            errors |= pages.said(request, wrong)
    return errors


async def _ask(request: Request, form: Form) -> str:
    opened, lang = deps.house(request), pages.language(request)

    def act(session: Session) -> str:
        asked = actions.ask(
            session,
            opened.ring,
            address=addresses.parse(form.text("email")),
            name=form.text("name"),
            subject=rules.SUBJECTS.get(form.text("subject"), rules.SUBJECTS["other"]),
            text=form.text("message"),
            locale=lang,
            now=clock.now(),
        )
        return asked.public_id

    return (await fence.perform(opened, act)).value


async def _form(
    request: Request, *, values: dict[str, str], errors: dict[str, str], status: int = 200
) -> Response:
    say = pages.speaker(request)
    chosen = values.get("subject")
    subjects = [
        {"value": slug, "label": say(label), "selected": slug == chosen}
        for slug, label in rules.SUBJECTS.items()
    ]
    context = {"subjects": subjects, "values": values, "errors": errors}
    return await pages.public(request, "public/contact.html", context, status=status)
