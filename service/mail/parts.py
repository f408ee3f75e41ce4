"""One MIME part of a message. What is the same for every reader is encoded once, when a mailing's template is loaded.

Called by `message.Assembler`. A rendered template comes in pieces: the template's own text, which its code holds as
constants, and the reader's values between. `Encoder` keeps the constants encoded and only adds up what a line may be.
"""

from binascii import b2a_qp
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

LONGEST_LINE = 998  # octets without CRLF, RFC 5322 section 2.1.1
_DROPPED = bytes(sorted({*range(32), 127} - {9, 10}))  # controls that no body may hold


class Piece(NamedTuple):
    """A stretch of a part, encoded as 7bit: its octets, and what decides whether it may stand so among others."""

    octets: bytes
    plain: bool  # ASCII, short lines inside, no white space before an inner line end, no CR
    first: int  # octets before its first line end; all of them when it has none
    last: int  # octets after its last line end; -1 when it has none
    breaks: bool  # begins with a line end
    blank: bool  # ends in white space
    dotted: bool  # a line that begins in it begins with a dot
    dot: bool  # it begins with a dot itself


class Part(NamedTuple):
    """A part of a message, with its headers, in pieces: the message is put together once, and no piece copied before.
    `dotted`: a line of it begins with a dot, which the wire has to double."""

    pieces: list[bytes]
    dotted: bool


class Lines(NamedTuple):
    """A stretch of a part that is to be quoted: its whole lines are, the two it shares with its neighbours are not yet."""

    first: bytes  # up to its first line end, or all of it
    whole: bytes  # the lines between, quoted
    dotted: bool  # one of those begins with a dot
    last: bytes | None  # after its last line end; None when it has none


class Encoder:
    """Encodes the renderings of one template. `constants`: the texts its code yields unchanged."""

    __slots__ = ("_html", "_known", "_lines", "_must_quote")

    def __init__(self, constants: Iterable[str], *, html: bool) -> None:
        self._html = html
        self._known = {text: _piece(text, html=html) for text in constants}
        self._lines: dict[str, Lines] = {}
        self._must_quote = any(not piece.plain for piece in self._known.values())

    def encode(self, pieces: list[str]) -> Part:
        """The part of these pieces, the same octets as `part` makes of them joined."""
        if self._must_quote:
            return self._quoted(pieces)
        known, html = self._known, self._html
        out = [_PART_HEAD[html, "7bit"]]
        column, blank, dotted = 0, False, False
        for text in pieces:
            piece = known.get(text)
            if (
                piece is None and text.isascii() and text.isprintable()
            ):  # a name, a link: nothing to encode in it
                if not column and text.startswith("."):
                    dotted = True
                column += len(text)
                blank = text.endswith(" ") if text else blank
                out.append(text.encode())
                continue
            piece = piece or _common(text, html=html)
            if piece.dotted or (piece.dot and not column):
                dotted = True
            column += piece.first
            if not piece.plain or column > LONGEST_LINE or (blank and piece.breaks):
                return self._quoted(pieces)
            if piece.last >= 0:
                column = piece.last
            blank = piece.blank if text else blank
            out.append(piece.octets)
        return Part(out, dotted) if column <= LONGEST_LINE else self._quoted(pieces)

    def _quoted(self, pieces: list[str]) -> Part:
        """The same where the part cannot stand as it is: quoted-printable works line by line (RFC 2045 section 6.7), so
        only lines that hold something of the reader's are encoded anew."""
        if any("\r" in text for text in pieces):
            return part("".join(pieces), html=self._html)
        out, line, dotted = [_PART_HEAD[self._html, "quoted-printable"]], b"", False
        for text in pieces:
            cut = self._lines.get(text)
            if cut is None and text.isascii() and text.isprintable():
                line += text.encode()
                continue
            cut = cut or self._cut(text)
            line += cut.first
            if cut.last is not None:
                quoted = _quote(line + b"\n")
                dotted = dotted or cut.dotted or _dotted(quoted)
                out += (quoted, cut.whole)
                line = cut.last
        quoted = _quote(line)
        out.append(quoted)
        return Part(out, dotted or _dotted(quoted))

    def _cut(self, text: str) -> Lines:
        first, mark, rest = _octets(text, html=self._html).partition(b"\n")
        whole, end, last = rest.rpartition(b"\n")
        quoted = _quote(whole + end)
        made = Lines(first, quoted, _dotted(quoted), last if mark else None)
        if text in self._known:
            self._lines[text] = made
        return made


@lru_cache(maxsize=256)
def _common(text: str, *, html: bool) -> Piece:
    """Of a value that many readers share, such as the sentence why they get a mail."""
    return _piece(text, html=html)


def _piece(text: str, *, html: bool) -> Piece:
    octets = _octets(text, html=html)
    plain = "\r" not in text and octets.isascii() and _short_lines(octets)
    first, last = octets.find(b"\n"), octets.rfind(b"\n")
    return Piece(
        octets.replace(b"\n", b"\r\n"),
        plain,
        first if first >= 0 else len(octets),
        len(octets) - last - 1 if last >= 0 else -1,
        first == 0,
        octets[-1:] in (b" ", b"\t"),
        b"\n." in octets,
        octets[:1] == b".",
    )


def part(body: str, *, html: bool) -> Part:
    """One MIME part: its two headers, an empty line, the encoded body with CRLF (RFC 2045 section 6).

    HTML leaves as ASCII with character references; a text that is ASCII in short lines as it is; all else as
    quoted-printable.
    """
    octets = _octets(body.replace("\r\n", "\n").replace("\r", "\n") if "\r" in body else body, html=html)
    if octets.isascii() and _short_lines(octets):
        return _whole(_PART_HEAD[html, "7bit"], octets.replace(b"\n", b"\r\n"))
    return _whole(_PART_HEAD[html, "quoted-printable"], _quote(octets))


def _whole(head: bytes, octets: bytes) -> Part:
    return Part([head, octets], _dotted(octets))


def _dotted(lines: bytes) -> bool:
    return lines.startswith(b".") or b"\n." in lines


def _quote(octets: bytes) -> bytes:
    encoded = b2a_qp(octets, quotetabs=False, istext=True, header=False)
    return encoded.replace(b"\n", b"\r\n")


def _octets(text: str, *, html: bool) -> bytes:
    octets = text.encode("ascii", "xmlcharrefreplace") if html else text.encode("utf-8", "replace")
    return octets.translate(None, _DROPPED)


_PART_HEAD = {
    (html, encoding): (
        f"Content-Type: text/{'html' if html else 'plain'}; charset=utf-8\r\n"
        f"Content-Transfer-Encoding: {encoding}\r\n\r\n"
    ).encode()
    for html in (True, False)
    for encoding in ("7bit", "quoted-printable")
}


def _short_lines(octets: bytes) -> bool:
    """Whether no line passes 998 octets, and none ends in white space that a relay might strip."""
    if b" \n" in octets or b"\t\n" in octets:
        return False
    place = 0
    while len(octets) - place > LONGEST_LINE:
        end = octets.rfind(b"\n", place, place + LONGEST_LINE + 1)
        if end < 0:
            return False
        place = end + 1
    return True
