"""What a picture must be to stand in a mail, read from its own octets. Pure; for `actions.keep_media`."""

import hashlib
import struct
from dataclasses import dataclass

from service.kit.chain import canonical
from service.kit.errors import Invalid, NotFound

LARGEST = 2 * 1024 * 1024
WIDEST = 6_000
# Markers of a JPEG's frame header, which holds its size (ITU-T T.81 table B.1): C0 to CF, not C4, C8, CC.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


class VersionUnknown(NotFound):
    """There is no such version of a mail."""


class MediaType(Invalid):
    """A picture in a mail is a PNG, JPEG, GIF or WebP file."""

    status = 415


class MediaTooLarge(Invalid):
    """A picture has at most 2 MiB and 6,000 pixels on each side."""


@dataclass(frozen=True)
class Picture:
    """What a picture is: the extension of its kind, and its size in pixels."""

    extension: str
    width: int
    height: int


def read_picture(content: bytes) -> Picture:
    """Kind and size of a picture, by its first octets only; its name and declared type count for nothing
    (H60).

    Raises `MediaType` or `MediaTooLarge`.
    """
    if len(content) > LARGEST:
        raise MediaTooLarge(field="file")
    try:
        picture = _png(content) or _gif(content) or _webp(content) or _jpeg(content)
    except (struct.error, IndexError):
        picture = None
    if picture is None or picture.width < 1 or picture.height < 1:
        raise MediaType(field="file")
    if max(picture.width, picture.height) > WIDEST:
        raise MediaTooLarge(field="file")
    return picture


def _png(content: bytes) -> Picture | None:
    """ISO/IEC 15948 sections 5.2 and 11.2.2: signature, then the IHDR chunk."""
    if not content.startswith(b"\x89PNG\r\n\x1a\n") or content[12:16] != b"IHDR":
        return None
    return Picture("png", *struct.unpack_from(">II", content, 16))


def _gif(content: bytes) -> Picture | None:
    if not content.startswith((b"GIF87a", b"GIF89a")):
        return None
    return Picture("gif", *struct.unpack_from("<HH", content, 6))


def _webp(content: bytes) -> Picture | None:
    """RFC 9649 sections 2.5 to 2.7: the extended header, lossless, or lossy (RFC 6386 section 9.1)."""
    if content[:4] != b"RIFF" or content[8:12] != b"WEBP":
        return None
    kind = content[12:16]
    if kind == b"VP8X":
        return Picture("webp", _little(content, 24, 3) + 1, _little(content, 27, 3) + 1)
    if kind == b"VP8L" and content[20] == 0x2F:
        bits = _little(content, 21, 4)
        return Picture("webp", (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    if kind == b"VP8 " and content[23:26] == b"\x9d\x01\x2a":
        return Picture("webp", _little(content, 26, 2) & 0x3FFF, _little(content, 28, 2) & 0x3FFF)
    return None


def _little(content: bytes, start: int, octets: int) -> int:
    if len(content) < start + octets:
        raise IndexError(start)
    return int.from_bytes(content[start : start + octets], "little")


def _jpeg(content: bytes) -> Picture | None:
    """Walk the segments to the frame header (ITU-T T.81 section B.2.2)."""
    if not content.startswith(b"\xff\xd8\xff"):
        return None
    place = 2
    while content[place] == 0xFF:
        marker = content[place + 1]
        if marker in _FRAMES:
            height, width = struct.unpack_from(">HH", content, place + 5)
            return Picture("jpg", width, height)
        place += 1 if marker == 0xFF else 2 + struct.unpack_from(">H", content, place + 2)[0]
    return None


def version_hash(mail_hash: str, *, starter: str, mail_class: str, locale: str) -> str:
    """The name of a version: SHA-256 over the compiled mail's own hash and what it was compiled as."""
    value = {"mail": mail_hash, "starter": starter, "class": mail_class, "locale": locale}
    return hashlib.sha256(canonical(value).encode()).hexdigest()
