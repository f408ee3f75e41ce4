"""Errors as programs read them: problem+json (RFC 9457) with a stable `code`. Called by `door` only.

No answer repeats what was sent (H44): a validation error names the field and says what should stand there.
"""

import logging
import re
from collections.abc import Sequence
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from sqlalchemy.exc import DataError
from starlette.exceptions import HTTPException

from service.db.engine import AWAY
from service.kit.errors import DomainError, Invalid, lacks_room
from service.kit.methods import allowed

_log = logging.getLogger(__name__)
_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,39}")
_OBJECT = "This must be an object: names and values between braces."
# Findings that pydantic words by the names of Python's types or of our classes, which say nothing to a sender.
_EXPECTED = {
    "model_type": _OBJECT,
    "model_attributes_type": _OBJECT,
    "dict_type": _OBJECT,
    "mapping_type": _OBJECT,
    "list_type": "This must be a list.",
    "string_type": "This must be a text.",
    "bool_type": "This must be true or false.",
    "bool_parsing": "This must be true or false.",
    "int_type": "This must be a whole number.",
    "int_from_float": "This must be a whole number.",
    "int_parsing": "This must be a whole number.",
}
_PHRASES = {
    404: ("not_found", "There is nothing here by that name."),
    405: ("method_not_allowed", "This path knows no such method."),
}


class JsonInvalid(DomainError):
    """The body is not JSON as we take it: one value, at most 32 levels deep, no key twice."""

    status = 400


class KeyMissing(DomainError):
    """This needs an API key: Authorization: Bearer and the key."""

    status = 401
    fix_hint = "Make one with `bidden keys create`, or in Settings."


class KeyNotRecognised(DomainError):
    """That API key is not known here, has expired or was revoked."""

    status = 401


class BodyTooLarge(DomainError):
    """That is more than one request may bring."""

    status = 413


class MediaTypeUnsupported(DomainError):
    """The body's Content-Type is not one that is read here."""

    status = 415


class InvalidText(Invalid):
    """That holds something that is not text: a NUL, half a character, or bytes that are not UTF-8."""


class FieldMissing(Invalid):
    """A field is missing that is needed."""


class FieldInvalid(Invalid):
    """A field holds something of another kind than it should."""


class UnknownField(Invalid):
    """There is no such field or parameter here."""


def from_pydantic(errors: Sequence[Any], *, skip: int = 0) -> DomainError:
    """The first of pydantic's findings as one of ours; `skip` leaves out leading parts of its place such as `query`."""
    first = errors[0]
    field = path(first["loc"][skip:])
    if first["type"] == "missing":
        return FieldMissing(field=field)
    if first["type"] == "extra_forbidden":
        return UnknownField(field=field)
    return FieldInvalid(_EXPECTED.get(first["type"]) or f"{first['msg']}.", field=field)


def path(parts: Sequence[str | int]) -> str | None:
    """Where something stands, as `consents[0].evidence.at`. A name the sender made up is shown only if it is plain."""
    shown = ""
    for part in parts:
        if isinstance(part, int):
            shown += f"[{part}]"
        elif _PLAIN_NAME.fullmatch(part):
            shown += f".{part}" if shown else part
        else:
            break
    return shown or None


def status_of(error: DomainError) -> int:
    """The error's own status; a name inside a body that stands for nothing is a wrong field, not a missing page."""
    return 422 if error.status == 404 and error.field else error.status


def problem(error: DomainError) -> Response:
    """A domain error as its answer."""
    extra: dict[str, Any] = {}
    if hasattr(error, "choices"):
        extra["choices"] = list(error.choices)
    if hasattr(error, "findings"):
        extra["findings"] = [
            {"code": one.code, "detail": one.sentence, "field": one.field, "fix": one.fix}
            for one in error.findings
        ]
    return answer(
        status_of(error),
        error.code,
        error.title,
        detail=error.detail,
        field=error.field,
        fix=error.fix,
        extra=extra,
    )


def answer(
    status: int,
    code: str,
    title: str,
    *,
    detail: str | None = None,
    field: str | None = None,
    fix: str | None = None,
    extra: dict[str, Any] | None = None,
) -> Response:
    """The answer itself, every member always there (design.md 6)."""
    body = {
        "type": f"urn:bidden:error:{code}",
        "title": title,
        "status": status,
        "code": code,
        "detail": detail or title,
        "field": field,
        "fix": fix,
        **(extra or {}),
    }
    headers = {"cache-control": "no-store"}
    if status == 401:
        headers["www-authenticate"] = "Bearer"
    if status in (429, 503):
        headers["retry-after"] = "2"
    return Response(orjson.dumps(body), status, headers, "application/problem+json")


def install(app: FastAPI) -> None:
    """Teach an app these answers."""

    async def domain_error(_request: Request, error: Exception) -> Response:
        assert isinstance(error, DomainError)
        return problem(error)

    async def not_valid(_request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError | ValidationError)
        return problem(from_pydantic(error.errors(), skip=1))

    async def http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        code, title = _PHRASES.get(error.status_code, ("bad_request", "That request cannot be read."))
        response = answer(error.status_code, code, title)
        if error.status_code == 405:
            response.headers["allow"] = allowed(request)
        return response

    async def busy(_request: Request, _error: Exception) -> Response:
        return answer(503, "busy", "The database is busy; please try again in a moment.")

    async def too_long(_request: Request, _error: Exception) -> Response:
        return problem(FieldInvalid("A value is longer, or larger, than can be kept."))

    async def our_fault(request: Request, error: Exception) -> Response:
        if lacks_room(error):
            return await busy(request, error)
        _log.error(
            "a request failed",
            exc_info=error,
            extra={"facts": {"method": request.method, "route": route_of(request)}},
        )
        return answer(500, "internal", "Something went wrong on our side; nothing was changed.")

    app.add_exception_handler(DomainError, domain_error)
    app.add_exception_handler(RequestValidationError, not_valid)
    app.add_exception_handler(HTTPException, http_error)
    for kind in (*AWAY, MemoryError):
        app.add_exception_handler(kind, busy)
    app.add_exception_handler(DataError, too_long)
    app.add_exception_handler(Exception, our_fault)


def route_of(request: Request) -> str:
    """The route's pattern, never the path itself, which may name somebody (P6)."""
    return getattr(request.scope.get("route"), "path", "unknown")
