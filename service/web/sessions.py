"""Who is signed in: the cookie of a staff session, and the permission that every staff route declares.

The session itself is a row (staff.queries); the browser holds a random token in an HttpOnly cookie. Whether a
form comes from our own page is checked before any route, by the guard.
"""

from typing import Any

from fastapi import Depends, Request
from starlette.responses import Response

from service import fence
from service.domain.staff import actions, queries, rules
from service.domain.staff.queries import SignedIn
from service.kit import clock
from service.kit.errors import DomainError
from service.web import deps

COOKIE = "staff"


class NotSignedIn(DomainError):
    """Please sign in first."""

    status = 401


async def signed_in(request: Request) -> SignedIn:
    """Whoever asks, as a dependency. Raises `NotSignedIn`."""
    found = await who(request)
    if found is None:
        raise NotSignedIn
    return found


async def who(request: Request) -> SignedIn | None:
    """Whoever asks, or None; looked up once per request."""
    if not hasattr(request.state, "signed_in"):
        request.state.signed_in = await _look_up(request)
    found: SignedIn | None = request.state.signed_in
    return found


async def _look_up(request: Request) -> SignedIn | None:
    token = deps.get_cookie(request, COOKIE)
    if not token:
        return None
    house, now = deps.house(request), clock.now()
    found = await deps.read(house, lambda session: queries.member_by_session(session, token, now=now))
    if found is not None and found.stale:
        await fence.perform(house, lambda session: actions.touch(session, found, now=now))
    return found


class Permission:
    """Lets in only those whose role holds a permission; a misspelt one fails when it is declared."""

    def __init__(self, name: str) -> None:
        rules.may("", name)
        self.name = name

    async def __call__(self, request: Request) -> SignedIn:
        """Raises `NotSignedIn` or `NotPermitted`."""
        found = await signed_in(request)
        if not rules.may(found.role, self.name):
            raise rules.NotPermitted
        return found


def require(permission: str) -> Any:
    """`Depends` on somebody signed in who holds this permission."""
    return Depends(Permission(permission))


def begin(request: Request, response: Response, token: str) -> None:
    """Put a new session's token into the browser: made at this sign-in, so none planted before counts."""
    deps.set_cookie(response, deps.house(request), COOKIE, token, max_age=int(rules.ABSOLUTE.total_seconds()))


def forget(request: Request, response: Response) -> None:
    """Take the token out of the browser."""
    deps.clear_cookie(response, deps.house(request), COOKIE)
