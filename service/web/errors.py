"""What went wrong, as a page: the only place where a domain error becomes HTML for readers.

Called by `service.app`. A page says what the error's class says and never what somebody sent (H44): an error
is shown to whoever has the link or stands behind the screen.
"""

from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from service.db.engine import AWAY
from service.domain.links.rules import LinkExpired, LinkNotRecognised
from service.domain.people import queries as people
from service.domain.people.tables import Person
from service.kit.errors import Conflict, DomainError, Forbidden, Invalid, NotFound, TooMany, lacks_room
from service.kit.methods import allowed
from service.web import deps, pages

HEADINGS = {
    400: "That did not work",
    403: "Not done",
    404: "Nothing here",
    405: "That did not work",
    409: "Not any more",
    413: "That is too much",
    422: "Not quite",
    429: "A little later, please",
    500: "Something broke on our side",
    503: "A little later, please",
}


class ServerError(DomainError):
    """Nothing you did was wrong. Please try again in a minute."""

    status = 500


class Busy(DomainError):
    """That could not be kept just now, so it is not done. Please try again in a moment."""

    status = 503


class MethodNotAllowed(DomainError):
    """This page cannot do that."""

    status = 405


class Unreadable(Invalid):
    """What your browser sent could not be read; please send it again."""


def as_domain(error: Exception) -> DomainError:
    """Any exception as a fact of the domain."""
    if isinstance(error, DomainError):
        return error
    if isinstance(error, AWAY) or lacks_room(error):
        return Busy()
    if isinstance(error, RequestValidationError):
        return Unreadable()
    if isinstance(error, HTTPException):
        kinds = {
            403: Forbidden,
            404: NotFound,
            405: MethodNotAllowed,
            409: Conflict,
            422: Unreadable,
            429: TooMany,
        }
        return kinds.get(error.status_code, ServerError if error.status_code >= 500 else Unreadable)()
    return ServerError()


async def answer(request: Request, error: Exception) -> Response:
    """The page for an error."""
    fact = as_domain(error)
    person = await _reader(request) if fact.status < 500 else None
    if isinstance(fact, LinkNotRecognised):
        return await pages.public(
            request, "public/link_unknown.html", {"values": {}, "errors": {}}, status=fact.status
        )
    if isinstance(fact, LinkExpired):
        too_old: dict[str, Any] = {"stop_action": None, "values": {}, "errors": {}}
        return await pages.public(
            request, "public/link_expired.html", too_old, status=fact.status, person=person
        )
    say = pages.speaker(request, person)
    context = {
        "title": say(HEADINGS.get(fact.status, HEADINGS[400])),
        "sentence": say(fact.title),
        "fix": say(fact.fix_hint) if fact.fix_hint else None,
        "code": f"{fact.code} {request.state.request_id}" if fact.status >= 500 else fact.code,
        "link": {"href": "/", "label": say("To the first page")},
        "error": True,
    }
    response = await pages.public(request, "public/message.html", context, status=fact.status, person=person)
    if isinstance(error, HTTPException) and error.headers:
        response.headers.update(error.headers)
    if fact.status == 405:
        response.headers["Allow"] = allowed(request)
    if fact.status == 503:
        response.headers["Retry-After"] = "2"
    return response


async def _reader(request: Request) -> Person | None:
    """Whose link stands in the path, for their language; nobody while the database cannot say."""
    link = getattr(request.state, "link", None)
    if link is None:
        return None
    try:
        return await deps.read(deps.house(request), lambda session: people.by_alias(session, link.person))
    except AWAY:
        return None
