"""`/livez`, `/readyz`, `/metrics`: asked by machines. They say yes or no, and nothing about anybody (N20)."""

import ipaddress

from fastapi import APIRouter
from sqlmodel import Session
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from service.domain.api_keys import queries as api_keys
from service.domain.api_keys import rules as key_rules
from service.kit import clock
from service.kit.errors import Forbidden
from service.ops import health, metrics
from service.web import deps

router = APIRouter()

_PROXY_MARKS = ("x-forwarded-for", "x-forwarded-host", "forwarded", "via")


class MetricsClosed(Forbidden):
    """Metrics are shown on this machine itself, or to a key with the scope metrics."""


@router.get("/livez")
async def livez() -> Response:
    """The process answers."""
    return PlainTextResponse("ok\n")


@router.get("/readyz")
async def readyz(request: Request) -> Response:
    """The database is reachable and at head."""
    ready = (await run_in_threadpool(health.readiness, deps.house(request), now=clock.now())).ready
    return PlainTextResponse("ok\n" if ready else "not ready\n", 200 if ready else 503)


@router.get("/metrics")
async def numbers(request: Request) -> Response:
    """Prometheus text. Raises `MetricsClosed`."""
    opened = deps.house(request)
    if not _here(request) and not await deps.read(opened, lambda session: _may(request, session)):
        raise MetricsClosed
    text = await run_in_threadpool(metrics.text, opened, now=clock.now())
    return PlainTextResponse(text, media_type="text/plain; version=0.0.4")


def _here(request: Request) -> bool:
    """Whether somebody on this machine asks, and not a proxy for somebody else."""
    try:
        peer = ipaddress.ip_address(request.client.host if request.client else "")
    except ValueError:
        return False
    return peer.is_loopback and not any(mark in request.headers for mark in _PROXY_MARKS)


def _may(request: Request, session: Session) -> bool:
    kind, _, text = request.headers.get("authorization", "").partition(" ")
    key = api_keys.by_plaintext(session, text.strip(), now=clock.now()) if kind.lower() == "bearer" else None
    return key is not None and key_rules.may(key.scopes, "metrics")
