"""What a row of a file brings along whatever is known here: made before the transaction that judges it, so that nobody waits.

Called by `ops.imports` while the database is left to others, and by the dry run. Nothing here rests on the database: whether there
is such a person, and every no, is for `judging`.
"""

from dataclasses import dataclass, replace

from service.domain.mailings.queries import address_hash
from service.domain.people import rules as people
from service.domain.people.newcomers import Newcomer, newcomer
from service.domain.transfers.rows import Row
from service.kit.signing import Keyring


@dataclass(frozen=True)
class Prepared:
    """A row under the id by which its person is known, the keyed hash of its mailbox, its attributes as they are kept, and what
    its person would have if they were new (None where that was not asked for)."""

    row: Row
    address_hash: str
    attributes: dict[str, tuple[str, list[str]]] | None
    new: Newcomer | None


def prepare(ring: Keyring, source: str, row: Row, *, seal: bool = True) -> Prepared:
    """Make it. `seal`: not for a dry run, which writes nothing."""
    digest = address_hash(ring, row.email)
    if not row.external_id:
        row = replace(row, external_id=f"mailbox:{digest[:40]}")
    says_no = row.noes and not row.items  # nobody is registered by that
    return Prepared(
        row,
        digest,
        people.attributes(row.attributes, {}) if row.attributes else None,
        newcomer(ring, source, row.external_id, row.email, digest, row.profile)
        if seal and not says_no
        else None,
    )
