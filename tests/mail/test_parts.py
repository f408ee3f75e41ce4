"""A part encoded piece by piece is the same octets as the part encoded whole, wherever the pieces are cut."""

from email import message_from_bytes, policy
from html import unescape

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as some

from service.mail.letters import load
from service.mail.parts import LONGEST_LINE, Encoder, part
from tests.mail.samples import built, values

SIGNS = some.sampled_from([*"ab .\n\t\r\0é€&<日", "x" * 500, " \n", "=_"])
TEXTS = some.lists(SIGNS, max_size=12).map("".join)


@settings(max_examples=400)
@given(some.lists(TEXTS, max_size=8), some.booleans(), some.sets(some.integers(0, 7)))
@example(["a ", "\nb"], True, {0, 1})
@example(["a ", "", "\nb"], True, {0, 2})
@example(["x" * LONGEST_LINE, "y\n"], True, {0})
@example(["x" * (LONGEST_LINE - 1), "y\n", "z"], True, set())
@example(["a\r", "\nb"], False, {0})
@example(["a\n", ".\n"], False, {0, 1})
@example(["é", " ", "\n.", "\nfrom \n", "é"], False, {0, 1, 2, 3})
@example(["x" * 80, "é\n" + "y" * 80 + " \n", ".\n", "\n"], False, {1, 3})
def test_it_is_what_the_whole_would_be(pieces: list[str], html: bool, constant: set[int]) -> None:
    known = [text for place, text in enumerate(pieces) if place in constant]
    made = Encoder(known, html=html).encode(pieces)
    octets = b"".join(made.pieces)
    whole = part("".join(pieces), html=html)
    assert (octets, made.dotted) == (b"".join(whole.pieces), whole.dotted)
    assert octets.count(b"\n") == octets.count(b"\r\n") == octets.count(b"\r")
    assert made.dotted == any(line.startswith(b".") for line in octets.split(b"\r\n"))


@pytest.mark.parametrize("name", ["Ana", "Ånna", "<b>&", "x" * 1200, "two\nlines", "end \n"])
def test_a_real_mail_is_encoded_the_same_and_mostly_from_constants(name: str) -> None:
    mail = load(built())
    pieces = mail.pieces(values(first_name=name))
    rendered = mail.render(values(first_name=name))
    for template, cut, whole, html in (
        (mail.html, pieces.html, rendered.html, True),
        (mail.text, pieces.text, rendered.text, False),
    ):
        made = b"".join(Encoder(template.constants, html=html).encode(cut).pieces)
        assert made == b"".join(part(whole, html=html).pieces)
        said = message_from_bytes(made, policy=policy.SMTP).get_content().replace("\r\n", "\n")
        assert unescape(said).rstrip() == unescape(whole).rstrip()
    fixed = sum(len(text) for text in pieces.html if text in mail.html.constants)
    assert fixed > 0.9 * sum(map(len, pieces.html)) - len(name) * 8
