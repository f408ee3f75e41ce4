"""Header fields on their own."""

import base64
import re
from email.header import decode_header, make_header

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.mail.headers import (
    BadAddress,
    BidiControl,
    HeaderControlChar,
    HeaderInjection,
    clean_header,
    clean_subject,
    feedback_id,
    list_id,
    mailbox,
    unstructured,
    wire_address,
)

SAFE = st.text(
    alphabet=st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=200
).filter(lambda text: "=?" not in text and text.strip())


@given(SAFE)
def test_std_a4_every_subject_comes_back_and_keeps_the_line_lengths(text):
    line = unstructured("Subject", text)
    name, value = line.split(":", 1)
    assert name == "Subject"
    assert all(len(part) <= 76 for part in line.split("\r\n"))
    words = value.split()
    if value.strip().startswith("=?utf-8?b?"):
        assert all(len(word) <= 75 for word in words)
        for word in words:
            base64.b64decode(word[10:-2]).decode("utf-8")
        assert str(make_header(decode_header(re.sub(r"\r\n ", " ", value).strip()))) == text
    else:
        assert re.sub(r"\r\n ", " ", value)[1:] == text


@pytest.mark.parametrize("text", ["Привет, мир " * 9, "👨‍👩‍👧‍👦" * 20, "שלום עולם", "a" * 300, "Ünï " * 40])
def test_std_a4_scripts_emoji_and_right_to_left_round_trip(text):
    value = unstructured("Subject", text).split(":", 1)[1]
    assert str(make_header(decode_header(value.replace("\r\n ", " ").strip()))) == text


def test_std_a4_no_encoded_word_inside_the_address_or_in_quotes():
    line = mailbox("From", "Acme, Ünited “Mail”", "news@пример.рф").replace("\r\n", "")
    assert "=?" not in line[line.index("<") :]
    assert '"' not in line
    assert mailbox("From", 'A "b" \\ c, d', "a@example.org") == 'From: "A \\"b\\" \\\\ c, d" <a@example.org>'
    assert mailbox("From", "Acme Mail", "a@example.org") == "From: Acme Mail <a@example.org>"


@pytest.mark.parametrize("sign", ["\0", "\x1b", "\x85", "\u2028", "\u2029", "\r", "\n", "\t", "\x7f", "\x9f"])
def test_rel_h04_a_control_character_is_refused_when_saving(sign):
    with pytest.raises(HeaderControlChar) as caught:
        clean_header(f"An{sign}a", field="from_name")
    assert (caught.value.code, caught.value.field, caught.value.status) == (
        "header_control_char",
        "from_name",
        422,
    )
    with pytest.raises(HeaderControlChar):
        clean_subject(f"An{sign}a")


@pytest.mark.parametrize("text", ["=?utf-8?q?a?=", "x =?UTF-8?B?YQ==?= y", "=?utf-8?q?a=0D=0ABcc=3A_x=40y?="])
def test_std_t2_an_encoded_word_is_refused_when_saving_and_when_sending(text):
    with pytest.raises(HeaderInjection):
        clean_subject(text)
    with pytest.raises(HeaderInjection):
        unstructured("Subject", text)


@pytest.mark.parametrize("sign", ["\u202e", "\u2066", "\u200f", "\u061c"])
def test_rel_h27_a_bidi_control_in_the_subject_is_refused(sign):
    with pytest.raises(BidiControl) as caught:
        clean_subject(f"invoice{sign}gpj.exe")
    assert (caught.value.code, caught.value.field) == ("bidi_control", "subject")


def test_rel_h06_five_thousand_characters_still_fold():
    for text in ("x" * 5000, "(" * 5000, "ы" * 5000):
        assert max(map(len, unstructured("Subject", text).split("\r\n"))) <= 76


def test_std_a5_wire_address():
    assert wire_address("user@пример.рф") == "user@xn--e1afmkfd.xn--p1ai"
    assert wire_address("Ana.Ruiz+x@Example.ORG") == "Ana.Ruiz+x@example.org"
    assert wire_address("анна@example.org") == "анна@example.org"
    for wrong in (
        "a@",
        "@b",
        "a",
        "a@b c",
        "a@-b.org",
        "<a@example.org>",
        "a@x]<bob@example.org>",
        "a,b@example.org",
    ):
        with pytest.raises(BadAddress):
            wire_address(wrong)


def test_std_b13_list_id_of_a_long_or_foreign_name():
    assert list_id("", "updates", "example.org") == "List-Id: <updates.lists.example.org>"
    unfolded = list_id("Neuigkeiten für alle " * 20, "updates", "example.org").replace("\r\n", "")
    assert len(unfolded) <= 264
    assert unfolded.endswith("<updates.lists.example.org>")


def test_std_f9_parts_of_feedback_id():
    assert (
        feedback_id("m1", "t-updates", "class-notice", "bidden")
        == "Feedback-ID: m1:t-updates:class-notice:bidden"
    )
