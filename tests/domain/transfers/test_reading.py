"""Files as they come: encodings, signs between cells, headers, and what is written to break a reader. No database."""

import csv
import io
import resource
from io import BytesIO

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from service.domain.transfers import reading, sources
from service.kit.errors import Invalid
from tests.domain.transfers import files

TABLE = 'E-Mail;Vorname;Ort\r\nana@example.org;Änne;Köln\r\n\r\nben@example.org;"Jo ""B"" h";x\r\n'


def cells(content: bytes) -> list[tuple[str, ...]]:
    """Every record's cells; a record that is wrong as a whole shows its code."""
    facts = reading.examine(BytesIO(content))
    return [(one.wrong.code,) if one.wrong else one.cells for one in reading.records(BytesIO(content), facts)]


@pytest.mark.parametrize(
    ("encoding", "found", "guessed"),
    [
        ("utf-8", "utf-8", False),
        ("utf-8-sig", "utf-8-sig", False),
        ("utf-16", "utf-16", False),
        ("utf-16-le", "utf-16-le", False),
        ("utf-16-be", "utf-16-be", False),
        ("cp1252", "cp1252", True),
    ],
)
def test_rel_h64_each_encoding_is_found_and_a_guess_is_said(encoding: str, found: str, guessed: bool) -> None:
    content = TABLE.encode(encoding)
    facts = reading.examine(BytesIO(content))
    assert (facts.encoding, facts.guessed, facts.delimiter) == (found, guessed, ";")
    assert facts.columns == ("E-Mail", "Vorname", "Ort")
    assert cells(content) == [("ana@example.org", "Änne", "Köln"), ("ben@example.org", 'Jo "B" h', "x")]


def test_utf_16_with_a_mark_in_either_order() -> None:
    big = b"\xfe\xff" + TABLE.encode("utf-16-be")
    assert cells(big) == cells(TABLE.encode("utf-8"))


@pytest.mark.parametrize("sign", [",", ";", "\t", "|"])
def test_each_sign_between_cells_is_found(sign: str) -> None:
    content = sign.join(["email", '"a,b;c|d\te"', "x"]) + "\n" + sign.join(["a@example.org", "1", "2"]) + "\n"
    assert reading.examine(BytesIO(content.encode())).delimiter == sign
    assert cells(content.encode()) == [("a@example.org", "1", "2")]


def test_a_spreadsheets_own_first_line_is_heeded() -> None:
    assert cells(b"sep=;\r\nemail;name\r\na@example.org;x,y\r\n") == [("a@example.org", "x,y")]


def test_one_column_alone_is_a_table() -> None:
    assert cells(b"email\na@example.org\nb@example.org\n") == [("a@example.org",), ("b@example.org",)]


def test_old_line_ends_and_unusual_signs_do_not_part_rows() -> None:
    content = 'email,n\ra@example.org,x\u2028y\x0bz\u0085\rb@example.org,"two\nlines"\r'.encode()
    assert cells(content) == [("a@example.org", "x\u2028y\x0bz\u0085"), ("b@example.org", "two\nlines")]


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "file_empty"),
        (b"\xef\xbb\xbf\r\n", "file_empty"),
        (b"PK\x03\x04rest of a spreadsheet", "file_not_text"),
        (b"\x1f\x8b\x08rest", "file_not_text"),
        ("email\na@example.org\n".encode("utf-32"), "file_not_text"),
        (b"ana@example.org,Ana\nben@example.org,Ben\n", "header_missing"),
        (b"x" * 200_000, "header_too_long"),
        (",".join(f"c{n}" for n in range(300)).encode() + b"\n", "header_too_long"),
    ],
)
def test_what_is_no_table_is_refused_with_a_way_on(content: bytes, code: str) -> None:
    with pytest.raises(Invalid) as refused:
        reading.examine(BytesIO(content))
    assert refused.value.code == code


def test_a_row_with_more_or_fewer_cells() -> None:
    content = b"email,first name\na@example.org\nb@example.org,Ben,,\nc@example.org,Cem,unquoted\n"
    assert cells(content) == [("a@example.org", ""), ("b@example.org", "Ben"), ("cells_too_many",)]


def test_twin_and_nameless_columns_get_names_of_their_own() -> None:
    facts = reading.examine(BytesIO(b"email,ID,,ID\nx,1,2,3\n"))
    assert facts.columns == ("email", "ID", "column 3", "ID (2)")


def test_a_quotation_mark_left_open_ends_somewhere_and_is_told_of() -> None:
    lines = [f"p{n}@example.org,x" for n in range(20_000)]
    content = "\n".join(["email,n", 'a@example.org,"open', *lines, ""]).encode()
    found = cells(content)
    assert found[0] == ("quote_open",)
    assert found[-1] == ("p19999@example.org", "x")
    assert len(found) > 10_000  # the rest of the file is rows again


@pytest.mark.parametrize("end", ["\n", ""])
@pytest.mark.parametrize("rest", [["b@example.org,no", "c@example.org,no"], []])
def test_a_quotation_mark_open_to_the_end_of_the_file_is_told_of(rest: list[str], end: str) -> None:
    """What follows it is in that cell: people, and their noes."""
    content = "\n".join(["email,n", "x@example.org,", 'a@example.org,"open', *rest]) + end
    assert cells(content.encode()) == [("x@example.org", ""), ("quote_open",)]


def test_a_quoted_cell_may_end_the_file() -> None:
    for end in ("", "\n", "\r\n"):
        assert cells(f'email,n\na@example.org,"two\n"{end}'.encode()) == [("a@example.org", "two\n")]


def test_rel_h64_a_line_of_200_megabytes_is_refused_in_bounded_memory() -> None:
    class Long(io.RawIOBase):
        """Two people with a line of 200 MB between them, made as it is read."""

        def __init__(self) -> None:
            self.parts = iter(
                [
                    b"email,n\nana@example.org,x\nb@example.org,",
                    *[b"y" * 1_000_000] * 200,
                    b"\nc@example.org,z\n",
                ]
            )
            self.rest = b""

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: "memoryview") -> int:  # type: ignore[override]
            self.rest = self.rest or next(self.parts, b"")
            taken = self.rest[: len(buffer)]
            buffer[: len(taken)] = taken
            self.rest = self.rest[len(taken) :]
            return len(taken)

    facts = reading.examine(io.BufferedReader(Long()))
    assert facts.octets > 200_000_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = list(reading.records(io.BufferedReader(Long()), facts))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 40_000  # KiB
    assert [one.wrong.code if one.wrong else one.cells[0] for one in found] == [
        "ana@example.org", "line_too_long", "c@example.org",
    ]  # fmt: skip


def test_a_cell_that_cannot_be_read_shows_it() -> None:
    content = b"email,n\n" + b"a@example.org,ok\n" * 20_000 + b"b@example.org,\x81\n"
    assert cells(content)[-1] == ("b@example.org", "\ufffd")


@given(st.text())
def test_std_n9_what_is_neutralised_is_safe_and_read_back(cell: str) -> None:
    safe = reading.neutralised(cell)
    assert safe[:1] not in {"=", "+", "-", "@", "\t", "\r", "\0"}
    assert reading.restored(safe) == cell


@given(st.text(alphabet="'=+-@\t\r\n;,|\"a1", max_size=8))
def test_std_n9_apostrophes_before_formulas_survive(cell: str) -> None:
    assert reading.restored(reading.neutralised(cell)) == cell


@example("x;=cmd")
@example('x";"=cmd')
@example("x\n=cmd")
@given(st.text(alphabet="'=+-@\t\r\n;,|\"a ", max_size=8))
def test_std_n9_no_cell_is_a_formula_wherever_a_spreadsheet_parts_them(cell: str) -> None:
    """A spreadsheet whose country parts cells by something else takes a line apart within what we had quoted."""
    for delimiter in ",;|\t":
        out = io.StringIO(newline="")
        csv.writer(out).writerow(["a", reading.neutralised(cell), "b"])
        for row in csv.reader(io.StringIO(out.getvalue(), newline=""), delimiter=delimiter):
            assert not [one for one in row if one[:1] in set("=+-@")], (delimiter, row)


@example(["", "\t"])
@example(["", "||"])
@given(st.lists(st.text(st.characters(blacklist_categories=["Cs"]), max_size=20), min_size=2, max_size=4))
def test_std_n9_a_written_row_is_read_back(row: list[str]) -> None:
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    written = [reading.neutralised(cell) for cell in row]
    writer.writerows([["email", *(f"c{n}" for n in range(1, len(row)))], written])
    found = cells(out.getvalue().encode())
    assert found == ([tuple(row)] if any(cell.strip() for cell in written) else []), "a blank line is no row"


def test_known_exports_are_known_by_their_header() -> None:
    columns = {name: reading.examine(BytesIO(content)).columns for name, content in {
        "listmonk": files.LISTMONK, "mailchimp": files.MAILCHIMP, "gone": files.MAILCHIMP_GONE,
        "mautic": b"id,email,firstname,lastname,company,points,doNotEmail\n1,a@example.org,A,B,C,1,0\n",
    }.items()}  # fmt: skip
    assert {name: sources.system_of(one) for name, one in columns.items()} == {
        "listmonk": "listmonk", "mailchimp": "mailchimp", "gone": "mailchimp", "mautic": "mautic",
    }  # fmt: skip
    chimp = sources.proposed(columns["gone"], ())
    assert chimp["OPTIN_TIME"] == "agreed_at"
    assert chimp["UNSUB_TIME"] == "no_at"
    assert chimp["MEMBER_RATING"] == "attribute:member_rating"
    assert "LATITUDE" not in chimp
    assert sources.proposed(columns["mautic"], ())["doNotEmail"] == "no_mail"


@pytest.mark.parametrize(
    ("name", "state"),
    [
        ("subscribed_members_export_1.csv", "yes"),
        ("unsubscribed_email_audience_export_2.csv", "no"),
        ("cleaned_members.csv", "bounced"),
        ("people.csv", None),
    ],
)
def test_the_name_of_a_mailchimp_file_says_what_holds_of_all(name: str, state: str | None) -> None:
    assert sources.state_of_all(name) == state


@pytest.mark.parametrize(
    "name",
    ["doNotEmail", "Do not contact", "DNC", "dnc_reason", "Unsubscribed", "Opted out", "HasOptedOutOfEmail"],
)
def test_p7_a_column_of_noes_is_known_by_its_name_in_any_file(name: str) -> None:
    for columns in (["email", "firstname", name], ["email", "firstname", "lastname", "points", name]):
        if name in ("doNotEmail", "dnc_reason") or "points" not in columns:
            assert sources.proposed(columns, [])[name] == "no_mail"
