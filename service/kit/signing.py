"""The key ring: one file outside the database, with a key of each kind this installation needs.

Read by whoever assembles a process, and again whenever the file changes (`keyfile.Live`). Of a kind that can be rotated one
key is in use, a newer one may wait, former ones go on opening and verifying. The key of the keyed hashes is never replaced, or
a no would be forgotten; nor is that of Message-IDs, or a retry would be another message.

A ring that was never rotated has one secret, of which every kind is derived; at the first rotation the kinds part
(`Keyring.split`), each with the key it had, and the secret is forgotten: only so can one of them be ended alone.
"""

import hashlib
import hmac
import json
import os
import secrets
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

MASTER, LINK, SIGNING, SESSION = "master", "link", "signing", "session"
LOOKUP, HOUSE, MESSAGE = "lookup", "house", "message"
ROTATED, FIXED = (MASTER, LINK, SIGNING, SESSION), (LOOKUP, HOUSE, MESSAGE)
WAITING, IN_USE, FORMER, RETIRED = "waiting", "in_use", "former", "retired"
VERSION = 2  # of the file, once the kinds have parted
MOST = 255  # a key's id is one octet in links and wrapped keys
_DERIVED_AS = {
    MASTER: "wrap", LINK: "link", SIGNING: "checkpoint", SESSION: "cookie|me",
    LOOKUP: "lookup", HOUSE: "house", MESSAGE: "message",
}  # fmt: skip


class KeyFileRefused(Exception):
    """The key file cannot be used; the message says why and what to do."""


@dataclass(frozen=True)
class Key:
    """One key: its kind, its id (1 to 255), waiting | in_use | former | retired, and the day it was made (empty: not known).

    Of a retired key that signed heads only the public half is left; other retired keys are gone from the file. A retired master
    is remembered by processes that had it.
    """

    kind: str
    id: int
    state: str
    secret: bytes = field(
        repr=False
    )  # what is printed of a key, in the frames of an error, too, does not hold it
    public: bytes = b""
    made_on: str = ""

    @property
    def mark(self) -> str:
        """What tells this key from others and says nothing of it: 64 bits of a digest, of the public half where there is one,
        else under the key itself."""
        if self.kind == SIGNING:
            return hashlib.sha256(self.half).digest()[:8].hex()
        return _expand(self.secret, "mark")[:8].hex()

    @property
    def half(self) -> bytes:
        """The public half of a key that signs heads."""
        return self.public or _public(self.secret)


@dataclass(frozen=True)
class Keyring:
    """The keys of one installation. `secrets`, by id, are what all kinds are derived of until they have parted into `parted`."""

    secrets: dict[int, bytes] = field(repr=False)
    installation: str
    parted: tuple[Key, ...] = ()

    @cached_property
    def keys(self) -> tuple[Key, ...]:
        """Every key, kind by kind, oldest first."""
        return self.parted or tuple(self._derived())

    def of(self, kind: str) -> dict[int, Key]:
        """The keys of one kind by id; the one in use comes first."""
        found = sorted((key for key in self.keys if key.kind == kind), key=lambda key: -key.id)
        return {key.id: key for key in sorted(found, key=lambda key: key.state != IN_USE)}

    def in_use(self, kind: str) -> Key:
        """The key that seals or signs."""
        return next(iter(self.of(kind).values()))

    def split(self) -> "Keyring":
        """The same keys, each by itself."""
        return Keyring({}, self.installation, self.keys)

    def used(self) -> dict[str, int]:
        """The id of the key in use of each kind. It only ever grows, which tells an older ring from a later one."""
        return {key.kind: key.id for key in self.keys if key.state == IN_USE}

    def marks(self) -> dict[str, dict[str, str]]:
        """What every key of the file is known by, kind → id → mark: for the ledger, and for whoever compares two rings."""
        found: dict[str, dict[str, str]] = {}
        for key in self.keys:
            if key.kind == MASTER and key.state == RETIRED:
                continue  # remembered, and not in the file
            found.setdefault(key.kind, {})[str(key.id)] = key.mark
        return found

    def _derived(self) -> list[Key]:
        """HKDF-Expand with HMAC-SHA-256 (RFC 5869 2.3) for each purpose under each secret; what cannot be rotated stays with the
        first, and heads are signed by the newest alone."""
        newest, first = max(self.secrets), min(self.secrets)
        found = []
        for kind, purpose in _DERIVED_AS.items():
            for kid in [first] if kind in FIXED else sorted(self.secrets):
                key = _expand(self.secrets[kid], purpose)
                if kind in FIXED or kid == newest:
                    found.append(Key(kind, kid, IN_USE, key))
                elif kind == SIGNING:
                    found.append(Key(kind, kid, RETIRED, b"", _public(key)))
                else:
                    found.append(Key(kind, kid, FORMER, key))
        return found

    def _secrets(self, kind: str) -> dict[int, bytes]:
        return {kid: key.secret for kid, key in self.of(kind).items() if key.secret}

    @cached_property
    def link_keys(self) -> dict[int, bytes]:
        """The keys of links by id; the first signs, all verify for ever (P5)."""
        return self._secrets(LINK)

    @cached_property
    def lookup_key(self) -> bytes:
        """The key of the blind index and of suppressions; never another."""
        return self.in_use(LOOKUP).secret

    @cached_property
    def wrap_keys(self) -> dict[int, bytes]:
        """The master keys, which wrap persons' keys, by id; the first wraps."""
        return self._secrets(MASTER)

    @cached_property
    def house_key(self) -> bytes:
        """The key of what belongs to nobody who can be erased: staff and visitors' addresses, captured mail."""
        return self.in_use(HOUSE).secret

    @cached_property
    def message_key(self) -> bytes:
        """The key of Message-IDs and envelope senders; never another, so that a retry after a rotation keeps its id."""
        return self.in_use(MESSAGE).secret

    @property
    def checkpoint_keys(self) -> dict[int, Ed25519PrivateKey]:
        """The keys that can sign the ledger's heads (RFC 8032), by id; the one in use first. Made when asked for: a ring that
        holds one could not be handed to another process."""
        return {kid: Ed25519PrivateKey.from_private_bytes(key) for kid, key in self._secrets(SIGNING).items()}

    @property
    def signers(self) -> list[Ed25519PrivateKey]:
        """Those that sign a head now: the one in use and, until they are retired, the former ones, whom others still trust."""
        known = self.of(SIGNING)
        return [key for kid, key in self.checkpoint_keys.items() if known[kid].state != WAITING]

    @property
    def checkpoint_public(self) -> list[Ed25519PublicKey]:
        """The public halves of all that ever signed heads, and of the one that waits; the one in use first."""
        return [Ed25519PublicKey.from_public_bytes(key.half) for key in self.of(SIGNING).values()]

    def session_keys(self, purpose: str) -> list[bytes]:
        """The keys of signed cookies for one purpose; the first signs. A sign-in of a reader has the key itself."""
        keys = self._secrets(SESSION).values()
        return [key if purpose == "me" else _expand(key, purpose) for key in keys]


def _expand(secret: bytes, purpose: str) -> bytes:
    return hmac.new(secret, purpose.encode() + b"\x01", hashlib.sha256).digest()


def _public(private: bytes) -> bytes:
    return Ed25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def load_or_make(path: Path) -> Keyring:
    """Read the key file, making it (mode 0400) when it is not there. Raises `KeyFileRefused` (H80)."""
    if not path.exists():
        _make(path)
    return load(path)


def load(path: Path) -> Keyring:
    """Read the key file. Raises `KeyFileRefused` (H80), OSError where it is not there."""
    with path.open() as file:
        if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
            raise KeyFileRefused(f"The key file {path.name} can be read by others. Run: chmod 0400 {path}")
        try:
            return _read(json.loads(file.read()))
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as broken:
            raise KeyFileRefused(
                f"The key file {path.name} is damaged. Restore it from its backup."
            ) from broken


def _read(data: Any) -> Keyring:
    installation = str(data["installation"])
    if "version" not in data:
        ring = {int(row["id"]): bytes.fromhex(row["secret"]) for row in data["keys"]}
        if not ring or any(not 1 <= kid <= MOST or len(secret) != 32 for kid, secret in ring.items()):
            raise ValueError("keys")
        return Keyring(ring, installation)
    if data["version"] != VERSION:
        raise ValueError("version")
    found = Keyring({}, installation, tuple(_key(row) for row in data["keys"]))
    for kind in (*ROTATED, *FIXED):
        states = [key.state for key in found.keys if key.kind == kind]
        if states.count(IN_USE) != 1 or states.count(WAITING) > 1 or len(found.of(kind)) != len(states):
            raise ValueError(kind)
    return found


def _key(row: Mapping[str, Any]) -> Key:
    key = Key(
        str(row["kind"]), int(row["id"]), str(row["state"]), bytes.fromhex(row.get("secret", "")),
        bytes.fromhex(row.get("public", "")), str(row.get("made_on", "")),
    )  # fmt: skip
    whole = len(key.secret or key.public) == 32 and bool(key.secret) == (key.state != RETIRED)
    if not whole or not 1 <= key.id <= MOST or key.kind not in _DERIVED_AS:
        raise ValueError("key")
    if key.state not in (WAITING, IN_USE, FORMER, RETIRED) or (key.state == RETIRED and key.kind != SIGNING):
        raise ValueError("state")
    return key


def text_of(ring: Keyring) -> str:
    """The file's own text. Of a key that is retired it holds no secret."""
    if not ring.parted:
        keys: list[dict[str, Any]] = [
            {"id": kid, "secret": secret.hex()} for kid, secret in ring.secrets.items()
        ]
        return json.dumps({"installation": ring.installation, "keys": keys})
    keys = [
        {"kind": key.kind, "id": key.id, "state": key.state, "made_on": key.made_on}
        | ({"secret": key.secret.hex()} if key.secret else {"public": key.public.hex()})
        for key in ring.parted
    ]
    return json.dumps({"version": VERSION, "installation": ring.installation, "keys": keys}, indent=1)


def draft_of(path: Path, text: str) -> Path:
    """The text, whole and on the disk, in a file (0400) beside the one it is to become; where it could not be written, none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
    try:
        with open(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        draft.unlink()
        raise
    return draft


def settle(directory: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _make(path: Path) -> None:
    """Write the file whole under another name and link it into place: two processes starting together share one."""
    draft = draft_of(path, text_of(Keyring({1: secrets.token_bytes(32)}, secrets.token_hex(8))))
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    settle(path.parent)
