"""The token in its final format: read for ever, forged never, forgiving of what mail programs do (P5, H28 to H31, N3)."""

import base64
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.links import rules
from service.kit.ids import person_id
from service.kit.signing import Keyring
from tests import checks

LINK = rules.Link(rules.STOP, 0x0123456789ABCDEF, 0x01020304, 0x0A0B0C0D0E0F, 4711)
PURPOSES = [rules.STOP, rules.PREFERENCES, rules.WHY, rules.CONFIRM, rules.SIGN_IN, rules.VIEW]


def test_the_format_is_final(ring: Keyring) -> None:
    """Written down once; a change here would break every link ever mailed."""
    token = rules.write(LINK, ring.link_keys)
    assert token == "aeaqcajdivtytk6n54aqeayebifqydiob4aaaethwwwwj7c4uxo44whmasyyg2e4w4"
    octets = base64.b32decode(token.upper() + "=" * (-len(token) % 8))
    assert len(token) == 66
    assert octets[:25].hex() == "010101" + "0123456789abcdef" + "01020304" + "0a0b0c0d0e0f" + "00001267"
    assert len(octets) == 41


@given(
    st.sampled_from(PURPOSES),
    st.integers(0, 2**63 - 1),
    st.integers(0, 2**31 - 1),
    st.integers(0, 2**47 - 1),
    st.integers(0, 2**32 - 1),
)
def test_what_is_written_is_read(
    ring: Keyring, purpose: int, person: int, topic: int, mailing: int, position: int
) -> None:
    link = rules.Link(purpose, person, topic, mailing, position)
    token = rules.write(link, ring.link_keys)
    assert set(token) <= set(string.ascii_lowercase + "234567")
    assert rules.read(token, ring.link_keys, purpose=purpose) == link
    assert link.subject == person_id(person)


def test_rel_h28_every_flipped_bit_and_every_truncation_is_not_recognised(ring: Keyring) -> None:
    assert checks.forged_links(rules.write(LINK, ring.link_keys), ring.link_keys) == []


def test_rel_h28_every_flipped_bit_of_the_octets_is_not_recognised(ring: Keyring) -> None:
    token = rules.write(LINK, ring.link_keys)
    octets = base64.b32decode(token.upper() + "=" * (-len(token) % 8))
    for bit in range(len(octets) * 8):
        flipped = bytearray(octets)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(rules.LinkNotRecognised):
            rules.read(base64.b32encode(flipped).decode().rstrip("="), ring.link_keys, purpose=rules.STOP)


@pytest.mark.parametrize(
    "junk", ["", "a", "=" * 66, "a" * 66, "a" * 67, "é" * 66, "1" * 66, "\x00" * 66, "a" * 100_000, "7" * 66]
)
def test_junk_is_not_recognised(ring: Keyring, junk: str) -> None:
    with pytest.raises(rules.LinkNotRecognised) as raised:
        rules.read(junk, ring.link_keys, purpose=rules.STOP)
    assert "link" in raised.value.title.lower()


def test_a_token_is_written_one_way_only(ring: Keyring) -> None:
    """The last sign has two unused bits; with any of them set the token is another one, which nobody wrote."""
    token = rules.write(LINK, ring.link_keys)
    signs = "abcdefghijklmnopqrstuvwxyz234567"
    last = signs.index(token[-1])
    assert last % 4 == 0
    for extra in (1, 2, 3):
        with pytest.raises(rules.LinkNotRecognised):
            rules.read(token[:-1] + signs[last + extra], ring.link_keys, purpose=rules.STOP)


@pytest.mark.parametrize(
    "mangle",
    [
        str.upper,
        str.title,
        lambda t: t + ".",
        lambda t: t + ",",
        lambda t: t + ">",
        lambda t: t + ")",
        lambda t: t + ").",
        lambda t: t + "%20",
        lambda t: t + "&amp;",
        lambda t: t + "&gt;",
        lambda t: t + ">\r\n",
        lambda t: " " + t + " ",
        lambda t: "=3D" + t,
        lambda t: t[:30] + "\r\n" + t[30:],
        lambda t: t[:30] + "\n " + t[30:],
        lambda t: t[:30] + "=\r\n" + t[30:],
        lambda t: t[:30] + "%0D%0A" + t[30:],
        lambda t: t[:30] + "=3d" + t[30:],
        lambda t: t[:30] + "=" + t[30:],
    ],
)
def test_rel_h29_what_mail_programs_do_to_a_link_is_forgiven(ring: Keyring, mangle: object) -> None:
    token = rules.write(LINK, ring.link_keys)
    assert callable(mangle)
    assert rules.read(mangle(token), ring.link_keys, purpose=rules.STOP) == LINK


def test_rel_h30_tokens_of_retired_keys_work_for_ever() -> None:
    old = Keyring({1: b"a" * 32}, "i")
    new = Keyring({1: b"a" * 32, 2: b"b" * 32}, "i")
    token = rules.write(LINK, old.link_keys)
    assert rules.read(token, new.link_keys, purpose=rules.STOP) == LINK
    fresh = rules.write(LINK, new.link_keys)
    assert fresh != token
    assert rules.read(fresh, new.link_keys, purpose=rules.STOP) == LINK


def test_rel_h31_an_unknown_key_is_not_recognised() -> None:
    """Neither a key of another installation under the same id, nor an id that this ring never had."""
    for stranger in (
        Keyring({1: b"z" * 32}, "i"),
        Keyring({1: b"a" * 32, 9: b"z" * 32}, "i"),
        Keyring({255: b"\x00" * 32}, "i"),
    ):
        token = rules.write(LINK, stranger.link_keys)
        with pytest.raises(rules.LinkNotRecognised):
            rules.read(token, Keyring({1: b"a" * 32}, "i").link_keys, purpose=rules.STOP)


def test_an_all_zero_key_signs_nothing() -> None:
    """The stand-in for unknown key ids must not become a key that everybody has."""
    for kid in (0, 7, 255):
        token = rules.write(LINK, {kid: b"\x00" * 32})
        with pytest.raises(rules.LinkNotRecognised):
            rules.read(token, Keyring({1: b"a" * 32}, "i").link_keys, purpose=rules.STOP)


@pytest.mark.parametrize("written", PURPOSES)
@pytest.mark.parametrize("asked", PURPOSES)
def test_std_n3_a_link_of_one_purpose_is_none_of_another(ring: Keyring, written: int, asked: int) -> None:
    token = rules.write(rules.Link(written, 7, 8, 9, 10), ring.link_keys)
    if written == asked:
        assert rules.read(token, ring.link_keys, purpose=asked).purpose == asked
    else:
        with pytest.raises(rules.LinkNotRecognised):
            rules.read(token, ring.link_keys, purpose=asked)


def test_std_n3_keys_are_made_for_one_use_each(ring: Keyring) -> None:
    made = {
        ring.lookup_key,
        ring.house_key,
        ring.message_key,
        *ring.link_keys.values(),
        *ring.wrap_keys.values(),
        *ring.secrets.values(),
    }
    assert len(made) == 6
