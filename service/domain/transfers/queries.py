"""Reading imports, and people for an export."""

import json
from datetime import datetime

from sqlalchemy import func
from sqlalchemy import select as columns
from sqlmodel import Session, col, select

from service.db.locks import for_update
from service.domain.consent.rules import PERMITTING
from service.domain.consent.tables import Consent
from service.domain.mailings import queries as mailings
from service.domain.mailings.tables import Address
from service.domain.people import queries as people
from service.domain.people.rules import PROFILE
from service.domain.people.tables import Identity, Person
from service.domain.preferences.tables import Preference
from service.domain.topics import queries as topics
from service.domain.topics import rules as topic_rules
from service.domain.topics.tables import Wording
from service.domain.transfers import rules
from service.domain.transfers.tables import Import, ImportChunk
from service.kit import sealing
from service.kit.signing import Keyring

MENDED_AT = "people_import|{}|mended"
EXPORTED = (
    "person", "email", "first name", "last name", "company", "postal address", "telephone", "language", "time zone",
    "state", "registered on",
)  # fmt: skip


def check_names(session: Session, plan: rules.Plan) -> rules.Plan:
    """That the topics and wordings a plan names are there. Raises `TopicUnknown`, `WordingUnknown`."""
    for slug in plan.wanted:
        topic = topics.by_slug(session, slug)
        if topic.state != "active":
            raise topic_rules.TopicUnknown(field=f"topics.{slug}")
    for grant in plan.grants:
        if grant.wording:
            wording = topics.wording_by_public_id(session, grant.wording)
            if wording is None or wording.topic_id != topics.by_slug(session, grant.topic).id:
                raise topic_rules.WordingUnknown(field=f"topics.{grant.topic}.wording")
    return plan


def by_public_id(session: Session, public_id: str) -> Import:
    """One import. Raises `ImportUnknown`."""
    row = session.exec(select(Import).where(col(Import.public_id) == public_id)).first()
    if row is None:
        raise rules.ImportUnknown
    return row


def held(session: Session, public_id: str) -> Import:
    """One import as it stands now, which nobody else changes before this transaction ends. Raises `ImportUnknown`."""
    session.flush()
    statement = for_update(session, select(Import).where(col(Import.public_id) == public_id))
    row = session.execute(statement.execution_options(populate_existing=True)).scalar_one_or_none()
    if row is None:
        raise rules.ImportUnknown
    found: Import = row
    return found


def of_file(session: Session, file_sha256: str, plan_sha256: str) -> Import | None:
    """The import of this file under this plan, if it was ever begun; one that was taken back is another matter."""
    statement = (
        select(Import)
        .where(
            col(Import.file_sha256) == file_sha256,
            col(Import.plan_sha256) == plan_sha256,
            col(Import.state).in_(("running", "done")),
        )
        .order_by(col(Import.id).desc())
    )
    return session.exec(statement).first()


def newest(session: Session, *, most: int = 50) -> list[Import]:
    """Imports, the newest first."""
    return list(session.exec(select(Import).order_by(col(Import.id).desc()).limit(most)))


def spans(session: Session, row: Import) -> list[tuple[int, int]]:
    """The ledger's entries an import wrote, as (first, last) of each of its transactions, in order."""
    statement = select(ImportChunk.first_seq, ImportChunk.last_seq).where(
        col(ImportChunk.import_id) == row.id
    )
    return sorted((first, last) for first, last in session.exec(statement))


def standing_on(session: Session, spans: list[tuple[int, int]]) -> int:
    """How many consents stand on entries of these spans still."""
    if not spans:
        return 0
    statement = (
        select(func.count())
        .select_from(Preference)
        .where(
            col(Preference.warrant_seq).between(spans[0][0], spans[-1][1]),
            col(Preference.state).in_(PERMITTING),
        )
    )
    return session.exec(statement).one()


def mended(ring: Keyring, row: Import) -> dict[int, dict[str, str]]:
    """Cells that were mended in the wizard: row → column → value."""
    if row.mended is None:
        return {}
    plain = sealing.unseal(ring.house_key, row.mended, MENDED_AT.format(row.public_id))
    return {int(number): cells for number, cells in json.loads(plain).items()}


def export_columns(session: Session) -> list[str]:
    """The columns of an export: what is known of a person, then three for each topic."""
    return [
        *EXPORTED,
        *(
            f"{topic.slug} {what}"
            for topic in topics.everything(session)
            for what in ("state", "since", "wording")
        ),
    ]


def going_out(session: Session) -> tuple[int, int]:
    """How many people an export holds, and how many it leaves out because they are restricted."""
    statement = select(
        func.count().filter(col(Person.state) == "active"),
        func.count().filter(col(Person.state) == "restricted"),
    ).select_from(Person)
    leaving, kept = session.exec(statement).one()
    return leaving, kept


def people_after(
    session: Session, ring: Keyring, after: int, *, most: int
) -> tuple[list[dict[str, str]], list[str], int]:
    """The next people of an export by row number: their cells, their public ids, and where to go on (0: nobody is left).

    Erased and merged people have nothing to export; what is held of restricted ones is kept and not used (GDPR 18(2)). Instants are
    ISO 8601 in UTC; a wording is its public id.
    """
    statement = (
        select(Person)
        .where(col(Person.id) > after, col(Person.state) == "active")
        .order_by(col(Person.id))
        .limit(most)
    )
    found = session.exec(statement).all()
    ids = [one.id or 0 for one in found]
    slugs = {topic.id: topic.slug for topic in topics.everything(session)}
    said, held = _said(session, ids), _held(session, ids)
    cells = [
        _cells(ring, person, held.get(person.id or 0), slugs, said.get(person.id or 0, {}))
        for person in found
    ]
    return cells, [one.public_id for one in found], (found[-1].id or 0) if len(found) == most else 0


def _held(session: Session, ids: list[int]) -> dict[int, tuple[Address | None, Identity]]:
    """Each person's address and the identity whose profile mails use (the last one, as `people.identities` orders them)."""
    statement = (
        select(Identity, Address)
        .join(Person, col(Person.id) == col(Identity.person_id))
        .outerjoin(Address, col(Address.id) == col(Person.address_id))
        .where(col(Identity.person_id).in_(ids))
        .order_by(col(Identity.source) == people.OWN, col(Identity.changed_at), col(Identity.id))
    )
    return {identity.person_id: (address, identity) for identity, address in session.exec(statement)}


def _said(session: Session, ids: list[int]) -> dict[int, dict[int, tuple[str, datetime, str]]]:
    """Each person's states: topic → (state, since, wording)."""
    statement = (
        columns(
            col(Preference.person_id),
            col(Preference.topic_id),
            col(Preference.state),
            col(Preference.since_at),
            col(Wording.public_id),
        )
        .select_from(Preference)
        .outerjoin(
            Consent,
            (col(Consent.person_id) == col(Preference.person_id))
            & (col(Consent.topic_id) == col(Preference.topic_id)),
        )
        .outerjoin(Wording, col(Wording.id) == col(Consent.wording_id))
        .where(col(Preference.person_id).in_(ids))
    )
    found: dict[int, dict[int, tuple[str, datetime, str]]] = {}
    for person_id, topic_id, state, since, wording in session.connection().execute(statement):
        found.setdefault(person_id, {})[topic_id] = state, since, wording or ""
    return found


def _cells(
    ring: Keyring,
    person: Person,
    held: tuple[Address | None, Identity] | None,
    slugs: dict[int | None, str],
    said: dict[int, tuple[str, datetime, str]],
) -> dict[str, str]:
    """One person's row."""
    address, profile = "", dict.fromkeys(PROFILE, "")
    if held is not None:
        key = people.person_key(ring, person)
        profile = people.open_profile(key, held[1])
        if held[0] is not None and held[0].sealed is not None:
            address = mailings.open_address(ring, held[0], key).shown
    cells = {
        "person": person.public_id,
        "email": address,
        **{name.replace("_", " "): profile[name] for name in PROFILE},
        "language": person.locale,
        "time zone": person.zone,
        "state": person.state,
        "registered on": person.created_at.date().isoformat(),
    }
    for topic_id, slug in slugs.items():
        state, since, wording = said.get(topic_id or 0, ("unknown", None, ""))
        cells |= {f"{slug} state": state, f"{slug} wording": wording}
        cells[f"{slug} since"] = since.isoformat() if since else ""
    return cells
