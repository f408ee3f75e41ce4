"""What a row of a file brings along whatever is known here: made before the transaction that judges it, so that nobody waits.

Called by `ops.imports` while the database is left to others, and by the dry run. Nothing here rests on the database: whether there
is such a person, and every no, is for `judging`.
"""

from dataclasses import dataclass, replace

from service.domain.consent.evidence import WHOLE, of_item, with_part_of_ip
from service.domain.consent.rules import Item, Sealed
from service.domain.ledger.rules import sealed_part
from service.domain.mailings.queries import address_hash
from service.domain.people import rules as people
from service.domain.people.newcomers import Newcomer, newcomer
from service.domain.transfers.rows import Row
from service.domain.transfers.rules import CONSENT, Plan
from service.kit.signing import Keyring


@dataclass(frozen=True)
class Prepared:
    """A row under the id by which its person is known, the keyed hash of its mailbox, its yeses, their evidence closed where it can
    be, its attributes as they are kept, and what its person would have if they were new (None where that was not asked for)."""

    row: Row
    address_hash: str
    items: tuple[Item, ...]
    attributes: dict[str, tuple[str, list[str]]] | None
    new: Newcomer | None


def prepare(ring: Keyring, plan: Plan, row: Row, *, keep_ip: str | None) -> Prepared:
    """Make it. `keep_ip`: how much staff have set to be kept of a network address (`ip_evidence`); None where nothing will be written,
    and nothing need be sealed."""
    digest = address_hash(ring, row.email)
    if not row.external_id:
        row = replace(row, external_id=f"mailbox:{digest[:40]}")
    new, items = None, row.items
    if keep_ip is not None and (row.items or not row.noes):  # nobody is registered by a no
        new = newcomer(ring, plan.source, row.external_id, row.email, digest, row.profile)
        if items and keep_ip != WHOLE:
            items = tuple([_sealed(new, one, plan, keep_ip) for one in items])
    kept = people.attributes(row.attributes, {}) if row.attributes else None
    return Prepared(row, digest, items, kept, new)


def _sealed(new: Newcomer, item: Item, plan: Plan, keep_ip: str) -> Item:
    """With its evidence closed for the entry that will most likely be written; for any other it will be closed anew."""
    evidence = of_item(item, lambda said: with_part_of_ip(said, keep_ip), attest=plan.attested)
    if evidence is None:
        return item
    labelled = any(one.topic == item.topic and one.basis != CONSENT for one in plan.grants)
    kind = f"consent.{'given' if labelled or (plan.attested and item.confirmed) else 'requested'}"
    part = sealed_part(new.key, evidence, subject=new.public_id, kind=kind)
    return replace(item, sealed=Sealed(new.public_id, kind, keep_ip, part))
