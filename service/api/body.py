"""Reading what a request brings, strictly and within bounds. Called by `deps` and the bulk door.

What is refused: more bytes than allowed (413), JSON with a key twice, deeper than 32 levels or with NaN (400), text that
no database keeps (422 `invalid_text`), fields nobody knows (422 `unknown_field`).
"""

import json
from typing import Any, NoReturn, TypeVar

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, ConfigDict, ValidationError

from service.api import errors

MOST_BYTES = 2 * 1024 * 1024
MOST_DEEP = 32
_IN_LOOP = 64 * 1024  # what takes longer than a millisecond to read is read in a thread
_OWN_RULE = {
    "email",
    "first_name",
    "last_name",
    "company",
    "postal_address",
    "telephone",
    "subject",
    "title",
    "preheader",
}

Model = TypeVar("Model", bound=BaseModel)


class Strict(BaseModel):
    """A body: exactly these fields, of exactly these types."""

    model_config = ConfigDict(extra="forbid", strict=True)


async def raw(request: Request, most: int = MOST_BYTES) -> bytes:
    """The body's bytes, read once. Raises `BodyTooLarge` before more than `most` bytes are held."""
    kept: bytes | None = getattr(request.state, "raw_body", None)
    if kept is not None:
        return kept
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > most:
        raise errors.BodyTooLarge(fix=f"At most {most // 1024 // 1024} MiB.")
    read = bytearray()
    async for chunk in request.stream():
        read += chunk
        if len(read) > most:
            raise errors.BodyTooLarge(fix=f"At most {most // 1024 // 1024} MiB.")
    request.state.raw_body = bytes(read)
    return bytes(read)


async def read(request: Request, model: type[Model]) -> Model:
    """The body as one of our models; no body at all is read as an empty object."""
    content = await raw(request)
    media = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if content and media != "application/json" and not media.endswith("+json"):
        raise errors.MediaTypeUnsupported(fix="Send application/json.")
    if len(content) > _IN_LOOP:
        return await run_in_threadpool(understand, content, model)
    return understand(content or b"{}", model)


def understand(content: bytes, model: type[Model]) -> Model:
    """Bytes of JSON as a model. Raises what `parse` raises, `FieldMissing`, `FieldInvalid` or `UnknownField`."""
    value = parse(content)
    try:
        return model.model_validate(value)
    except ValidationError as wrong:
        raise errors.from_pydantic(
            wrong.errors(include_url=False, include_input=False, include_context=False)
        ) from None


def parse(content: bytes) -> Any:
    """One JSON value (RFC 8259). Raises `JsonInvalid`, `InvalidText` or `FieldInvalid`."""
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise errors.InvalidText from None
    try:
        value = json.loads(text, object_pairs_hook=_object, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise errors.JsonInvalid from None
    _check(value)
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a key twice")
    return made


def _no_constant(_name: str) -> NoReturn:
    raise ValueError("NaN and Infinity are not JSON")


def _check(value: Any) -> None:
    """Walk the value: depth, numbers that fit 64 bits, text that can be stored."""
    left: list[tuple[Any, tuple[str | int, ...]]] = [(value, ())]
    while left:
        one, place = left.pop()
        if isinstance(one, str):
            _check_text(one, place)
        elif isinstance(one, dict | list):
            if len(place) >= MOST_DEEP:
                raise errors.JsonInvalid
            if isinstance(one, dict):
                for name in one:
                    _check_text(name, place)
            left.extend(
                (inner, (*place, key))
                for key, inner in (one.items() if isinstance(one, dict) else enumerate(one))
            )
        elif isinstance(one, int) and abs(one) >= 1 << 63:
            raise errors.FieldInvalid("A number has at most 64 bits.", field=errors.path(place))


def _check_text(text: str, place: tuple[str | int, ...]) -> None:
    """H50. A NUL in a name, address or subject is left to the rule of that field, which has a clearer word for it."""
    if not text.isprintable():
        if any("\ud800" <= sign <= "\udfff" for sign in text):
            raise errors.InvalidText(field=errors.path(place))
        if "\x00" in text and not (place and place[-1] in _OWN_RULE):
            raise errors.InvalidText(field=errors.path(place))
