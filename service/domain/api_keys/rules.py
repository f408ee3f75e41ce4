"""What a key may do, and when a repeated request is a repeat. Pure; asked by the API's doors and the keys'
actions.
"""

import hashlib
import re
from collections.abc import Iterable

from service.kit.errors import Conflict, Forbidden, Invalid, NotFound
from service.mail.headers import clean_header

SCOPES = {
    "people:read": "See the people of its own source.",
    "people:write": "Register people and change what its own source said of them.",
    "consents:attest": "Say that the site itself had an address confirmed.",
    "preferences:write": "Change what a person gets.",
    "topics:read": "See topics and their wordings.",
    "announcements:read": "See announcements and their reports.",
    "announcements:write": "Write, submit and change announcements.",
    "announcements:send": "Approve, schedule, pause, resume and cancel announcements.",
    "notices:write": "Write notices.",
    "notices:publish": "Publish notices and mail them.",
    "ledger:read": "Read the whole ledger, with what nobody is to be told of yet.",
    "metrics": "Read the metrics.",
}
ALL = "all"
PREFIX = "bk_"
NAME_LIMIT, IDEMPOTENCY_LIMIT = 120, 200
_SOURCE = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,58}[a-z0-9])?")
# Whose profiles these are: what people say of themselves, on /join and on /me. A key of that name would read and
# change their words as if it were they.
RESERVED_SOURCES = frozenset({"join", "me"})
_IDEMPOTENCY = re.compile(r"[!-~]{1,200}")


class KeyUnknown(NotFound):
    """There is no such key."""


class ScopeUnknown(Invalid):
    """There is no such scope."""


class ScopeMissing(Forbidden):
    """This key may not do that."""


class KeyNameInvalid(Invalid):
    """A key has a name of at most 120 characters, such as the site that uses it."""


class SourceInvalid(Invalid):
    """A source is a short word such as shop or crm: small letters, figures, dot, dash."""


class SourceReserved(Invalid):
    """That source is kept for what people say of themselves here; choose another word."""

    fix_hint = "Name the program the key is for, such as shop or crm."


class IdempotencyKeyInvalid(Invalid):
    """An Idempotency-Key is 1 to 200 visible ASCII characters."""


class IdempotencyKeyReused(Conflict):
    """This Idempotency-Key was used for another request already."""

    fix_hint = "Use a new key for a new request; the same key only to repeat the same one."


def expand(scopes: Iterable[str]) -> list[str]:
    """The scopes in the order of the table, `all` as every one of them. Raises `ScopeUnknown` (none is
    unknown too).
    """
    given = {scope.strip() for scope in scopes if scope.strip()}
    unknown = given - SCOPES.keys() - {ALL}
    if unknown or not given:
        known = ", ".join([*SCOPES, ALL])
        wrong = (
            f"There is no scope {min(unknown)!r}." if unknown else "Choose at least one thing the key may do."
        )
        raise ScopeUnknown(wrong, field="scopes", fix=f"Known: {known}")
    return [scope for scope in SCOPES if scope in given or ALL in given]


def may(scopes: Iterable[str], scope: str) -> bool:
    """Whether these scopes hold that one. An unknown one raises KeyError: a misspelt route must not stand
    open.
    """
    if scope not in SCOPES:
        raise KeyError(scope)
    return scope in scopes


def sees(topics: list[str] | None, slug: str) -> bool:
    """Whether a key bound to these topics (None: all) may know of that one; else it is as if it did not exist
    (H49).
    """
    return topics is None or slug in topics


def check_name(typed: str) -> str:
    """A key's name. Raises `KeyNameInvalid`."""
    name = clean_header(typed.strip(" "), field="name")
    if not name or len(name) > NAME_LIMIT:
        raise KeyNameInvalid(field="name")
    return name


def check_source(typed: str) -> str:
    """Whose people the key speaks of. Raises `SourceInvalid`, `SourceReserved`."""
    source = typed.strip()
    if not _SOURCE.fullmatch(source):
        raise SourceInvalid(field="source")
    if source in RESERVED_SOURCES:
        raise SourceReserved(field="source")
    return source


def check_idempotency_key(key: str) -> str:
    """The header's value (draft-ietf-httpapi-idempotency-key-header, section 2.1). Raises
    `IdempotencyKeyInvalid`.
    """
    if not _IDEMPOTENCY.fullmatch(key):
        raise IdempotencyKeyInvalid(field="Idempotency-Key")
    return key


def key_hash(plaintext: str) -> str:
    """What is stored of a key: its SHA-256 (the key itself has 256 bits of chance)."""
    return hashlib.sha256(plaintext.encode(errors="replace")).hexdigest()


def body_hash(method: str, path: str, body: bytes) -> str:
    """What makes two requests the same one: method, path and the bytes of the body."""
    return hashlib.sha256(f"{method} {path}\n".encode(errors="replace") + body).hexdigest()
