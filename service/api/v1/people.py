"""People as a site knows them: registered and changed by its own id, each source seeing what it sent itself."""

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, Field, WithJsonSchema
from sqlmodel import Session

from service.api import deps
from service.api.body import Strict
from service.domain.mailings.tables import Address
from service.domain.people import queries as people
from service.domain.people import rules
from service.domain.people.tables import Identity, Person
from service.domain.preferences import registration as preferences
from service.domain.privacy import erasing
from service.kit import clock
from service.kit.errors import DomainError
from service.kit.signing import Keyring
from service.ops import erasure

router = APIRouter(tags=["people"])
Reader = Annotated[deps.Caller, Depends(deps.key("people:read"))]
Writer = Annotated[deps.Caller, Depends(deps.key("people:write"))]
Email = Annotated[
    Any, WithJsonSchema({"type": "string", "format": "email"})
]  # whatever it is, the domain has the better word

STAYS = (
    "A keyed hash of the address on the do-not-mail list and one of your id, so that the next import does not bring them back; "
    "the ledger's entries, whose personal parts cannot be opened any more."
)


class Evidence(Strict):
    """Where and when the person agreed. `at` is an ISO 8601 instant with its offset."""

    url: str | None = None
    ip: str | None = None
    user_agent: str | None = None
    at: str | None = None


class Attested(Strict):
    """The site itself had the address confirmed; taken only from a key with the scope `consents:attest`."""

    at: str
    method: str | None = None


class ConsentItem(Strict):
    """One answer about one topic. `given: true` needs `source` and `evidence.at`; a no repeated counts as a later word where it brings
    a later `evidence.at`."""

    topic: str
    given: bool
    wording: str | None = Field(
        None, description="The id of the wording shown; the one current at `evidence.at` when not said."
    )
    source: str | None = None
    evidence: Evidence | None = None
    confirmed: Attested | None = None
    basis: Literal["implied_purchase", "implied_inquiry"] | None = Field(
        None,
        description="What permits in place of a yes of their own, from `evidence.at` on: a purchase for two years, an inquiry for "
        "six months, where the law of their `country` says so. Needs the scope `consents:attest`.",
    )


class Profile(Strict):
    """What the policy names, and nothing else."""

    first_name: str | None = None
    last_name: str | None = None
    company: str | None = None
    postal_address: str | None = None
    telephone: str | None = None


class PersonIn(Strict):
    """A person as a site knows them. What is not said stays as it is."""

    email: Email
    locale: str | None = None
    zone: str | None = None
    profile: Profile | None = None
    attributes: dict[str, Any] | None = Field(
        None, description="Texts, whole numbers, yes or no, or lists of texts."
    )
    consents: list[ConsentItem] = Field(default_factory=list, max_length=50)


class ConsentResult(BaseModel):
    """What became of one answer: given, renewed, unchanged, confirmation_sent, kept_no, withdrawn, refused …"""

    topic: str
    state: str
    result: str


class PersonWritten(BaseModel):
    """What changed, and what happens next."""

    person: str
    created: bool
    changed: list[str]
    consents: list[ConsentResult]
    next: str | None
    mail: str | None


class PersonShown(BaseModel):
    """A person as this source may see them: its own profile, and where mail goes."""

    person: str
    source: str
    external_id: str
    state: str
    email: str | None
    email_confirmed: bool
    email_pending: bool
    locale: str
    zone: str | None
    profile: dict[str, str]
    attributes: dict[str, Any]
    created_at: datetime


def registration(external_id: str, said: PersonIn) -> preferences.Registration:
    """The body as the domain takes it."""
    return preferences.Registration(
        external_id=external_id,
        email=said.email,
        locale=said.locale,
        zone=said.zone,
        profile=said.profile.model_dump(exclude_unset=True) if said.profile else None,
        attributes=said.attributes,
        consents=[one.model_dump(exclude_unset=True) for one in said.consents],
    )


def known(session: Session, caller: deps.Caller, external_id: str) -> tuple[Identity, Person]:
    """This source's identity and its person. What it may not see, or cannot be an id, is absent (H49)."""
    try:
        identity = people.identity(session, caller.source, rules.external_id(external_id))
    except rules.ExternalIdInvalid:
        identity = None
    person = people.followed(session, session.get(Person, identity.person_id)) if identity else None
    if identity is None or person is None or person.state == "erased":
        raise rules.UnknownPerson
    return identity, person


@router.put("/people/{external_id}", response_model=PersonWritten, responses={201: {"model": PersonWritten}})
async def register(
    request: Request,
    external_id: str,
    caller: Writer,
    said: Annotated[PersonIn, Depends(deps.body(PersonIn))],
) -> Response:
    """Register somebody, or bring them up to date. A known address is never an error, and a no never becomes a yes."""
    house, now = deps.house(request), clock.now()

    def act(session: Session) -> PersonWritten:
        done = preferences.register_many(
            session,
            house.ring,
            caller.source,
            [registration(external_id, said)],
            attest=caller.may("consents:attest"),
            topics=None if caller.topics is None else set(caller.topics),
            now=now,
            by=caller.by,
        )[0]
        if isinstance(done, DomainError):
            raise done
        return written(done)

    return await deps.change(request, caller, act)


def written(done: preferences.Registered) -> PersonWritten:
    """What the domain did, as the answer."""
    results = [ConsentResult(**one) for one in done.consents]
    return PersonWritten(
        person=done.person_id,
        created=done.created,
        changed=done.changed,
        consents=results,
        next=done.next,
        mail=done.mail,
    )


@router.get("/people/{external_id}")
def person(request: Request, external_id: str, caller: Reader) -> PersonShown:
    """One person as this source may see them."""
    ring = deps.house(request).ring
    return deps.read(request, lambda session: _shown(session, ring, *known(session, caller, external_id)))


class PersonErased(BaseModel):
    """What an erasure did: the opaque id by which the ledger goes on knowing them, and what is kept, and why."""

    person: str
    erased: bool = True
    stays: str = STAYS


@router.delete("/people/{external_id}", response_model=PersonErased)
async def erase(request: Request, external_id: str, caller: Writer) -> Response:
    """Erase somebody who asked you for it. It cannot be undone; asked again it answers the same."""
    house, now = deps.house(request), clock.now()

    def act(session: Session) -> PersonErased:
        try:
            _, found = known(session, caller, external_id)
        except rules.UnknownPerson:
            gone = erasing.said_again(session, house.ring, caller.source, external_id)
            if gone is None:
                raise
            return PersonErased(person=gone.public_id)
        erasure.erase(session, house.ring, found, how="api", now=now, by=caller.by)
        return PersonErased(person=found.public_id)

    return await deps.change(request, caller, act)


def _shown(session: Session, ring: Keyring, identity: Identity, person: Person) -> PersonShown:
    address = people.address_of(session, ring, person)
    row = session.get(Address, person.address_id) if person.address_id else None
    assert person.id is not None
    return PersonShown(
        person=person.public_id,
        source=identity.source,
        external_id=identity.external_id,
        state=person.state,
        email=address.text if address else None,
        email_confirmed=row is not None and row.confirmed_at is not None,
        email_pending=person.pending_address_id is not None,
        locale=person.locale,
        zone=person.zone or None,
        profile=people.open_profile(people.person_key(ring, person), identity),
        attributes=people.attributes_as_given(session, person.id),
        created_at=person.created_at,
    )
