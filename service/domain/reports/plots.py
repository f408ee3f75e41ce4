"""Plots as SVG text, drawn by the server: values in, markup out. Called by the report and home pages.

Widths are per cent and heights pixels, so text keeps its size and only the drawing stretches. Colours are CSS
classes of app.css. Every plot carries a <title> that says its finding; its table twin is the page's part.
"""

from collections.abc import Iterator, Sequence
from html import escape
from itertools import pairwise
from typing import NamedTuple

ROW_WIDE, ROW_NARROW = 36, 50
CURVE_TOP, CURVE_HEIGHT = 14, 200
BARS_HEIGHT, BARS_ROOM = 90, 18
LABEL_SPACE = 0.2  # nearer than this share of the width, two labels run into each other on a phone
BAR_WIDTH = 0.1  # few bars stay bars, not walls


class Step(NamedTuple):
    """One row of a funnel: what, how many people, and the reason they are fewer than before."""

    label: str
    people: int
    note: str = ""


class Point(NamedTuple):
    """One moment of a curve: x from 0.0 (start) to 1.0 (end), and the people settled by then."""

    x: float
    people: int


class Tick(NamedTuple):
    """A word on an axis at x from 0.0 to 1.0."""

    x: float
    label: str


class Bar(NamedTuple):
    """One bar: its word under the axis, its number, and whether it stands out."""

    label: str
    number: int
    stands_out: bool = False


def funnel(steps: Sequence[Step], *, title: str, name: str = "funnel") -> str:
    """The way from audience to mailbox as falling bars, in a wide and a narrow drawing (CSS shows one).

    `title` says the finding; `name` makes ids unique on the page. Shares are of the step before.
    """
    widest = max((step.people for step in steps), default=0) or 1
    wide = "".join(_wide_row(steps, row, widest) for row in range(len(steps)))
    narrow = "".join(_narrow_row(step, row, widest) for row, step in enumerate(steps))
    return _svg(f"{name}-wide", title, len(steps) * ROW_WIDE - 8, wide, "big-only") + _svg(
        f"{name}-narrow", title, len(steps) * ROW_NARROW - 10, narrow, "small-only"
    )


def curve(
    points: Sequence[Point],
    *,
    planned: int,
    title: str,
    ticks: Sequence[Tick] = (),
    ahead: Sequence[Point] = (),
    name: str = "curve",
) -> str:
    """People settled over time: solid until now, dashed where planned (`ahead`, from the last point on)."""
    top = max(planned, *(point.people for point in (*points, *ahead)), 1)
    lines = "".join(_level(number, top) for number in _levels(top))
    drawn = ""
    if points:
        path = _path(points, top)
        last = _share(points[-1].x, 1000)
        first = _share(points[0].x, 1000)
        drawn = f'<path class="area" d="M{first},{CURVE_HEIGHT} L{path} {last},{CURVE_HEIGHT}Z"/>'
        drawn += f'<polyline class="line2" points="{_path(ahead, top)}"/>' if ahead else ""
        drawn += f'<polyline class="line" points="{path}"/>'
    inner = (
        f'<svg x="0" y="{CURVE_TOP}" width="100%" height="{CURVE_HEIGHT}" viewBox="0 0 1000 {CURVE_HEIGHT}" '
        f'preserveAspectRatio="none" class="inner">{drawn}</svg>'
    )
    words = "".join(_word(tick.x, CURVE_TOP + CURVE_HEIGHT + 20, tick.label) for tick in _roomy(ticks))
    return _svg(name, title, CURVE_TOP + CURVE_HEIGHT + 28, lines + inner + words, "left-axis")


def bars(items: Sequence[Bar], *, title: str, name: str = "bars") -> str:
    """Numbers side by side, such as mails per hour or people per topic; the highest carries its number."""
    top = max((item.number for item in items), default=0) or 1
    room = 1 / max(len(items), 1)
    width = min(0.76 * room, BAR_WIDTH)
    foot = BARS_ROOM + BARS_HEIGHT
    drawn = []
    for at, item in enumerate(items):
        height = max(round(item.number / top * BARS_HEIGHT, 1), 2 if item.number else 0)
        look = "fill-3" if item.stands_out else "fill"
        place = f'x="{_percent((at + 0.5) * room - width / 2)}" y="{foot - height:g}"'
        drawn.append(f'<rect class="{look}" {place} width="{_percent(width)}" height="{height:g}"/>')
        if item.number == top or item.stands_out or room >= LABEL_SPACE:
            drawn.append(_word((at + 0.5) * room, foot - height - 6, _number(item.number), "t-ink"))
    axis = f'<line class="axis" x1="0" x2="100%" y1="{foot}.5" y2="{foot}.5"/>'
    words = (_word(tick.x, foot + 18, tick.label) for tick in _roomy(_bar_ticks(items, room)))
    return _svg(name, title, foot + 26, "".join((*drawn, axis, *words)))


def _svg(name: str, title: str, height: int, body: str, look: str = "") -> str:
    shown = f' class="{look}"' if look else ""
    ident = escape(f"{name}-t", quote=True)
    return (
        f'<svg{shown} width="100%" height="{max(height, 1)}" role="img" aria-labelledby="{ident}">'
        f'<title id="{ident}">{escape(title)}</title>{body}</svg>'
    )


def _wide_row(steps: Sequence[Step], row: int, widest: int) -> str:
    step, y = steps[row], row * ROW_WIDE
    width = _percent(step.people / widest * 0.42)
    before = steps[row - 1].people if row else 0
    share = f"{step.people / before:.1%}" if before else ""
    return (
        f'<g><text class="t-ink num" x="0" y="{y + 19}">{escape(step.label)}</text>'
        f'<text class="t-ink num" x="24%" y="{y + 19}" text-anchor="end">{_number(step.people)}</text>'
        f'<rect class="rail-bar" x="26%" y="{y + 4}" width="42%" height="20"/>'
        f'<rect class="fill" x="26%" y="{y + 4}" width="{width}" height="20"/>'
        f'<text class="num" x="74%" y="{y + 19}" text-anchor="end">{share}</text>'
        f'<text x="76%" y="{y + 19}">{escape(step.note)}</text></g>'
    )


def _narrow_row(step: Step, row: int, widest: int) -> str:
    y = row * ROW_NARROW
    return (
        f'<g><text class="t-ink num" x="0" y="{y + 15}">{escape(step.label)}</text>'
        f'<text class="t-ink num" x="100%" y="{y + 15}" text-anchor="end">{_number(step.people)}</text>'
        f'<rect class="rail-bar" x="0" y="{y + 23}" width="100%" height="14"/>'
        f'<rect class="fill" x="0" y="{y + 23}" width="{_percent(step.people / widest)}" height="14"/></g>'
    )


def _levels(top: int) -> Iterator[int]:
    """0, two or three round numbers, and the top itself."""
    size = 10 ** (len(str(top)) - 1)
    steps = (size * part // 10 for part in (5, 10, 20, 50))
    step = next((step for step in steps if step and top <= step * 4), size)
    yield from (number for number in range(0, top, step) if top - number >= step / 2)
    yield top


def _level(number: int, top: int) -> str:
    y = round(CURVE_TOP + CURVE_HEIGHT * (1 - number / top), 1)
    look = "grid" if number else "axis"
    return (
        f'<line class="{look}" x1="0" x2="100%" y1="{y:g}" y2="{y:g}"/>'
        f'<text x="-8" y="{y + 4:g}" text-anchor="end">{_number(number)}</text>'
    )


def _path(points: Sequence[Point], top: int) -> str:
    return " ".join(f"{_share(p.x, 1000)},{round(CURVE_HEIGHT * (1 - p.people / top), 1):g}" for p in points)


def _bar_ticks(items: Sequence[Bar], room: float) -> list[Tick]:
    return [Tick((at + 0.5) * room, item.label) for at, item in enumerate(items)]


def _roomy(ticks: Sequence[Tick]) -> list[Tick]:
    """Every nth tick, so that words keep apart on a phone too."""
    gaps = [after.x - before.x for before, after in pairwise(ticks)]
    nearest = min(gaps, default=1.0)
    every = 1 if nearest >= LABEL_SPACE else int(LABEL_SPACE / max(nearest, 0.001)) + 1
    return list(ticks[::every])


def _word(x: float, y: float, label: str, look: str = "") -> str:
    side = "start" if x < 0.04 else "end" if x > 0.96 else "middle"
    shown = f' class="{look}"' if look else ""
    return f'<text{shown} x="{_percent(x)}" y="{y:g}" text-anchor="{side}">{escape(label)}</text>'


def _share(x: float, whole: int) -> str:
    return f"{round(min(max(x, 0.0), 1.0) * whole, 1):g}"


def _percent(x: float) -> str:
    return f"{round(min(max(x, 0.0), 1.0) * 100, 2):g}%"


def _number(number: int) -> str:
    return f"{number:,}"
