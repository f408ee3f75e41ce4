"""Versions of mails and the pictures in them."""

import hashlib
import struct
import zlib
from datetime import datetime

import pytest
from sqlmodel import Session

from service.domain.brands import actions as brand_actions
from service.domain.brands import queries as brands
from service.domain.ledger.actions import appended
from service.domain.templates import actions, queries, rules
from service.domain.templates.tables import TemplateVersion
from service.mail import letters

PNG = (
    b"\x89PNG\r\n\x1a\n"
    + struct.pack(">I", 13)
    + b"IHDR"
    + struct.pack(">IIBBBBB", 520, 260, 8, 2, 0, 0, 0)
    + b"crc!"
)
GIF = b"GIF89a" + struct.pack("<HH", 30, 20) + b"\x00\x00\x00;"
JPEG = (
    b"\xff\xd8\xff\xe0" + struct.pack(">H", 16) + b"JFIF\x00" + b"\x00" * 9
    + b"\xff\xff\xc4" + struct.pack(">H", 4) + b"\x00\x00"
    + b"\xff\xc0" + struct.pack(">HBHH", 17, 8, 48, 64) + b"\x00" * 10
)  # fmt: skip
WEBP_LOSSY = b"RIFF\x00\x00\x00\x00WEBPVP8 \x00\x00\x00\x00\x00\x00\x00\x9d\x01\x2a" + struct.pack(
    "<HH", 100, 50
)
WEBP_LOSSLESS = b"RIFF\x00\x00\x00\x00WEBPVP8L\x00\x00\x00\x00\x2f" + struct.pack(
    "<I", (50 - 1) << 14 | (100 - 1)
)
WEBP_EXTENDED = b"RIFF\x00\x00\x00\x00WEBPVP8X\x0a\x00\x00\x00\x00\x00\x00\x00" + b"\x63\x00\x00\x31\x00\x00"


@pytest.mark.parametrize(
    ("content", "extension", "width", "height"),
    [
        (PNG, "png", 520, 260),
        (GIF, "gif", 30, 20),
        (JPEG, "jpg", 64, 48),
        (WEBP_LOSSY, "webp", 100, 50),
        (WEBP_LOSSLESS, "webp", 100, 50),
        (WEBP_EXTENDED, "webp", 100, 50),
    ],
)
def test_a_picture_is_known_by_its_octets(content: bytes, extension: str, width: int, height: int) -> None:
    assert rules.read_picture(content) == rules.Picture(extension, width, height)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html><script>alert(1)</script>",
        b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>',
        b"PK\x03\x04" + b"../../etc/passwd" + b"\x00" * 100,
        b"%PDF-1.7",
        b"\x89PNG\r\n\x1a\n<svg>",
        PNG[:20],
        GIF[:8],
        JPEG[:6],
        JPEG[:24],
        WEBP_EXTENDED[:26],
        b"\xff\xd8\xff" + b"\xff" * 100,
        b"\xff\xd8\xff\xe0\x00\x00" * 10,
        b"RIFF\x00\x00\x00\x00WAVEfmt ",
        GIF[:6] + b"\x00" * 8,
    ],
)
def test_rel_h60_what_is_no_picture_is_refused(session: Session, now: datetime, content: bytes) -> None:
    with pytest.raises(rules.MediaType) as refused:
        actions.keep_media(session, content, now=now, by="cli")
    assert (refused.value.code, refused.value.status) == ("media_type", 415)
    assert appended(session) == []


def test_rel_h60_a_picture_too_large_is_refused() -> None:
    with pytest.raises(rules.MediaTooLarge):
        rules.read_picture(PNG + b"\x00" * rules.LARGEST)
    with pytest.raises(rules.MediaTooLarge):
        rules.read_picture(PNG[:16] + struct.pack(">II", 6001, 1))


def test_a_picture_is_kept_once_under_its_hash(session: Session, now: datetime) -> None:
    first = actions.keep_media(session, PNG, now=now, by="cli")
    again = actions.keep_media(session, PNG, now=now, by="cli")
    assert first.sha256 == again.sha256 == hashlib.sha256(PNG).hexdigest()
    kept = queries.media(session, first.sha256)
    assert kept is not None
    assert kept.content == PNG
    assert queries.media(session, "0" * 64) is None
    assert [entry.kind for entry in appended(session)] == ["media.kept"]


def _compile(
    session: Session, now: datetime, body: str = "Hello {{ first_name|default('there') }}", **more: object
) -> TemplateVersion:
    given = {
        "starter": "launch", "mail_class": "marketing", "locale": "en", "subject": "News",
        "preheader": "What is new",
        "merge": True, "topic_name": "New products", **more,
    }  # fmt: skip
    brand = brands.default_brand(session)
    return actions.compile_version(
        session, body=body, brand=brand, base_url="https://m.example.org", now=now, **given
    )  # type: ignore[arg-type]


def test_the_same_content_is_the_same_version(session: Session, now: datetime) -> None:
    brand_actions.set_fields(session, "default", {"postal_address": "Main Street 1, Town"}, now=now, by="cli")
    first = _compile(session, now)
    assert _compile(session, now).id == first.id
    others = [
        _compile(session, now, "Bye"),
        _compile(session, now, locale="de"),
        _compile(session, now, starter="letter"),
    ]
    assert len({first.id, *(other.id for other in others)}) == 4
    assert queries.version(session, first.id or 0) == first
    assert first.fields == ["first_name"]
    mail = letters.load(queries.compiled(first)).render(
        {"first_name": "Ana", "stop_url": "https://m.example.org/u/x", "manage_url": "https://m.example.org/p/x",
         "why_url": "https://m.example.org/why/x", "why_line": "You asked.",
         "to_address_masked": "a***a@example.org"}
    )  # fmt: skip
    assert "Hello Ana" in mail.text
    assert "https://m.example.org/policies/privacy" in mail.html
    with pytest.raises(rules.VersionUnknown):
        queries.version(session, 10**9)


def test_std_i2_a_marketing_mail_without_a_postal_address_does_not_compile(
    session: Session, now: datetime
) -> None:
    with pytest.raises(letters.PostalAddressMissing):
        _compile(session, now)
    assert _compile(session, now, mail_class="notice", merge=False, starter="small-update").id


def test_the_eight_starters_are_there() -> None:
    slugs = {
        "launch",
        "small-update",
        "action-needed",
        "important-notice",
        "maintenance",
        "digest",
        "invitation",
        "letter",
    }
    assert {starter.slug for starter in queries.starters()} == slugs
    assert queries.starter("launch").slug == "launch"


def test_a_real_png_is_taken() -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    png = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\x00\x00"))
        + chunk(b"IEND", b"")
    )
    assert rules.read_picture(png) == rules.Picture("png", 1, 1)
