"""What handlers of pages lean on: the house, reading off the event loop, cookies, who is at the other end.

Called by the public and the staff pages; the API has its own.
"""

import base64
import hmac
import ipaddress
import json
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, TypeVar

from sqlmodel import Session
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from service.db.session import reading
from service.domain.brands import queries as brands
from service.domain.consent.evidence import with_kept_ip
from service.kit.sealing import keyed_digest
from service.kit.signing import Keyring
from service.ops.house import House

T = TypeVar("T")

_LOCAL = re.compile(r"/(?!/)[A-Za-z0-9/_.~?&=%-]*")


def house(request: Request) -> House:
    """The installation this application was built for."""
    found: House = request.app.state.house
    found.look()
    return found


async def read(opened: House, look: Callable[[Session], T]) -> T:
    """Run `look` in a reading transaction, in a thread; what is shown comes out of it as plain values."""

    def work() -> T:
        with reading(opened.engine) as session:
            return look(session)

    return await run_in_threadpool(work)


# --- cookies (standards N13) ---


def _cookie_name(opened: House, name: str) -> str:
    return f"__Host-bidden-{name}" if _https(opened) else f"bidden-{name}"


def _https(opened: House) -> bool:
    return opened.settings.base_url.startswith("https:")


def set_cookie(response: Response, opened: House, name: str, value: str, *, max_age: int) -> None:
    """Set one of our cookies for `max_age` seconds: HttpOnly, SameSite=Lax; `__Host-` and Secure on https."""
    response.set_cookie(
        _cookie_name(opened, name),
        value,
        max_age=max_age,
        path="/",
        httponly=True,
        samesite="lax",
        secure=_https(opened),
    )


def get_cookie(request: Request, name: str) -> str | None:
    """The value of one of our cookies, if it came along."""
    return request.cookies.get(_cookie_name(house(request), name))


def clear_cookie(response: Response, opened: House, name: str) -> None:
    """End a cookie."""
    response.delete_cookie(
        _cookie_name(opened, name), path="/", httponly=True, samesite="lax", secure=_https(opened)
    )


def carries_session(request: Request) -> bool:
    """Whether somebody's session came along (under either name; the guard asks before anything is known)."""
    return any(
        f"{prefix}bidden-{name}" in request.cookies for prefix in ("", "__Host-") for name in ("staff", "me")
    )


def signed(ring: Keyring, purpose: str, facts: dict[str, Any], *, now: datetime, valid_for: timedelta) -> str:
    """Facts for a cookie that nobody can write but us, good for a while; not secret from whoever holds it."""
    plain = json.dumps({**facts, "until": int((now + valid_for).timestamp())})
    packed = base64.urlsafe_b64encode(plain.encode()).decode().rstrip("=")
    return f"{packed}.{keyed_digest(ring.session_keys(purpose)[0], packed)}"


def unsigned(ring: Keyring, purpose: str, value: str | None, *, now: datetime) -> dict[str, Any] | None:
    """What `signed` packed, while it is good; None of anything else."""
    packed, _, mac = (value or "").partition(".")
    if not packed.isascii() or not any(
        _equal(keyed_digest(key, packed), mac) for key in ring.session_keys(purpose)
    ):
        return None
    facts: dict[str, Any] = json.loads(base64.urlsafe_b64decode(packed + "=" * (-len(packed) % 4)))
    return facts if facts["until"] > now.timestamp() else None


def _equal(ours: str, theirs: str) -> bool:
    return hmac.compare_digest(ours.encode(), theirs.encode())


# --- the other end ---


def local_path(text: str | None, default: str) -> str:
    """Where `next` may lead: a plain path of ours, else `default` (H41)."""
    if (
        not text
        or not _LOCAL.fullmatch(text)
        or ".." in text
        or "//" in text
        or re.search(r"%(2f|5c|00|0d|0a)", text, re.IGNORECASE)
    ):
        return default
    return text


def network(request: Request, *, v4: int = 24, v6: int = 48) -> str:
    """The network of whoever connected, never the single address; what a proxy claims is not believed."""
    try:
        peer = ipaddress.ip_address(request.client.host if request.client else "")
    except ValueError:
        return ""
    return str(ipaddress.ip_network(f"{peer}/{v4 if peer.version == 4 else v6}", strict=False))


def evidence(request: Request, session: Session, *, path: str, now: datetime) -> dict[str, Any]:
    """What is kept to show how somebody said it: page, time, program, and the network as staff have set it."""
    found, kept = shown_by(request, path=path, now=now), brands.setting(session, "ip_evidence")
    return with_kept_ip(session, house(request).ring, found, kept, now=now)


def shown_by(request: Request, *, path: str, now: datetime) -> dict[str, Any]:
    """The same with the whole address, for a registration, which keeps of it what staff have set. `path` is the page without any
    token."""
    found = {
        "url": house(request).settings.base_url + path,
        "at": now.isoformat(timespec="seconds"),
        "user_agent": request.headers.get("user-agent", "")[:300],
    }
    if request.client:
        found["ip"] = request.client.host
    return {name: value for name, value in found.items() if value}
