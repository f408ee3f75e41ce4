"""How the installation is: what `bidden doctor` finds, each with what it means and what to do."""

import re
from collections.abc import Callable
from typing import Annotated, Any
from urllib.parse import urlsplit

import anyio
from fastapi import APIRouter, Request
from starlette.responses import Response

from service.config import Settings
from service.domain.staff.queries import SignedIn
from service.kit import clock
from service.ops import doctor
from service.ops.health import Fact
from service.web import deps
from service.web.sessions import require
from service.web.staff.frame import show

router = APIRouter()

Reader = Annotated[SignedIn, require("health:read")]
_ONE_AT_A_TIME = anyio.CapacityLimiter(1)  # asking the network may take some seconds, and holds a thread


@router.get("/staff/health")
async def page(request: Request, staff: Reader) -> Response:
    """What can be seen without the network, examined now."""
    house, now = deps.house(request), clock.now()
    facts = await _examined(lambda: doctor.inside(house, now=now))
    return await _page(request, staff, facts, asked=False)


@router.post("/staff/health")
async def examine(request: Request, staff: Reader) -> Response:
    """The same and what is outside: the public address, the mail server, DNS. By a button, for it takes a while."""
    house, now = deps.house(request), clock.now()
    facts = await _examined(lambda: doctor.examine(house, now=now), limiter=_ONE_AT_A_TIME)
    return await _page(request, staff, facts, asked=True)


async def _examined(
    look: Callable[[], list[Fact]], *, limiter: anyio.CapacityLimiter | None = None
) -> list[Fact]:
    return await anyio.to_thread.run_sync(look, limiter=limiter)


async def _page(request: Request, staff: SignedIn, found: list[Fact], *, asked: bool) -> Response:
    bad = sum(not fact.ok for fact in found)
    context: dict[str, Any] = {
        "sentence": "All is well."
        if not bad
        else f"{bad} {'thing needs' if bad == 1 else 'things need'} somebody.",
        "lines": [_line(fact) for fact in found],
        "facts": _facts(deps.house(request).settings),
        "asked": asked,
        "at": clock.now(),
    }
    return await show(request, staff, "health", "staff/health.html", lambda _: context)


def _facts(settings: Settings) -> list[dict[str, str]]:
    """What this installation is, without a secret in it."""
    servers = [urlsplit(one) for one in re.split(r",(?=\s*smtps?://)", settings.wire_url)]
    smtp = ", then ".join(f"{one.hostname}:{one.port or 25}" for one in servers)
    return [
        {"name": "Readers see", "value": settings.base_url},
        {
            "name": "Mail goes to",
            "value": "the captured inbox" if settings.practice else smtp,
        },
        {"name": "Database", "value": settings.database.partition(":")[0].partition("+")[0]},
        {"name": "Hold after “now”", "value": f"{settings.hold_seconds} s"},
    ]


def _line(fact: Fact) -> dict[str, Any]:
    return {
        "level": "ok" if fact.ok else "bad",
        "name": fact.name,
        "text": fact.says,
        "why": None if fact.ok else fact.why,
        "fix": None if fact.ok else fact.fix,
    }
