"""Our signatures before verifiers that others wrote."""

import base64
import re
from functools import cache
from pathlib import Path

import pytest
from dkim.canonicalization import Relaxed
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from service.mail import dkim
from service.mail.letters import load
from service.mail.message import Assembler
from service.mail.starters import starters
from tests.conftest import COMPLETE, OPENDKIM
from tests.mail.oracle import (
    AT,
    DER,
    KEY,
    OVERSIGNED,
    RECORDS,
    added_copies_that_pass,
    opendkim_refuses,
    records,
    tags,
    verifies,
)
from tests.mail.samples import CLASSES, TOKEN, built, facts, recipient, values

STARTERS = [one.slug for one in starters()]
STOPPABLE = ("marketing", "notice", "digest")
NAMES = ("Ana", "Zoë", "Анна-Мария", "太郎", "👩‍👩‍👧", "x" * 200, " a  b ")


@cache
def signed(mail_class: str = "marketing", slug: str = "launch", locale: str = "en") -> tuple[bytes, ...]:
    """Messages of one mailing to different people, signed by the assembler's last step."""
    mail = load(built(slug, mail_class, locale))  # type: ignore[arg-type]
    given_facts = facts(mail_class, locale=locale, from_name="Zoë & Co")  # type: ignore[arg-type]
    assembler = Assembler(given_facts, mail, sign=dkim.Signer(KEY, at=AT))
    people = (
        recipient(f"reader{n}@example.org", n, values=values(first_name=name)) for n, name in enumerate(NAMES)
    )
    return tuple(assembler.assemble(person).data for person in people)


@pytest.mark.parametrize("locale", ["en", "de"])
@pytest.mark.parametrize("mail_class", CLASSES)
def test_std_e1_messages_of_every_class_and_starter_verify(mail_class, locale):
    messages = [one for slug in STARTERS for one in signed(mail_class, slug, locale)]
    assert len(messages) == len(STARTERS) * len(NAMES) >= 50
    assert [one for one in messages if not verifies(one)] == []


def test_std_e1_the_tags_are_those_wanted():
    for mail_class in CLASSES:
        found = tags(signed(mail_class)[0])
        assert set(found) == {"v", "a", "c", "d", "s", "t", "h", "bh", "b"}  # neither l= nor x=
        assert (found["v"], found["a"], found["c"]) == ("1", "rsa-sha256", "relaxed/relaxed")
        assert (found["d"], found["s"], found["t"]) == ("example.org", "b20260303", str(AT))
        assert len(base64.b64decode(found["b"])) * 8 == 2048
        assert KEY.private.key_size == 2048


def test_std_a2_no_line_of_the_signature_is_long():
    long = dkim.Key("a-rather-long-name.mail.example.org", "x" * 40, KEY.private)
    for key in (KEY, long):
        message = dkim.Signer(key, at=AT)(signed()[0].split(b"Date:", 1)[1].join((b"Date:", b"")))
        field = re.split(rb"\r\n(?![ \t])", message, maxsplit=1)[0]
        assert max(map(len, field.split(b"\r\n"))) <= 76
        assert field.count(b"\r") == field.count(b"\n") == field.count(b"\r\n")
        assert field.isascii()


@pytest.mark.parametrize("mail_class", CLASSES)
def test_std_t4_the_signature_covers_every_field_and_both_of_unsubscribing(mail_class):
    message = signed(mail_class)[0]
    listed = tags(message)["h"].split(":")
    assert {"list-unsubscribe", "list-unsubscribe-post"} <= set(listed)
    head = message.partition(b"\r\n\r\n")[0].decode("ascii")
    present = [name.lower() for name in re.findall(r"^([!-9;-~]+):", head, re.MULTILINE)][1:]
    assert set(present) <= set(listed)
    for name in set(listed):
        more = name in {one.lower() for one in OVERSIGNED}
        assert listed.count(name) == present.count(name) + more, name
    assert (mail_class in STOPPABLE) == ("list-unsubscribe-post" in present)


@pytest.mark.parametrize("mail_class", CLASSES)
def test_std_b3_e3_a_second_copy_of_an_oversigned_field_breaks_it(mail_class):
    message = signed(mail_class)[0]
    assert verifies(message)
    assert added_copies_that_pass(message) == []


def test_std_b3_the_pair_cannot_be_taken_out_and_put_in_anew():
    message = signed()[0]
    for name in (b"List-Unsubscribe", b"List-Unsubscribe-Post"):
        without = re.sub(rb"\r\n" + name + rb": [^\r]*", b"", message)
        assert without != message
        assert not verifies(without)
        assert not verifies(name + b": <https://attacker.example.org/>\r\n" + without)


@pytest.mark.parametrize("mail_class", CLASSES)
def test_any_change_of_a_signed_field_breaks_it(mail_class):
    message = signed(mail_class)[0]
    head, end, body = message.partition(b"\r\n\r\n")
    lines = re.split(rb"\r\n(?![ \t])", head)
    for place, line in enumerate(lines[1:], 1):
        changed = [*lines[:place], line + b"x", *lines[place + 1 :]]
        assert not verifies(b"\r\n".join(changed) + end + body), line
        assert not verifies(b"\r\n".join(lines[:place] + lines[place + 1 :]) + end + body), line


@settings(max_examples=150, deadline=None)
@given(place=st.integers(0, 10**6), octet=st.integers(33, 126))
def test_any_changed_octet_of_the_body_breaks_it(place, octet):
    head, end, body = signed()[0].partition(b"\r\n\r\n")
    place %= len(body)
    changed = body[:place] + bytes([octet]) + body[place + 1 :]
    assert verifies(head + end + changed) == (changed == body)


def test_what_a_relay_may_do_is_forgiven():
    """Relaxed: blanks at line ends, folding, the case of names, empty lines at the end (RFC 6376 section 3.4)."""
    message = signed()[0]
    head, end, body = message.partition(b"\r\n\r\n")
    trace = b"Received: from a by b; Mon, 1 Jan 2024 00:00:00 +0000\r\n"
    assert verifies(trace + message)
    assert verifies(message + b"\r\n\r\n \r\n")
    assert verifies(head.replace(b"\r\nSubject: ", b"\r\nsubject:\t \r\n  ") + end + body)
    assert verifies(head + end + body.replace(b"\r\n", b" \t\r\n"))


ODD_BODIES = {
    "nothing": b"",
    "one empty line": b"\r\n",
    "only empty lines": b"\r\n \r\n\t\r\n\r\n",
    "only blanks": b" \t  ",
    "no end": b"no line end",
    "blanks at the end": b"a \t \r\nb\t\r\n c   d\t\te \r\n \r\n",
    "blanks without a line end": b"a\r\nb  ",
    "a dot": b".\r\n..\r\n . \r\n",
    "long lines": b"x" * 998 + b"\r\n" + b" " * 998 + b"\r\n" + b"y " * 499 + b"\r\n",
    "eight bits": "Grüße – 日本\r\n".encode(),
}
ODD_HEADS = {
    "bare": b"From: a@example.org",
    "no space, and many": b"From:a@example.org\r\nSUBJECT:   two   words\t\r\nTO:b@example.org",
    "folded": b"From: a@example.org\r\nSubject: one\r\n two\r\n\tthree \r\n  four\r\nList-Help:\r\n <https://x/>",
    "twice": b"To: first@example.org\r\nFrom: a@example.org\r\nCc: x@example.org\r\nCc: y@example.org\r\nTo: b@example.org",
    "empty": b"From: a@example.org\r\nSubject:\r\nReply-To: \r\nComments: not signed",
    "long": b"From: a@example.org\r\nReferences: "
    + b"\r\n ".join(b"<%d@example.org>" % n for n in range(200)),
    "eight bits": "From: a@example.org\r\nSubject: Grüße".encode(),
}


def received(message: bytes) -> bytes:
    """What arrives: SMTP ends every message with a line end (RFC 5321 section 4.1.1.4), whatever the signer saw."""
    return message if message.endswith(b"\r\n") else message + b"\r\n"


@pytest.mark.parametrize("head", ODD_HEADS)
@pytest.mark.parametrize("body", ODD_BODIES)
def test_std_e1_odd_messages_verify_too(head, body):
    message = ODD_HEADS[head] + b"\r\n\r\n" + ODD_BODIES[body]
    made = dkim.Signer(KEY, at=AT)(message)
    assert made.endswith(b"\r\n" + message)
    assert verifies(received(made))


BLANKS = st.text(" \t", max_size=4)
WORDS = st.text(st.characters(min_codepoint=33, max_codepoint=0x2FF), max_size=12)
LINE = st.lists(st.one_of(WORDS, BLANKS), max_size=6).map("".join)
BODY = st.lists(LINE, max_size=8).map(lambda lines: "\r\n".join(lines).encode())
FOLDED = st.lists(WORDS.filter(bool), min_size=1, max_size=5)
FIELD = st.tuples(
    st.sampled_from([*OVERSIGNED, "CC", "list-help", "Received", "X-Other", "references"]),
    st.sampled_from([" ", "", "\t", " \r\n "]),
    st.tuples(FOLDED, st.sampled_from([" ", "  ", "\t ", "\r\n ", " \r\n\t"])).map(lambda p: p[1].join(p[0])),
    BLANKS,
).map(lambda parts: f"{parts[0]}:{''.join(parts[1:])}".encode())


@given(fields=st.lists(FIELD, max_size=8), body=BODY)
@example(fields=[], body=b"")
@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_std_e1_whatever_the_message_its_signature_verifies(fields, body):
    message = b"\r\n".join([b"From: a@example.org", *fields]) + b"\r\n\r\n" + body
    assert verifies(received(dkim.Signer(KEY, at=AT)(message)))


@given(body=BODY)
@settings(max_examples=400, deadline=None)
def test_the_canonical_body_is_dkimpys(body):
    assert dkim.canonical_body(body) == Relaxed.canonicalize_body(received(body) if body else body)


def test_std_t3_the_message_itself_is_left_as_it_is():
    plain = Assembler(facts(), load(built())).assemble(recipient()).data
    made = dkim.Signer(KEY, at=AT)(plain)
    assert made.endswith(b"\r\n" + plain)
    assert made.startswith(b"DKIM-Signature: ")
    assert made.count(b"DKIM-Signature") == 1


def test_one_signer_for_many_keeps_nothing_of_anybody():
    signer = dkim.Signer(KEY, at=AT)
    assembler = Assembler(facts(), load(built()), sign=signer)
    for number in range(200):
        person = recipient(f"reader{number}@example.org", number)
        assert number % 20 or verifies(assembler.assemble(person).data)
    kept = b"".join(signer._shared)
    assert 0 < len(signer._shared) < 20
    assert b"reader" not in kept
    assert TOKEN.encode() not in kept
    assert len(signer._plans) == 1


def test_another_key_at_that_place_does_not_verify():
    other = dkim.new_private_key()
    assert not verifies(signed()[0], records((KEY, dkim.public_text(other))))
    assert not verifies(signed()[0], {})


def test_the_record_is_split_into_strings_that_dns_can_carry():
    value = dkim.record_value(dkim.public_text(DER))
    strings = dkim.record_strings(value)
    assert "".join(strings) == value
    assert [len(one) for one in strings[:-1]] == [255] * (len(strings) - 1)
    assert 0 < len(strings[-1]) <= 255
    assert RECORDS["b20260303._domainkey.example.org"].startswith("v=DKIM1; k=rsa; p=MIIBIjANBgkqhkiG9w0B")


def test_std_e1_opendkim_says_the_same(tmp_path: Path):
    if not OPENDKIM:
        assert not COMPLETE, "BIDDEN_TEST_COMPLETE=1 and no opendkim"
        pytest.skip("no opendkim on this machine")
    good = [one for mail_class in CLASSES for slug in STARTERS for one in signed(mail_class, slug)]
    odd = [
        received(dkim.Signer(KEY, at=AT)(head + b"\r\n\r\n" + body))
        for head in ODD_HEADS.values()
        for body in ODD_BODIES.values()
    ]
    bad = [name.encode() + b": <https://attacker.example.org/>\r\n" + good[0] for name in OVERSIGNED]
    refused = opendkim_refuses([*good, *odd, *bad], tmp_path)
    assert refused == list(range(len(good) + len(odd), len(good) + len(odd) + len(bad)))
