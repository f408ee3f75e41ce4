"""A file of people as bytes, read into records: which encoding, which sign between the cells, what the columns are called.

Called by `ops.imports`, which opens the file. Pure but for the stream it is handed, and of flat memory whatever the file
holds: one pass finds the facts, another yields the records (RFC 4180, and what spreadsheets make of it).
"""

import codecs
import csv
import hashlib
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import BinaryIO

from service.kit.errors import Invalid

HEAD = 64 * 1024  # octets in which encoding and delimiter must show
LONGEST_LINE = 1024 * 1024  # signs; what is longer is no line of a table of people (H64)
LONGEST_RECORD = 128 * 1024  # signs of one record over all its lines; csv's own limit for one cell
MOST_COLUMNS = 200
DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}

_BOMS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_UTF32 = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)
_PACKED = (
    (b"PK\x03\x04", "a spreadsheet or a ZIP archive"),
    (b"\x1f\x8b", "a packed file"),
    (b"%PDF", "a PDF"),
)
# Where a spreadsheet may take a cell for a formula (standards N9): at its start, and behind what another country's spreadsheet
# parts cells at, for a quotation mark within a cell does not hold those together.
_FORMULA = re.compile(r"""(\A|[,;|\t\r\n]"*)('*)(?=[=+\-@\t\r\0])""")
_NEUTRALISED = re.compile(r"""(\A|[,;|\t\r\n]"*)'('*)(?=[=+\-@\t\r\0])""")
_SEP = re.compile(r"sep=(.)\s*", re.IGNORECASE)


class FileEmpty(Invalid):
    """There is nothing in that file."""


class FileNotText(Invalid):
    """That is not a table as plain text."""

    fix_hint = "Unpack it, or save it as CSV (UTF-8), and choose that file."


class HeaderMissing(Invalid):
    """The first line must name the columns; this one looks like a person."""

    fix_hint = "Put a line such as “email,first name,last name” on top."


class HeaderTooLong(Invalid):
    """The first line is no row of column names: at most 200 columns and a megabyte."""


class LineTooLong(Invalid):
    """That line is longer than what is known of any person (a cell of 128 KiB, a line of 1 MiB), so it was not read."""


class QuoteOpen(Invalid):
    """A quotation mark is opened here and not closed for very long, or at all; what follows was taken for one cell."""

    fix_hint = "Close it, or double it where it belongs to the text."


class CellsTooMany(Invalid):
    """That row has more cells than there are columns; a sign between cells may stand inside an unquoted one."""

    fix_hint = "Put the cell that holds it in quotation marks."


@dataclass(frozen=True)
class FileFacts:
    """What was found out about a file before any row of it was believed."""

    sha256: str
    octets: int
    encoding: str  # a name Python knows
    delimiter: str
    columns: tuple[str, ...]  # as named in the first line; twins numbered, nameless ones by their place
    guessed: bool = False  # the encoding is only what was left: Windows-1252
    skip: int = 1  # lines before the first record


@dataclass(frozen=True)
class Record:
    """One row of the file: its number (the first after the header is 1), the line it begins on, and its cells; or what is
    wrong with it as a whole, with as many cells as could be told apart."""

    number: int
    line: int
    cells: tuple[str, ...] = ()
    wrong: Invalid | None = None


def examine(stream: BinaryIO) -> FileFacts:
    """Read the whole file once and say what it is. Raises `FileEmpty`, `FileNotText`, `HeaderMissing`, `HeaderTooLong`."""
    digest, octets, head = hashlib.sha256(), 0, b""
    utf8: codecs.IncrementalDecoder | None = codecs.getincrementaldecoder("utf-8")()
    while block := stream.read(1 << 20):
        head = head or block[:HEAD]
        digest.update(block)
        octets += len(block)
        utf8 = utf8 if utf8 is not None and _decodes(utf8, block, final=False) else None
    if not head.strip(b"\r\n\t \x00\xef\xbb\xbf\xff\xfe"):
        raise FileEmpty(field="file")
    valid = utf8 is not None and _decodes(utf8, b"", final=True)
    encoding, guessed = _encoding(head, valid)
    delimiter, columns, skip = _header(head, encoding)
    return FileFacts(digest.hexdigest(), octets, encoding, delimiter, columns, guessed, skip)


def _decodes(decoder: codecs.IncrementalDecoder, block: bytes, *, final: bool) -> bool:
    try:
        decoder.decode(block, final)
    except UnicodeDecodeError:
        return False
    return True


def _encoding(head: bytes, valid_utf8: bool) -> tuple[str, bool]:
    """The encoding's name, and whether it is only what was left. A mark at the start decides; without one, UTF-16 shows by
    the empty octets of its plain letters, and UTF-8 by decoding to the end (RFC 3629)."""
    if head.startswith(_UTF32):
        raise FileNotText("That file is UTF-32.", field="file")
    for signature, what in _PACKED:
        if head.startswith(signature):
            raise FileNotText(f"That is {what}, not a table as plain text.", field="file")
    for mark, name in _BOMS:
        if head.startswith(mark):
            return name, False
    even, odd = head[0::2].count(0), head[1::2].count(0)
    enough = len(head) // 8  # a quarter of its letters, in a list of addresses far more
    if odd > enough and even * 4 < odd:
        return "utf-16-le", False
    if even > enough and odd * 4 < even:
        return "utf-16-be", False
    if valid_utf8:
        return "utf-8", False
    return "cp1252", True


def _header(head: bytes, encoding: str) -> tuple[str, tuple[str, ...], int]:
    """The delimiter, the columns, and how many lines stand before the first record."""
    text = head.decode(encoding, errors="replace")
    lines = io.StringIO(text, newline="")
    skip, first = 0, ""
    told = None
    for line in lines:
        skip += 1
        if told is None and (said := _SEP.fullmatch(line)):  # a spreadsheet's own first line
            told = said[1]
            continue
        if line.strip():
            first = line
            break
    if len(first) >= HEAD // 2 and not first.endswith(("\n", "\r")):
        raise HeaderTooLong(field="file")
    delimiter = told or _delimiter(first)
    reader = csv.reader(chain([first], lines), delimiter=delimiter)
    try:
        names = next(reader, [])
    except csv.Error as wrong:
        raise HeaderTooLong(field="file") from wrong
    skip += max(0, reader.line_num - 1)
    if not any(name.strip() for name in names):
        raise FileEmpty(field="file")
    if len(names) > MOST_COLUMNS:
        raise HeaderTooLong(field="file")
    if any(re.fullmatch(r"\s*[^\s@]+@[^\s@]+\.[^\s@]+\s*", name) for name in names):
        raise HeaderMissing(field="file")
    return delimiter, _named(names), skip


def _delimiter(line: str) -> str:
    """The candidate that stands most often outside quotation marks; a comma where none does (a file of one column)."""
    bare = re.sub(r'"[^"]*"', "", line)
    return max(DELIMITERS, key=lambda sign: (bare.count(sign), sign == ","))


def _named(names: list[str]) -> tuple[str, ...]:
    """Every column has a name of its own: twins are numbered, nameless ones are called by their place."""
    found: list[str] = []
    for place, name in enumerate(names, 1):
        plain = restored(" ".join(name.split()))[:200] or f"column {place}"
        twin, number = plain, 1
        while twin in found:
            number += 1
            twin = f"{plain} ({number})"
        found.append(twin)
    return tuple(found)


def records(stream: BinaryIO, facts: FileFacts) -> Iterator[Record]:
    """Every row that is not empty, in order, with the formula guards of safe exports taken off again (standards N9)."""
    text = io.TextIOWrapper(stream, facts.encoding, errors="replace", newline="")
    lines = _Lines(text)
    for _ in range(facts.skip):
        text.readline()
        lines.number += 1
    rows = csv.reader(lines, delimiter=facts.delimiter, strict=False)
    number, width = 0, len(facts.columns)
    while True:
        lines.begin()
        try:
            cells = next(rows, None)
            wrong = lines.too_long
            if cells is not None and lines.ended:  # csv asked for more: a cell was still open
                cells, wrong = [], QuoteOpen()
        except csv.Error:
            cells, wrong = [], (QuoteOpen if lines.number > lines.first else LineTooLong)()
        if cells is None and wrong is None:
            text.detach()
            return
        if wrong is None and not any(cell.strip() for cell in cells or ()):
            continue
        number += 1
        yield _record(number, lines.first, cells or [], width, wrong)


class _Lines:
    """The lines of a text for csv, none of them longer than may be; a longer one is read past and told of."""

    def __init__(self, text: io.TextIOWrapper) -> None:
        self.text = text
        self.number, self.ended = 0, False
        self.begin()

    def begin(self) -> None:
        """A record begins with the next line."""
        self.first, self.length = self.number + 1, 0
        self.too_long: Invalid | None = None

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = self.text.readline(LONGEST_LINE)
        if not line:
            self.ended = True
            raise StopIteration
        self.number += 1
        if len(line) == LONGEST_LINE and not line.endswith(("\n", "\r")):
            while (rest := self.text.readline(LONGEST_LINE)) and not rest.endswith(("\n", "\r")):
                pass
            self.too_long = LineTooLong()
            return "\n"
        self.length += len(line)
        if self.length > LONGEST_RECORD and self.number > self.first:
            raise csv.Error
        return line


def _record(number: int, line: int, cells: list[str], width: int, wrong: Invalid | None) -> Record:
    if wrong is None and any(cell.strip() for cell in cells[width:]):
        wrong = CellsTooMany()
    told = tuple([restored(cell) for cell in cells])
    if wrong is not None:
        return Record(number, line, told, wrong)
    return Record(number, line, (*told[:width], *[""] * (width - len(told))))


def restored(cell: str) -> str:
    """A cell without the apostrophes that a safe export put before what a spreadsheet would take for a formula."""
    return _NEUTRALISED.sub(r"\1\2", cell) if "'" in cell else cell


def neutralised(cell: str) -> str:
    """The reverse: safe to open in a spreadsheet, and read back by `restored` as what it was, whatever it was."""
    return _FORMULA.sub(r"\1'\2", cell)
