"""One strict reading of an address (H01 to H03, H07, H08, H10 to H12, H54)."""

import pytest
from email_validator import EmailNotValidError, validate_email
from hypothesis import given, settings
from hypothesis import strategies as st

from service.kit import addresses
from service.kit.errors import Invalid


@pytest.mark.parametrize(
    ("typed", "code"),
    [
        ("a@b.example\r\nRCPT TO:<x@y.example>", "address_control_char"),
        ("a@b.example\n", "address_control_char"),
        ("a\x00@example.org", "address_control_char"),
        ("a\u2028@example.org", "address_control_char"),
        ("b\udcfccher@example.org", "address_control_char"),
        ("u@x.example> AUTH=<z@x.example", "address_syntax"),
        ('"a\r\nb"@example.org', "address_control_char"),
        ('"a b"@example.org', "address_syntax"),
        ("a b@example.org", "address_syntax"),
        ("a@x.example,b@x.example", "address_syntax"),
        ("a@@example.org", "address_syntax"),
        ("@example.org", "address_syntax"),
        ("a@", "address_syntax"),
        ("", "address_syntax"),
        ("<a@example.org>", "address_syntax"),
        ("a@example..org", "address_syntax"),
        (".a@example.org", "address_syntax"),
        ("a.@example.org", "address_syntax"),
        ("a@-example.org", "address_syntax"),
        ("a" * 65 + "@example.org", "address_too_long"),
        ("é" * 33 + "@example.org", "address_too_long"),
        (
            "a@" + "b" * 60 + "." + "c" * 60 + "." + "d" * 60 + "." + "e" * 60 + "." + "f" * 10 + ".org",
            "address_too_long",
        ),
        ("a@localhost", "domain_not_public"),
        ("a@[127.0.0.1]", "domain_not_public"),
        ("a@intranet", "domain_not_public"),
        ("a@printer.local", "domain_not_public"),
    ],
)
def test_rel_h01_h02_h03_h07_h11_what_is_no_public_address_is_refused(typed: str, code: str) -> None:
    with pytest.raises(Invalid) as raised:
        addresses.parse(typed)
    assert (raised.value.code, raised.value.field, raised.value.status) == (code, "email", 422)
    assert "RCPT" not in raised.value.detail


@pytest.mark.parametrize("typed", [["a@example.org"], None, 7, {"a": 1}, b"a@example.org", True])
def test_rel_h54_what_is_no_text_is_refused(typed: object) -> None:
    with pytest.raises(addresses.AddressSyntax):
        addresses.parse(typed)


@pytest.mark.parametrize("local", ["-oQ/tmp", "a`id`", "a|sh", "x$HOME", "a'b", "a{b}", "#a", "a+b", "a/b"])
def test_rel_h12_signs_a_shell_would_read_are_literal(local: str) -> None:
    assert addresses.parse(f"{local}@example.org").text == f"{local}@example.org"


def a_domain(octets: int) -> str:
    """A domain of exactly so many octets, in labels of at most 63."""
    labels, left = ["org"], octets - 4
    while left > 0:
        size = min(60, left if left != 61 else 59)
        labels.insert(0, "b" * size)
        left -= size + 1
    domain = ".".join(labels)
    assert len(domain) == octets
    return domain


@pytest.mark.parametrize(("local", "domain"), [(64, 11), (64, 189), (1, 252), (20, 233)])
def test_rel_h07_the_longest_addresses_are_accepted(local: int, domain: int) -> None:
    typed = f"{'a' * local}@{a_domain(domain)}"
    assert addresses.parse(typed).text == typed


@pytest.mark.parametrize(("local", "domain"), [(65, 11), (64, 190), (64, 251), (1, 253), (1, 256), (1, 2000)])
def test_rel_h07_what_is_longer_is_said_to_be_too_long(local: int, domain: int) -> None:
    with pytest.raises(addresses.AddressTooLong):
        addresses.parse(f"{'a' * local}@{a_domain(domain)}")


@pytest.mark.parametrize(
    ("typed", "stored", "shown"),
    [
        ("ana@Bücher.example", "ana@xn--bcher-kva.example", "ana@bücher.example"),
        ("ana@xn--bcher-kva.example", "ana@xn--bcher-kva.example", "ana@bücher.example"),
        ("ana@почта.рф", "ana@xn--80a1acny.xn--p1ai", "ana@почта.рф"),
        ("josé@example.org", "josé@example.org", "josé@example.org"),
    ],
)
def test_rel_h08_domains_are_stored_as_a_labels_and_shown_as_people_read_them(
    typed: str, stored: str, shown: str
) -> None:
    read = addresses.parse(typed)
    assert (read.text, read.shown) == (stored, shown)
    assert addresses.parse_stored(stored) == read


@pytest.mark.parametrize(
    "typed", ["Ana@example.org", " ana@EXAMPLE.org ", "ANA@example.ORG", "ａｎａ@example.org"]
)
def test_rel_h10_one_mailbox_has_one_key(typed: str) -> None:
    assert addresses.parse(typed).key == "ana@example.org"


def test_rel_h10_composed_and_decomposed_letters_are_one_mailbox() -> None:
    assert addresses.parse("jose\u0301@example.org").key == addresses.parse("josé@example.org").key


def test_masked_tells_its_owner_and_nobody_else() -> None:
    assert addresses.parse("ana.ruiz@example.org").masked == "a***z@example.org"
    assert addresses.parse("a@example.org").masked == "a***@example.org"


@given(st.text(max_size=40))
def test_nothing_makes_the_parser_fail_in_another_way(typed: str) -> None:
    try:
        read = addresses.parse(typed)
    except Invalid:
        return
    assert "\r" not in read.text
    assert "\n" not in read.text
    assert addresses.parse(read.text).key == read.key


ATOM = st.text("abzAZ019!#$%&'*+/=?^_`{|}~-", min_size=1, max_size=12)
LABEL = st.text("abz019-", min_size=1, max_size=12)


@settings(max_examples=400)
@given(st.lists(ATOM, min_size=1, max_size=3), st.lists(LABEL, min_size=1, max_size=3))
def test_a_plain_local_part_is_taken_wherever_the_validator_takes_it(
    atoms: list[str], labels: list[str]
) -> None:
    """Only the domain's part of the validator's word is kept."""
    typed = f"{'.'.join(atoms)}@{'.'.join(labels)}.example"
    try:
        validate_email(typed, check_deliverability=False, test_environment=True)
    except EmailNotValidError:
        with pytest.raises(addresses.AddressSyntax):
            addresses.parse(typed)
    else:
        assert addresses.parse(typed).text == typed
