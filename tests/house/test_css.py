"""The two style sheets are one: public.css is what stands between the p-marks of app.css.

Run `python -m tests.house.test_css --write` after a change of app.css; the test then finds both alike.
"""

import re
import sys
from pathlib import Path

STATIC = Path(__file__).parents[2] / "service" / "web" / "static"
HEAD = "/* Bidden: readers' pages. Cut from app.css by tests/house/test_css.py: change it there. */\n"
STAFF_BYTES, PUBLIC_BYTES = 34_816, 16_384
UNSAFE = re.compile(r"@import|url\((?!#)|expression\(|https?:", re.IGNORECASE)


def cut_public(css: str) -> str:
    """What readers' pages need of `css`: every block between /*p{*/ and /*}p*/, in order."""
    blocks = re.findall(r"/\*p\{\*/\n(.*?)/\*\}p\*/", css, flags=re.DOTALL)
    return HEAD + "".join(blocks)


def test_public_css_is_cut_from_app_css() -> None:
    """Nobody edits public.css by hand."""
    assert (STATIC / "public.css").read_text() == cut_public((STATIC / "app.css").read_text())


def test_style_sheets_stay_small_and_ask_no_other_origin() -> None:
    """A reader's page with its style must fit into 25 KB; no sheet fetches anything."""
    for name, limit in (("app.css", STAFF_BYTES), ("public.css", PUBLIC_BYTES)):
        css = (STATIC / name).read_text()
        assert len(css.encode()) <= limit, f"{name} has grown to {len(css.encode())} bytes"
        assert not UNSAFE.search(css), f"{name} would fetch something"
        assert css.count("{") == css.count("}"), f"{name} has an unclosed block"


if __name__ == "__main__" and "--write" in sys.argv:
    (STATIC / "public.css").write_text(cut_public((STATIC / "app.css").read_text()))
