"""Reading forms: what browsers and mail programs send, and what nobody should."""

import asyncio
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from service.kit.errors import DomainError
from service.web import forms

URLENCODED = "application/x-www-form-urlencoded"


def read(body: bytes, kind: str = URLENCODED, *, kindly: bool = False) -> forms.Form:
    """A form as a handler reads it."""

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": body, "more_body": False}

    scope = {
        "type": "http",
        "method": "POST",
        "headers": [(b"content-type", kind.encode())],
        "path": "/",
        "query_string": b"",
    }
    request = Request(scope, receive)
    return asyncio.run((forms.read_kindly if kindly else forms.read)(request))


def test_fields_of_every_shape() -> None:
    form = read(
        b"email=+ana%40example.org+&topic=a&topic=b&topic%3Aa=off&attribute:plan=pro&attribute:plan=team&text=1%0D%0A2"
    )
    assert form.text("email") == "ana@example.org"
    assert form.all("topic") == ["a", "b"]
    assert form.prefixed("topic:") == {"a": "off"}
    assert form.all_prefixed("attribute:") == {"plan": ["pro", "team"]}
    assert form.text("text") == "1\n2"
    assert form.text("nothing", "else") == "else"
    assert "email" in form
    assert "nothing" not in form


def test_multipart_with_a_file() -> None:
    body = (
        b'--x\r\nContent-Disposition: form-data; name="name"\r\n\r\nAn\xc3\xa1\r\n'
        b'--x\r\nContent-Disposition: form-data; name="picture"; filename="../a.png"\r\n\r\n'
        b"\x89PNG\r\n\x00\xff\r\n--x--\r\n"
    )
    form = read(body, "multipart/form-data; boundary=x")
    assert form.text("name") == "Aná"
    assert form.file("picture") == b"\x89PNG\r\n\x00\xff"
    assert form.file("other") is None


def test_a_files_name_in_the_signs_of_an_older_system_is_no_reason_to_refuse_it() -> None:
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="K\xe4ufer.csv"\r\n\r\n'
    form = read(head + b"email\r\n--x--\r\n", "multipart/form-data; boundary=x")
    assert form.file("file") == b"email"
    assert form.file_name("file") == "K\N{REPLACEMENT CHARACTER}ufer.csv"


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"a=%ff", URLENCODED),
        (b"a=\xff", URLENCODED),
        (b"a=%ED%A0%80", URLENCODED),
        (b"a=x%00y", URLENCODED),
        (
            b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n\xff\r\n--x--\r\n',
            "multipart/form-data; boundary=x",
        ),
        (
            b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nx\x00\r\n--x--\r\n',
            "multipart/form-data; boundary=x",
        ),
    ],
)
def test_rel_h50_what_is_not_text_is_refused(body: bytes, kind: str) -> None:
    with pytest.raises(forms.InvalidText) as caught:
        read(body, kind)
    assert (caught.value.status, caught.value.code) == (422, "invalid_text")
    assert list(read(body, kind, kindly=True)) == []


def test_rel_h54_a_single_field_given_twice_is_refused() -> None:
    with pytest.raises(forms.GivenTwice) as caught:
        read(b"email=a%40example.org&email=b%40example.org").text("email")
    assert caught.value.field == "email"


@pytest.mark.parametrize(
    "kind",
    ["multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=" + "x" * 300],
)
@pytest.mark.parametrize(
    "body", [b"", b"garbage", b"--x\r\n", b"--x\r\nContent-Disposition: form-data\r\n\r\n1\r\n--x--"]
)
def test_broken_multipart_is_an_error_of_ours(body: bytes, kind: str) -> None:
    assert list(read(body, kind, kindly=True)) == []


@given(
    st.binary(max_size=300),
    st.sampled_from([URLENCODED, "multipart/form-data; boundary=x", "text/plain", ""]),
)
def test_any_bytes_give_a_form_or_an_error_of_ours(body: bytes, kind: str) -> None:
    for content in (body, b"--x\r\nContent-Disposition: form-data; name=a\r\n\r\n" + body):
        with contextlib.suppress(DomainError):
            assert all("\x00" not in value for _, value in read(content, kind))


def test_an_error_is_shown_at_the_last_part_of_its_path() -> None:
    assert forms.errors_of(forms.InvalidText(field="content.en.subject")) == {
        "subject": forms.InvalidText().title
    }
    assert list(forms.errors_of(forms.InvalidText(), "email")) == ["email"]
