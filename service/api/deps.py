"""What every route of the API asks for: who calls, what was sent, and the one way to write. Called by `api.v1`."""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Header, Query, Request, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session

from service import fence
from service.api import body as bodies
from service.api import errors
from service.db.session import reading, transaction
from service.domain.api_keys import actions as api_keys
from service.domain.api_keys import queries as keys
from service.domain.api_keys import rules
from service.kit import clock
from service.ops.house import House

Model = TypeVar("Model", bound=BaseModel)
Result = TypeVar("Result")
NOTE = "Recorded; a message already on its way may still arrive."
_PLAIN_ID = re.compile(r"[a-z]_[a-z0-9]{1,40}")
_bearer = HTTPBearer(
    auto_error=False, description="An API key, made with `bidden keys create` or in Settings."
)


@dataclass(frozen=True)
class Caller:
    """The key behind a request: whose people it speaks of, what it may do, which topics it may know of (None: all)."""

    key_id: int
    by: str
    source: str
    scopes: list[str]
    topics: list[str] | None

    def sees(self, slug: str) -> bool:
        """Whether that topic exists for this key."""
        return rules.sees(self.topics, slug)

    def may(self, scope: str) -> bool:
        """Whether the key holds that scope too."""
        return rules.may(self.scopes, scope)


def house(request: Request) -> House:
    """The installation behind this app."""
    made: House = request.app.state.house
    made.look()
    return made


def key(scope: str) -> Callable[..., Caller]:
    """A dependency: the caller, if the key in `Authorization: Bearer` holds that scope."""

    def caller(
        request: Request, given: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)] = None
    ) -> Caller:
        return key_of(house(request), given.credentials if given else None, scope, now=clock.now())

    return caller


def key_of(installation: House, text: str | None, scope: str, *, now: datetime) -> Caller:
    """Who holds this key; a moment of its use is noted at most once a minute. Blocks: call it in a thread.

    Raises `KeyMissing`, `KeyNotRecognised` (401) or `ScopeMissing` (403).
    """
    if not text:
        raise errors.KeyMissing
    with reading(installation.engine) as session:
        known = keys.by_plaintext(session, text, now=now)
    if known is None or known.id is None:
        raise errors.KeyNotRecognised
    if not rules.may(known.scopes, scope):
        raise rules.ScopeMissing(f"This key may not do that: it lacks the scope {scope}.")
    if keys.wants_touch(known, now=now):
        with transaction(installation.engine) as session:
            api_keys.touch(session, known.id, now=now)
    return Caller(known.id, f"key:{known.public_id}", known.source, known.scopes, known.topics)


def body(model: type[Model]) -> Callable[[Request], Awaitable[Model]]:
    """A dependency: the body as that model. It is read after the key was checked."""

    async def read(request: Request) -> Model:
        return await bodies.read(request, model)

    read.model = model  # type: ignore[attr-defined]  # the API's description finds it here
    return read


def plain_id(given: str) -> str:
    """A public id as it was asked for, or one nobody has: what cannot be an id is absent, not an error (H49)."""
    return given if _PLAIN_ID.fullmatch(given) else ""


@dataclass(frozen=True)
class Paging:
    """Which page of a list."""

    cursor: str | None
    limit: int | None


def paging(
    cursor: Annotated[str | None, Query(max_length=400, description="`next` of the page before.")] = None,
    limit: Annotated[int | None, Query(ge=1, le=200, description="Rows on a page; 50 when not said.")] = None,
) -> Paging:
    """A dependency: keyset paging, the same on every list."""
    return Paging(cursor, limit)


Page = Annotated[Paging, Depends(paging)]


def known_parameters(request: Request) -> None:
    """A dependency of every route: a query parameter that nobody reads is refused, not ignored (H48)."""
    names = {field.alias for field in _query_fields(request.scope["route"].dependant)}
    for given in request.query_params:
        if given not in names:
            raise errors.UnknownField(field=errors.path([given]))


def _query_fields(dependant: Any) -> list[Any]:
    return [
        *dependant.query_params,
        *(field for inner in dependant.dependencies for field in _query_fields(inner)),
    ]


def idempotency(
    _key: Annotated[
        str | None, Header(alias="Idempotency-Key", description="1 to 200 visible ASCII characters.")
    ] = None,
) -> None:
    """Only says in the API's description that the header is heeded; `change` reads it."""


def read(request: Request, ask: Callable[[Session], Result]) -> Result:
    """A reading transaction around one question; for routes that FastAPI runs in a thread."""
    with reading(house(request).engine) as session:
        return ask(session)


async def change(
    request: Request, caller: Caller, act: Callable[[Session], BaseModel], *, created: bool = False
) -> Response:
    """The one way to write: one transaction, the repeat of a POST answered as the first time, then the fence.

    `act` answers with the body; it is 201 when `created` or when the body says so itself (`created: true`). What could
    not be waited for is answered 202 (P1).
    """
    now = clock.now()
    content = await bodies.raw(request)
    repeat = request.headers.get("idempotency-key") if request.method == "POST" else None
    asked = rules.body_hash(request.method, request.url.path, content)

    def whole(session: Session) -> api_keys.Answer:
        kept = recall(session, caller, repeat, asked, now=now)
        if kept is not None:
            return kept
        made = act(session)
        status = 201 if created or getattr(made, "created", False) is True else 200
        answer = api_keys.Answer(status, made.model_dump_json())
        keep(session, caller, repeat, answer)
        return answer

    fenced = await perform(house(request), whole)
    if not fenced.settled:
        return _answer(202, json.dumps({**json.loads(fenced.value.text), "note": NOTE}))
    return _answer(fenced.value.status, fenced.value.text)


def recall(
    session: Session, caller: Caller, repeat: str | None, asked: str, *, now: datetime
) -> api_keys.Answer | None:
    """The answer of the same request before, if it was made; what it took away is waited for again (P1)."""
    kept = api_keys.replay(session, caller.key_id, repeat, asked, now=now) if repeat is not None else None
    if kept is None:
        return None
    fence_seq, _, text = kept.text.partition("\n")
    if fence_seq:
        session.info["fence_seq"] = int(fence_seq)
    return api_keys.Answer(kept.status, text)


def keep(session: Session, caller: Caller, repeat: str | None, answer: api_keys.Answer) -> None:
    """Keep an answer for its repeats, on its first line the entry they have to wait for."""
    if repeat is not None:
        text = f"{session.info.get('fence_seq', '')}\n{answer.text}"
        api_keys.remember(session, caller.key_id, repeat, status=answer.status, text=text)


async def perform(installation: House, act: Callable[[Session], Result]) -> fence.Fenced[Result]:
    """`fence.perform`, done once more when two requests made the same thing at once: the second finds it there."""
    try:
        return await fence.perform(installation, act)
    except IntegrityError:
        await asyncio.sleep(0.01)
        return await fence.perform(installation, act)


def _answer(status: int, text: str) -> Response:
    return Response(text, status, media_type="application/json")
