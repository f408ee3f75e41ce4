"""Our DKIM signature: rsa-sha256, relaxed/relaxed, over the final bytes of a message (RFC 6376, RFC 8301).

`Signer` is the `sign` of `message.Assembler` and its last step; `Key` comes from the brand whose domain it signs
for. The signature is put before the message, whose own bytes stay as they are.
"""

import base64
import hashlib
import re
from binascii import b2a_base64
from collections.abc import Iterable
from dataclasses import dataclass

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

KEY_BITS = (
    2048  # RFC 8301 section 3.2; a longer key does not fit into one TXT answer that every resolver passes on
)
COLUMNS = 76
STRING = 255  # octets in one string of a TXT record, RFC 1035 section 3.3

# What is signed wherever it stands, each as often as it stands (RFC 6376 section 5.4, RFC 8058 section 4).
SIGNED = (
    "from", "to", "cc", "subject", "date", "message-id", "reply-to", "in-reply-to", "references", "mime-version",
    "content-type", "content-transfer-encoding", "content-language", "list-id", "list-unsubscribe",
    "list-unsubscribe-post", "list-help", "list-owner", "list-post", "list-subscribe", "list-archive", "feedback-id",
    "cfbl-address", "precedence", "auto-submitted", "x-auto-response-suppress",
)  # fmt: skip
# Named once more than it stands, so that a copy added on the way breaks the signature (RFC 6376 section 8.15).
OVERSIGNED = frozenset(
    {
        "from", "to", "subject", "date", "message-id", "reply-to", "content-type", "list-unsubscribe",
        "list-unsubscribe-post",
    }
)  # fmt: skip

# Differ from person to person, so their canonical form is worth nothing to the next message.
_OWN = (b"to:", b"subject:", b"message-id:", b"list-unsubscribe:", b"content-type:")
_FIELD_END = re.compile(rb"\r\n(?![ \t])")
_SPACES = re.compile(
    rb"  (?: *)"
)  # begins with two letters, not a class: then the engine leaps instead of stepping
_SPACE_BEFORE_END = re.compile(rb" \r\n")
_PADDING, _HASH = padding.PKCS1v15(), hashes.SHA256()

_Field = tuple[str, bytes]  # its name in lower case, its canonical form with CRLF


@dataclass(frozen=True, slots=True)
class Key:
    """A private key opened for signing, with the place of its public half: `selector._domainkey.domain`."""

    domain: str
    selector: str
    private: rsa.RSAPrivateKey


@dataclass(frozen=True, slots=True)
class _Plan:
    """What messages with the same header names share: whose fields are hashed in which order, and the signature's
    header field up to the body hash, as it is sent and as it is hashed."""

    order: tuple[int, ...]
    sent: bytes
    hashed: bytes


class Signer:
    """Signs the messages of one batch and language, so that what they share is made canonical once.

    `at`: the signature's time (`t=`) in whole seconds since 1970. Keeps nothing about any person.
    """

    def __init__(self, key: Key, *, at: int) -> None:
        self.key, self.at = key, at
        self._plans: dict[tuple[str, ...], _Plan] = {}
        self._shared: dict[bytes, _Field] = {}

    def __call__(self, message: bytes) -> bytes:
        """The message with its signature before it. The message is final: CRLF line ends, not dot-stuffed."""
        head, _, body = message.partition(b"\r\n\r\n")
        fields = [self._field(raw) for raw in _FIELD_END.split(head)]
        names = tuple([name for name, _ in fields])
        plan = self._plans.get(names) or self._plan(names)
        body_hash = b2a_base64(hashlib.sha256(canonical_body(body)).digest(), newline=False)
        hashed = [fields[place][1] for place in plan.order]
        hashed += (plan.hashed, body_hash, b"; b=")
        signature = b2a_base64(self.key.private.sign(b"".join(hashed), _PADDING, _HASH), newline=False)
        lines = b"\r\n ".join([signature[at : at + 72] for at in range(0, len(signature), 72)])
        return b"".join((plan.sent, body_hash, b";\r\n b=", lines, b"\r\n", message))

    def _field(self, raw: bytes) -> _Field:
        known = self._shared.get(raw)
        if known is None:
            known = _field(raw)
            if len(self._shared) < 64 and not raw[:20].lower().startswith(_OWN):
                self._shared[raw] = known
        return known

    def _plan(self, names: tuple[str, ...]) -> _Plan:
        listed: list[str] = []
        order: list[int] = []
        for name in SIGNED:
            # Of several fields of one name the lowest is hashed first (RFC 6376 section 5.4.2).
            places = [place for place in range(len(names) - 1, -1, -1) if names[place] == name]
            order += places
            listed += [name] * (len(places) + (name in OVERSIGNED))
        sent = _signature_field(self.key, self.at, listed)
        plan = _Plan(tuple(order), sent, _field(sent)[1].removesuffix(b"\r\n"))
        if len(self._plans) < 8:
            self._plans[names] = plan
        return plan


def _signature_field(key: Key, at: int, listed: list[str]) -> bytes:
    """The DKIM-Signature field up to the value of `bh=`, folded (RFC 6376 section 3.5). No `l=`: it would let text be
    added below ours. No `x=`: mail may wait for days."""
    pieces = [
        "DKIM-Signature:", " v=1;", " a=rsa-sha256;", " c=relaxed/relaxed;", f" d={key.domain};",
        f" s={key.selector};", f" t={at};", f" h={listed[0]}", *(f":{name}" for name in listed[1:]), ";",
    ]  # fmt: skip
    return (_folded(pieces) + "\r\n bh=").encode("ascii")


def _folded(pieces: Iterable[str]) -> str:
    """The pieces one after another, a new line before each that would pass the last column."""
    lines = [""]
    for piece in pieces:
        if len(lines[-1]) + len(piece) > COLUMNS and lines[-1].strip():
            lines.append(" ")
        lines[-1] += piece if lines[-1] != " " else piece.lstrip()
    return "\r\n".join(lines)


def _field(raw: bytes) -> _Field:
    """A header field in relaxed form (RFC 6376 section 3.4.2): its name lower, unfolded, runs of blanks one space."""
    name, _, value = raw.partition(b":")
    lower = name.rstrip(b" \t").lower()
    value = _single_spaced(value.replace(b"\r\n", b"")).strip(b" ")
    return lower.decode("latin-1"), b"%b:%b\r\n" % (lower, value)


def canonical_body(body: bytes) -> bytes:
    """The body in relaxed form (RFC 6376 section 3.4.4): runs of blanks one space, none before a line's end, no empty
    lines at the end, and a last CRLF unless it is empty. Its line ends are CRLF, as the assembler leaves them."""
    body = _SPACE_BEFORE_END.sub(b"\r\n", _single_spaced(body)).removesuffix(b" ").rstrip(b"\r\n")
    return body + b"\r\n" if body else b""


def _single_spaced(text: bytes) -> bytes:
    return _SPACES.sub(b" ", text.replace(b"\t", b" "))


def new_private_key() -> bytes:
    """A fresh RSA key in PKCS #8 (DER). Takes a good tenth of a second: not for the inside of a transaction."""
    made = rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS)
    form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return made.private_bytes(serialization.Encoding.DER, form, plain)


def open_private_key(der: bytes) -> rsa.RSAPrivateKey:
    """The key that `new_private_key` wrote. Not checked again: its seal has shown that it is the one we made."""
    opened = serialization.load_der_private_key(der, None, unsafe_skip_rsa_key_validation=True)
    assert isinstance(opened, rsa.RSAPrivateKey)
    return opened


def public_text(der: bytes) -> str:
    """The public half of a private key as `p=` holds it: base64 of its SubjectPublicKeyInfo (RFC 6376 section 3.6.1)."""
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    public = open_private_key(der).public_key().public_bytes(serialization.Encoding.DER, form)
    return base64.b64encode(public).decode("ascii")


def record_name(selector: str, domain: str) -> str:
    """Where the public key is looked for (RFC 6376 section 3.6.2.1)."""
    return f"{selector}._domainkey.{domain}"


def record_value(public: str) -> str:
    """What stands there, as one text (RFC 6376 section 3.6.1)."""
    return f"v=DKIM1; k=rsa; p={public}"


def record_strings(value: str) -> list[str]:
    """The text of a TXT record as strings of at most 255 octets; resolvers put them together without spaces."""
    return [value[at : at + STRING] for at in range(0, len(value), STRING)]


def zone_line(name: str, value: str) -> str:
    """A TXT record as a zone file holds it (RFC 1035 section 5.1)."""
    return f"{name}. TXT " + " ".join(f'"{one}"' for one in record_strings(value))
