"""The key ring: one file outside the database, from which every key of this installation is derived.

Read once at start by whoever assembles a process (`app`, `clock`, the command line). The newest key signs, all of them
verify for ever; the key of the keyed hashes is the first one and is never retired, or a no would be forgotten.
"""

import hashlib
import hmac
import json
import os
import secrets
import stat
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


class KeyFileRefused(Exception):
    """The key file cannot be used; the message says why and what to do."""


@dataclass(frozen=True)
class Keyring:
    """The master secrets by key id (1 to 255). Derived keys are made on demand and never stored."""

    secrets: dict[int, bytes]
    installation: str

    @property
    def newest(self) -> int:
        """The id of the key that signs."""
        return max(self.secrets)

    def derive(self, purpose: str, kid: int | None = None) -> bytes:
        """The 256-bit key for one purpose under one master secret (HKDF-Expand with HMAC-SHA-256, RFC 5869 2.3)."""
        secret = self.secrets[self.newest if kid is None else kid]
        return hmac.new(secret, purpose.encode() + b"\x01", hashlib.sha256).digest()

    @cached_property
    def link_keys(self) -> dict[int, bytes]:
        """The keys of links by key id; old ones verify for ever (P5)."""
        return {kid: self.derive("link", kid) for kid in self.secrets}

    @cached_property
    def lookup_key(self) -> bytes:
        """The key of the blind index and of suppressions; always the first, never retired."""
        return self.derive("lookup", min(self.secrets))

    @cached_property
    def wrap_keys(self) -> dict[int, bytes]:
        """The keys that wrap persons' keys, by key id."""
        return {kid: self.derive("wrap", kid) for kid in self.secrets}

    @cached_property
    def house_key(self) -> bytes:
        """The key of what belongs to nobody who can be erased: staff and visitors' addresses, captured mail."""
        return self.derive("house", min(self.secrets))

    @property
    def checkpoint_keys(self) -> dict[int, Ed25519PrivateKey]:
        """The keys that sign the ledger's heads (RFC 8032), by key id; the newest signs. Made when asked for: a ring that holds
        one could not be handed to another process."""
        return {
            kid: Ed25519PrivateKey.from_private_bytes(self.derive("checkpoint", kid)) for kid in self.secrets
        }

    @cached_property
    def message_key(self) -> bytes:
        """The key of Message-IDs and envelope senders; the first, so that a retry after a rotation keeps its id."""
        return self.derive("message", min(self.secrets))


def load_or_make(path: Path) -> Keyring:
    """Read the key file, making it (mode 0400) when it is not there. Raises `KeyFileRefused` (H80)."""
    if not path.exists():
        _make(path)
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise KeyFileRefused(f"The key file {path.name} can be read by others. Run: chmod 0400 {path}")
    try:
        data = json.loads(path.read_text())
        ring = {int(row["id"]): bytes.fromhex(row["secret"]) for row in data["keys"]}
        installation = str(data["installation"])
    except (ValueError, KeyError, TypeError) as broken:
        raise KeyFileRefused(f"The key file {path.name} is damaged. Restore it from its backup.") from broken
    if not ring or any(not 1 <= kid <= 255 or len(secret) != 32 for kid, secret in ring.items()):
        raise KeyFileRefused(f"The key file {path.name} is damaged. Restore it from its backup.")
    return Keyring(ring, installation)


def _make(path: Path) -> None:
    """Write the file whole under another name and link it into place: two processes starting together share one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    content = {"installation": secrets.token_hex(8), "keys": [{"id": 1, "secret": secrets.token_hex(32)}]}
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
    with os.fdopen(descriptor, "w") as file:
        file.write(json.dumps(content))
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
