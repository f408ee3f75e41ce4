"""`/lost-link`: the way in without a mail at hand. The answer is the same for every address."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from service import fence
from service.domain.preferences import access
from service.kit import addresses, clock
from service.kit.addresses import Address
from service.kit.errors import Invalid
from service.web import deps, forms, pages
from service.web.public import limits

router = APIRouter()


@router.get("/lost-link")
async def page(request: Request) -> Response:
    """The form."""
    return await pages.public(request, "public/lost_link.html", {"values": {}, "errors": {}})


@router.post("/lost-link")
async def ask(request: Request) -> Response:
    """Mail the link, if the address is known (H55)."""
    limits.allowance.take(request)
    form = await forms.read(request)
    try:
        address = addresses.parse(form.text("email"))
    except Invalid as wrong:
        context = {"values": form.values(), "errors": pages.said(request, wrong)}
        return await pages.public(request, "public/lost_link.html", context, status=wrong.status)
    if not form.text("website"):
        await mail_link(request, address)
    return await pages.public(request, "public/lost_link_sent.html", {"email": address.shown})


async def mail_link(request: Request, address: Address) -> None:
    """Let the owner of an address have a link, in equal time for every address."""
    opened, lang = deps.house(request), pages.language(request)
    async with limits.even():
        await fence.perform(
            opened,
            lambda session: access.request_preferences_link(
                session, opened.ring, address, locale=lang, now=clock.now()
            ),
        )
