"""Where `next` may lead, signed cookies, networks."""

from datetime import timedelta

import pytest
from starlette.requests import Request

from service.kit import clock
from service.kit.signing import Keyring
from service.web import deps
from service.web.public.limits import Allowance, TooOften


@pytest.mark.parametrize(
    "evil",
    [
        "//evil",
        "///evil",
        "/\\evil",
        "\\evil",
        "https:evil",
        "https://evil",
        "/%2f%2fevil",
        "/%2Fevil",
        "/%5cevil",
        "/a//b",
        "/..",
        "/a/../..",
        "javascript:alert(1)",
        "evil",
        "",
        None,
        " /staff",
        "/staff\n",
        "/\x00",
        "/@evil.com\r\nSet-Cookie: a=b",
        "/%0d%0aSet-Cookie:a",
        "/a;b",
        "?x",
    ],
)
def test_rel_h41_next_leads_nowhere_else(evil: str | None) -> None:
    assert deps.local_path(evil, "/staff") == "/staff"


@pytest.mark.parametrize(
    "good",
    ["/", "/staff", "/staff/people/p_a2?on=2026-11-24", "/inbox?q=a%20b", "/staff/announcements/a_1/review"],
)
def test_rel_h41_and_pages_of_ours_stay(good: str) -> None:
    assert deps.local_path(good, "/x") == good


def test_a_signed_value_is_ours_for_its_purpose_and_time(ring: Keyring) -> None:
    now = clock.now()
    value = deps.signed(ring, "me", {"person": "p_1"}, now=now, valid_for=timedelta(minutes=30))
    facts = deps.unsigned(ring, "me", value, now=now)
    assert facts is not None
    assert facts["person"] == "p_1"
    assert deps.unsigned(ring, "flash", value, now=now) is None
    assert deps.unsigned(ring, "me", value, now=now + timedelta(minutes=31)) is None
    assert deps.unsigned(Keyring({1: b"x" * 32}, ""), "me", value, now=now) is None
    rotated = Keyring({**ring.secrets, 2: b"y" * 32}, "")
    assert deps.unsigned(rotated, "me", value, now=now) is not None
    for place in range(0, len(value), 7):
        other = value[:place] + ("A" if value[place] != "A" else "B") + value[place + 1 :]
        assert deps.unsigned(ring, "me", other, now=now) is None
    for nothing in (None, "", ".", "a.b", "é.é", value[:-1]):
        assert deps.unsigned(ring, "me", nothing, now=now) is None


def _from(host: str) -> Request:
    return Request(
        {"type": "http", "headers": [(b"x-forwarded-for", b"9.9.9.9")], "client": (host, 1), "path": "/"}
    )


def test_a_network_and_never_the_address() -> None:
    assert deps.network(_from("192.0.2.77")) == "192.0.2.0/24"
    assert deps.network(_from("2001:db8:1:2::3")) == "2001:db8:1::/48"
    assert deps.network(_from("testclient")) == ""


def test_std_n11_an_allowance_is_each_networks_own() -> None:
    allowance = Allowance()
    for _ in range(20):
        allowance.take(_from("192.0.2.77"))
    with pytest.raises(TooOften):
        allowance.take(_from("192.0.2.78"))
    allowance.take(_from("198.51.100.1"))
