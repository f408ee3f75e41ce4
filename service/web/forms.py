"""Reading what a form sent: urlencoded or multipart, whole and strict, into plain text.

Called by every page that takes a POST. Bodies are small (the guard sees to it), so they are read
whole before a field is believed.
"""

import io
import re
from collections.abc import Iterator
from pathlib import PureWindowsPath
from urllib.parse import parse_qsl

import python_multipart
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import Field, File
from starlette.requests import Request

from service.kit.errors import DomainError, Invalid

MOST_FIELDS = 1_000
_LINE_END = re.compile(rb"\r?\n")


class InvalidText(Invalid):
    """That holds signs that cannot be read; please type it again."""


class FormBroken(Invalid):
    """What your browser sent could not be read; please send it again."""


class GivenTwice(Invalid):
    """That was given more than once; please give one."""


class TooManyFields(DomainError):
    """That is more than a form can hold."""

    status = 413
    code = "body_too_large"


class Form:
    """The fields in the order they came."""

    def __init__(self, fields: list[tuple[str, str]], files: dict[str, tuple[str, bytes]]) -> None:
        self._fields, self._files = fields, files

    def __contains__(self, name: str) -> bool:
        return any(key == name for key, _ in self._fields)

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self._fields)

    def text(self, name: str, default: str = "") -> str:
        """One field, trimmed. Raises `GivenTwice` when it came more than once (H54)."""
        found = self.all(name)
        if len(found) > 1:
            raise GivenTwice(field=name)
        return found[0].strip() if found else default

    def all(self, name: str) -> list[str]:
        """Every value of a field."""
        return [value for key, value in self._fields if key == name]

    def prefixed(self, prefix: str) -> dict[str, str]:
        """Fields such as `topic:updates`, by what follows the prefix; the last value counts."""
        return {key.removeprefix(prefix): value for key, value in self._fields if key.startswith(prefix)}

    def all_prefixed(self, prefix: str) -> dict[str, list[str]]:
        """The same with every value."""
        return {name: self.all(prefix + name) for name in self.prefixed(prefix)}

    def values(self) -> dict[str, str]:
        """What was typed, to fill the page again."""
        return dict(self._fields)

    def file(self, name: str) -> bytes | None:
        """A file that was chosen, or None."""
        return self._files[name][1] if name in self._files else None

    def file_name(self, name: str) -> str:
        """What the chosen file is called on the machine it came from, without its folder."""
        return PureWindowsPath(self._files[name][0]).name if name in self._files else ""


EMPTY = Form([], {})


async def read(request: Request) -> Form:
    """The form of a request. Raises `InvalidText`, `FormBroken`, `TooManyFields`, `BodyTooLarge`."""
    return _any(await request.body(), request.headers.get("content-type", ""))


async def read_kindly(request: Request) -> Form:
    """The same for a stop: what cannot be read is as good as empty, nothing is refused (standards B5).

    Programs that write their multipart by hand end lines with a bare LF; nothing a stop brings is a file, so
    every line end may be made the right one.
    """
    body, kind = await request.body(), request.headers.get("content-type", "")
    try:
        return _any(_LINE_END.sub(b"\r\n", body) if _is_multipart(kind) else body, kind)
    except DomainError:
        return EMPTY


def _any(body: bytes, kind: str) -> Form:
    return _multipart(body, kind) if _is_multipart(kind) else _urlencoded(body)


def _is_multipart(kind: str) -> bool:
    return kind.lower().startswith("multipart/form-data")


def _urlencoded(body: bytes) -> Form:
    if body.count(b"&") >= MOST_FIELDS:
        raise TooManyFields
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, errors="strict")
    except UnicodeDecodeError as wrong:
        raise InvalidText from wrong
    return Form([(name, _clean(value, name)) for name, value in pairs], {})


def _multipart(body: bytes, kind: str) -> Form:
    fields: list[tuple[str, str]] = []
    files: dict[str, tuple[str, bytes]] = {}

    def on_field(field: Field) -> None:
        if len(fields) >= MOST_FIELDS:
            raise TooManyFields
        name = _decoded(field.field_name or b"", "")
        fields.append((name, _clean(_decoded(field.value or b"", name), name)))

    def on_file(file: File) -> None:
        if len(files) >= MOST_FIELDS:
            raise TooManyFields
        file.file_object.seek(0)
        content = file.file_object.read()
        if content:
            field = _decoded(file.field_name or b"", "")
            name = (file.file_name or b"").decode(
                errors="replace"
            )  # a label, in whatever signs its system writes
            files[field] = (_clean(name, field), content)
        file.close()

    try:
        python_multipart.parse_form({"Content-Type": kind.encode()}, io.BytesIO(body), on_field, on_file)
    except (FormParserError, ValueError) as broken:
        raise FormBroken from broken
    return Form(fields, files)


def _decoded(octets: bytes, name: str) -> str:
    try:
        return octets.decode()
    except UnicodeDecodeError as wrong:
        raise InvalidText(field=name or None) from wrong


def _clean(value: str, name: str) -> str:
    """Line ends as they are kept, and nothing a text cannot hold (H50)."""
    if "\x00" in value:
        raise InvalidText(field=name)
    return value.replace("\r\n", "\n")


def errors_of(error: DomainError, default: str = "") -> dict[str, str]:
    """What a page shows at its fields: the last part of the field's path and the sentence."""
    return {(error.field or default).rpartition(".")[2]: error.title}
