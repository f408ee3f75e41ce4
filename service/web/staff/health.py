"""How the installation is: the facts of `ops.health`, each with what it means and what to do."""

import re
from typing import Annotated, Any
from urllib.parse import urlsplit

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from service.config import Settings
from service.domain.staff.queries import SignedIn
from service.kit import clock
from service.ops import health
from service.ops.health import Fact
from service.web import deps
from service.web.sessions import require
from service.web.staff.frame import show

router = APIRouter()


@router.get("/staff/health")
async def page(request: Request, staff: Annotated[SignedIn, require("health:read")]) -> Response:
    """Examined now."""
    house, now = deps.house(request), clock.now()
    found = await run_in_threadpool(lambda: health.readiness(house, now=now))
    bad = sum(not fact.ok for fact in found.facts)
    sentence = (
        "All is well." if not bad else f"{bad} {'thing needs' if bad == 1 else 'things need'} somebody."
    )
    context: dict[str, Any] = {
        "sentence": sentence if found.ready else f"Not ready. {sentence}",
        "lines": [_line(fact) for fact in found.facts],
        "facts": _facts(house.settings),
        "at": now,
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
