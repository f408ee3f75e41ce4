"""Plots are well-formed, escaped, carry their finding, and hold under a strict style policy."""

from xml.etree import ElementTree

import pytest

from service.domain.reports.plots import Bar, Point, Step, Tick, bars, curve, funnel

HOSTILE = '<script>alert("1")</script> & \u202e\'"'
SVG = "http://www.w3.org/2000/svg"


def parse(svg: str) -> ElementTree.Element:
    """The drawing as a tree; two drawings stand beside each other in a funnel."""
    return ElementTree.fromstring(f'<div xmlns="{SVG}">{svg}</div>')


def drawings() -> dict[str, str]:
    """One of each kind, with a hostile word in every place that takes words."""
    points = [Point(0, 0), Point(0.5, 3608)]
    return {
        "funnel": funnel([Step("Audience", 4857), Step(HOSTILE, 4812, HOSTILE)], title=HOSTILE),
        "curve": curve(
            points, planned=4812, title=HOSTILE, ticks=[Tick(0, HOSTILE)], ahead=[points[-1], Point(1, 4812)]
        ),
        "bars": bars([Bar(HOSTILE, 7), Bar("09", 2180, stands_out=True)], title=HOSTILE),
    }


@pytest.mark.parametrize("kind", ["funnel", "curve", "bars"])
def test_plot_is_safe_and_says_its_finding(kind: str) -> None:
    """Nothing of a word becomes markup; title, role and name are there; no style attribute."""
    tree = parse(drawings()[kind])
    assert {element.tag.removeprefix(f"{{{SVG}}}") for element in tree.iter()} <= {
        "div", "svg", "title", "g", "text", "rect", "line", "path", "polyline",
    }  # fmt: skip
    assert all("style" not in element.attrib for element in tree.iter())
    for svg in tree.findall(f"{{{SVG}}}svg"):
        title = svg.find(f"{{{SVG}}}title")
        assert title is not None
        assert title.text == HOSTILE
        assert svg.attrib["aria-labelledby"] == title.attrib["id"]


def test_funnel_gives_shares_of_the_step_before() -> None:
    """4,812 of 4,857 is 99.1 %, and the first step has no share."""
    svg = funnel([Step("Audience", 4857), Step("May get it", 4812)], title="t")
    assert "99.1%" in svg
    assert "4,857" in svg
    assert "100.0%" not in svg


def test_curve_shows_what_is_planned_as_dashed() -> None:
    """Solid until now; dashed only when something is still ahead."""
    done = [Point(0, 0), Point(1, 10)]
    assert "line2" not in curve(done, planned=10, title="t")
    assert "line2" in curve(done, planned=20, title="t", ahead=[done[-1], Point(1, 20)])


@pytest.mark.parametrize("top", [1, 2, 7, 10, 99, 400, 4812, 20_000, 1_234_567])
def test_curve_levels_are_few_and_end_at_the_top(top: int) -> None:
    """At most six lines, the last one the planned number itself."""
    svg = curve([Point(0, 0), Point(1, top)], planned=top, title="t")
    assert 2 <= svg.count("<line") <= 6
    assert f">{top:,}</text>" in svg


@pytest.mark.parametrize("svg", [funnel([], title="t"), curve([], planned=0, title="t"), bars([], title="t")])
def test_empty_plots_are_still_drawings(svg: str) -> None:
    """Nothing sent yet must not break the page."""
    parse(svg)


def test_many_bars_keep_their_words_apart() -> None:
    """24 hours do not print 24 words."""
    svg = bars([Bar(f"{hour:02}", hour) for hour in range(24)], title="t")
    assert svg.count('text-anchor="middle"') < 14
