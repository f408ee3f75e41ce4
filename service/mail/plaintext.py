"""The text part of a mail, derived from the very fragment that becomes the HTML part, so that both say the
same.

Called by `letters.py`. Links are written out in full, tables stay readable, lines end by column 76 and
never inside a URL.
"""

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from unicodedata import east_asian_width

from service.mail.markdown import fragment
from service.mail.masks import Masks, for_text

COLUMNS = 76
_MASK_WIDTH = 18  # columns kept free for a merge field whose value is not known yet
_BLOCKS_WORDS = (
    "address blockquote caption dd details div dl dt h1 h2 h3 h4 h5 h6 hr ol p pre summary table ul"
)
_BLOCKS = frozenset(_BLOCKS_WORDS.split())
_VOID = frozenset({"br", "hr", "img"})
_SPACES = re.compile(r"[ \t\r\n\f]+")


@dataclass(slots=True)
class _Element:
    """One element of the fragment: its children are elements and strings."""

    tag: str
    attributes: dict[str, str]
    children: list["_Element | str"] = field(default_factory=list)

    def all(self, *tags: str) -> list["_Element"]:
        """The nearest descendants with one of these tags."""
        found: list[_Element] = []
        for child in self.children:
            if isinstance(child, _Element):
                found += [child] if child.tag in tags else child.all(*tags)
        return found


class _Tree(HTMLParser):
    """Reads a cleaned fragment; every element in it is closed."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open = [_Element("div", {})]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = _Element(tag, {name: value or "" for name, value in attrs})
        self.open[-1].children.append(element)
        if tag not in _VOID:
            self.open.append(element)

    def handle_endtag(self, tag: str) -> None:
        if len(self.open) > 1 and tag not in _VOID:
            self.open.pop()

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(data)


class _Writer:
    """Writes one fragment as text."""

    def __init__(self, masks: Masks) -> None:
        self.masks = masks

    def width(self, text: str) -> int:
        """Columns the text takes; a wide character two, a merge field a guess."""
        counted = self.masks.word.sub(self.guess, text)
        return len(counted) + (
            0 if counted.isascii() else sum(east_asian_width(sign) in "WF" for sign in counted)
        )

    def guess(self, mask: re.Match[str]) -> str:
        """As many letters as what stands here may take: none for a statement, one for a literal brace."""
        piece = self.masks.pieces[int(mask.group(1))]
        return "x" * (0 if piece.startswith(("{%", "{#")) else 1 if piece == "{" else _MASK_WIDTH)

    def wrap(self, text: str, columns: int) -> list[str]:
        """Lines of at most `columns`; a word longer than that, such as a URL, has a line of its own."""
        lines: list[str] = []
        for paragraph in text.split("\n"):
            line, used = "", 0
            for word in paragraph.split():
                size = self.width(word)
                if line and used + 1 + size > columns:
                    lines.append(line)
                    line, used = "", 0
                line, used = (f"{line} {word}", used + 1 + size) if line else (word, size)
            lines.append(line)
        return lines

    def blocks(self, element: _Element, columns: int) -> list[list[str]]:
        """The block-level pieces of an element, each a list of lines; loose words between them make pieces
        too."""
        found: list[list[str]] = []
        loose: list[_Element | str] = []
        for child in element.children:
            if isinstance(child, _Element) and self.is_block(child):
                found += self.paragraph(loose, columns)
                loose = []
                found += self.block(child, columns)
            else:
                loose.append(child)
        return found + self.paragraph(loose, columns)

    def is_block(self, element: _Element) -> bool:
        return element.tag in _BLOCKS or bool(element.all(*_BLOCKS))

    def paragraph(self, children: list["_Element | str"], columns: int) -> list[list[str]]:
        text = "".join(map(self.inline, children))
        text = "\n".join(line.strip() for line in text.split("\n"))
        return self.statements(text.strip("\n"), columns) if text.strip() else []

    def statements(self, text: str, columns: int) -> list[list[str]]:
        """A paragraph; one that is nothing but `{% %}` is marked so that no empty line is left around it."""
        pieces = [self.masks.piece(word) for word in text.split()]
        if all(piece is not None and piece[:2] in ("{%", "{#") for piece in pieces):
            return [["\0" + word] for word in text.split()]
        return [self.wrap(text, columns)]

    def block(self, element: _Element, columns: int) -> list[list[str]]:
        match element.tag:
            case "h1" | "h2" | "h3" | "h4" | "h5" | "h6":
                return self.heading(element, columns)
            case "ul" | "ol":
                return [self.items(element, columns)]
            case "pre":
                return [[f"    {line}".rstrip() for line in self.raw(element).rstrip("\n").split("\n")]]
            case "blockquote":
                return [[f"| {line}".rstrip() for line in self.joined(self.blocks(element, columns - 2))]]
            case "hr":
                return [["-" * 20]]
            case "table" if element.attributes.get("role") != "presentation":
                return self.table(element, columns)
            case _:
                return self.blocks(element, columns)

    def heading(self, element: _Element, columns: int) -> list[list[str]]:
        found = self.paragraph(element.children, columns)
        if element.tag in ("h1", "h2"):
            rule = "=" if element.tag == "h1" else "-"
            return [
                [*lines, rule * min(columns, max(len(self.masks.word.sub("field", line)) for line in lines))]
                for lines in found
            ]
        return found

    def items(self, element: _Element, columns: int) -> list[str]:
        entries = [child for child in element.children if isinstance(child, _Element) and child.tag == "li"]
        start = int(element.attributes.get("start") or 1)
        lines: list[str] = []
        for number, entry in enumerate(entries, start):
            mark = f"{number}. " if element.tag == "ol" else "* "
            inner = self.joined(self.blocks(entry, columns - len(mark)), tight=True) or [""]
            lines += [
                f"{mark if place == 0 else ' ' * len(mark)}{line}".rstrip()
                for place, line in enumerate(inner)
            ]
        return lines

    def table(self, element: _Element, columns: int) -> list[list[str]]:
        """Columns under each other where they fit, else one line per cell with its heading before it."""
        rows = [
            [" ".join(self.inline(cell).split()) for cell in row.all("th", "td")] for row in element.all("tr")
        ]
        rows = [row for row in rows if row]
        if not rows:
            return []
        count = max(map(len, rows))
        rows = [row + [""] * (count - len(row)) for row in rows]
        widths = [max(self.width(row[place]) for row in rows) for place in range(count)]
        if sum(widths) + 3 * (count - 1) <= columns:
            head, *rest = [
                " | ".join(self.pad(*cell) for cell in zip(row, widths, strict=True)) for row in rows
            ]
            rule = "-+-".join("-" * width for width in widths)
            return [[line.rstrip() for line in (head, rule, *rest)]]
        heads, *rest_rows = rows
        return [
            self.wrap("\n".join(f"{a}: {b}" for a, b in zip(heads, row, strict=True) if b), columns)
            for row in rest_rows
        ]

    def pad(self, text: str, width: int) -> str:
        return text + " " * (width - self.width(text))

    def raw(self, element: _Element) -> str:
        return "".join(child if isinstance(child, str) else self.raw(child) for child in element.children)

    def inline(self, node: "_Element | str") -> str:
        if isinstance(node, str):
            return _SPACES.sub(" ", node.replace("\N{NO-BREAK SPACE}", " "))
        if node.tag == "br":
            return "\n"
        if node.tag == "img":
            return self.picture(node)
        inner = "".join(map(self.inline, node.children))
        return self.link(inner, node.attributes.get("href", "")) if node.tag == "a" else inner

    def picture(self, node: _Element) -> str:
        alt, source = node.attributes.get("alt", "").strip(), node.attributes.get("src", "")
        return f"[{alt}] ({source})" if alt else f"({source})"

    def link(self, inner: str, url: str) -> str:
        """`words (URL)`; the URL alone where the words are the URL; the words alone for a place in the same
        text."""
        words = inner.strip()
        bare = url.removeprefix("mailto:").removeprefix("tel:")
        if not url or url.startswith("#"):
            return inner
        return (
            bare if words in ("", url, bare) else f"{words} ({bare if '@' in bare or bare != url else url})"
        )

    def joined(self, blocks: list[list[str]], *, tight: bool = False) -> list[str]:
        """All lines, an empty one after each block (none in a tight list, none after the last). The empty
        line belongs to the block before it, so that a block that is left out by `{% if %}` takes it along."""
        lines: list[str] = []
        for block in blocks:
            lines += block
            if not tight and not block[0].startswith("\0"):
                lines.append("")
        return lines[:-1] if lines and not lines[-1] else lines


def from_html(fragment_html: str, masks: Masks) -> str:
    """A cleaned, masked HTML fragment → masked text, lines at most 76 columns, each block apart by an empty
    line."""
    tree = _Tree()
    tree.feed(fragment_html)
    tree.close()
    writer = _Writer(masks)
    lines = writer.joined(writer.blocks(tree.open[0], COLUMNS))
    return "".join(line[1:] if line.startswith("\0") else f"{line}\n" for line in lines)


def from_markdown(source: str, *, allow_http: bool = True) -> str:
    """Markdown without merge fields → text; for feeds and for the web."""
    masks = Masks.for_texts(source)
    html = fragment(masks.literal(source), masks, allow_http=allow_http)
    return masks.unmask(from_html(html, masks), lambda piece: "{" if piece == "{" else for_text(piece))


def wrap(text: str, masks: Masks) -> list[str]:
    """Masked words in lines of at most 76 columns."""
    return _Writer(masks).wrap(text, COLUMNS)


def in_one_line(address: str) -> str:
    """An address of several lines as one, its lines set apart by commas."""
    lines = (" ".join(line.split()).rstrip(",") for line in address.splitlines())
    return ", ".join(line for line in lines if line)
