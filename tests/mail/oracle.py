"""Verifiers of DKIM that others wrote (dkimpy, OpenDKIM), and what our signatures must withstand before them."""

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

import dkim as dkimpy

from service.mail import dkim
from tests.conftest import OPENDKIM

DER = dkim.new_private_key()
KEY = dkim.Key("example.org", "b20260303", dkim.open_private_key(DER))
AT = 1_700_000_000  # long past, so that no verifier's clock finds it in the future
# What standards E3 wants oversigned, written out here so that the signer cannot forget one in silence.
OVERSIGNED = (
    "From", "Subject", "Date", "To", "Reply-To", "Message-ID", "Content-Type", "List-Unsubscribe", "List-Unsubscribe-Post",
)  # fmt: skip

Records = Mapping[str, str]


def records(*keys: tuple[dkim.Key, str]) -> dict[str, str]:
    """What DNS would say: each key's record by its name; a key comes with its public half as text."""
    return {dkim.record_name(key.selector, key.domain): dkim.record_value(public) for key, public in keys}


RECORDS = records((KEY, dkim.public_text(DER)))


def verifies(message: bytes, published: Records = RECORDS) -> bool:
    """Whether dkimpy finds the signature of these bytes valid."""

    def answer(name: bytes | str, timeout: int = 5) -> bytes | None:
        asked = name.decode() if isinstance(name, bytes) else name
        found = published.get(asked.rstrip("."))
        return found.encode() if found is not None else None

    try:
        return bool(dkimpy.DKIM(message).verify(dnsfunc=answer))
    except dkimpy.DKIMException:
        return False


def tags(message: bytes) -> dict[str, str]:
    """The tags of the first field, which is the signature, read without any library (RFC 6376 section 3.2)."""
    field = re.split(rb"\r\n(?![ \t])", message, maxsplit=1)[0].decode("ascii")
    name, _, value = re.sub(r"\r\n", "", field).partition(":")
    assert name == "DKIM-Signature"
    pairs = (part.partition("=") for part in value.split(";"))
    return {tag.strip(): re.sub(r"\s", "", text) for tag, _, text in pairs}


def added_copies_that_pass(message: bytes, published: Records = RECORDS) -> list[str]:
    """Which fields of E3 can be added a second time, above or below, without breaking the signature. None should."""
    head, end, body = message.partition(b"\r\n\r\n")
    passed = []
    for name in OVERSIGNED:
        copy = f"{name}: <https://attacker.example.org/>".encode()
        above, below = copy + b"\r\n" + message, head + b"\r\n" + copy + end + body
        if verifies(above, published) or verifies(below, published):
            passed.append(name)
    return passed


def opendkim_refuses(messages: list[bytes], directory: Path, published: Records = RECORDS) -> list[int]:
    """Which of the messages OpenDKIM's own verifier does not find valid, by place; it reads the keys from a file."""
    assert OPENDKIM
    (directory / "keys").write_text("".join(f"{name} {value}\n" for name, value in published.items()))
    (directory / "conf").write_text(f"Mode v\nTestPublicKeys {directory / 'keys'}\n")
    names = [f"{place}.eml" for place in range(len(messages))]
    for name, message in zip(names, messages, strict=True):
        (directory / name).write_bytes(message)
    command = [OPENDKIM, "-x", "conf", "-v", "-t", ",".join(names)]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    found = set(
        re.findall(r"^opendkim: (\d+)\.eml: verification \(.*\) succeeded$", done.stdout + done.stderr, re.M)
    )
    return [place for place in range(len(messages)) if str(place) not in found]
