"""H60: what may be uploaded as a picture, judged by its octets alone."""

import struct
import zlib
from collections.abc import Callable

import pytest
from starlette.testclient import TestClient

from tests.web.staff.conftest import Office


def png(width: int = 3, height: int = 2) -> bytes:
    """A real picture."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + b"\x0b\x6b\x5d" * width for _ in range(height))
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def test_a_picture_is_kept_and_its_line_of_markdown_shown(
    browser: Callable[..., TestClient], office: Office
) -> None:
    marketing = browser("marketing")
    answer = marketing.post("/staff/media", files={"file": ("../../etc/passwd.png", png(), "text/html")})
    assert answer.status_code == 200
    assert "3x2" in answer.text
    assert "![What it shows](/media/" in answer.text, "its path alone: it shows under any public address"
    assert "passwd" not in answer.text
    path = answer.text.partition('<img src="')[2].partition('"')[0]
    kept = marketing.get(path)
    assert kept.headers["content-type"] == "image/png"
    assert kept.content == png()
    assert office.world.entries("media.kept") == 1
    marketing.post("/staff/media", files={"file": ("again.png", png(), "image/png")})
    assert office.world.entries("media.kept") == 1


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.png", b"<html><script>alert(1)</script></html>"),
        ("a.svg", b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>'),
        ("../../x.zip", b"PK\x03\x04" + b"\0" * 30 + b"../../evil.png"),
        ("a.png", b"\x89PNG\r\n\x1a\n"),
        ("a.gif", b""),
    ],
)
def test_rel_h60_anything_else_is_refused(
    browser: Callable[..., TestClient], office: Office, name: str, content: bytes
) -> None:
    answer = browser("product").post("/staff/media", files={"file": (name, content, "image/png")})
    assert answer.status_code in (415, 422)
    assert "Error:" in answer.text
    assert office.world.entries("media.kept") == 0


def test_rel_h60_a_picture_too_large_is_refused(browser: Callable[..., TestClient], office: Office) -> None:
    marketing = browser("marketing")
    large = marketing.post(
        "/staff/media", files={"file": ("a.png", png() + b"\0" * (2 * 1024 * 1024), "image/png")}
    )
    assert large.status_code in (413, 422)
    huge = marketing.post(
        "/staff/media", files={"file": ("a.png", png() + b"\0" * (4 * 1024 * 1024), "image/png")}
    )
    assert huge.status_code == 413
    assert office.world.entries("media.kept") == 0
