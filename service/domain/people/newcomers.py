"""Somebody who may turn out to be new: their names, their key and what it seals, which rest on nothing that is known here.

Called by `actions` for whoever is registered, and by imports, which make it before their transaction begins. Unless they are new,
it is thrown away.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from service.domain.mailings.actions import seal_text
from service.domain.people import mailbox, wrapping
from service.kit import addresses, sealing
from service.kit.ids import new_alias, person_id
from service.kit.signing import Keyring


@dataclass(frozen=True)
class Newcomer:
    """Good for one person: `alias` and `public_id` name them, everything of theirs is sealed under `key`."""

    key: bytes
    alias: int
    public_id: str
    wrapped_key: bytes
    sealed_address: bytes
    sealed_profile: bytes


def newcomer(
    ring: Keyring,
    source: str,
    external_id: str,
    email: addresses.Address,
    address_hash: str,
    profile: Mapping[str, str],
) -> Newcomer:
    """Whoever a source tells of by that id, address and profile."""
    key, alias = sealing.new_key(), new_alias(8)
    return Newcomer(
        key,
        alias,
        person_id(alias),
        wrapping.wrap(ring, alias, key),
        seal_text(key, email, address_hash),
        mailbox.seal_profile(key, source, external_id, profile),
    )
