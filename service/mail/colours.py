"""Contrast of two colours (WCAG 2.2, 1.4.3), and a brand's colour made readable. Called by `letters.py`,
`check.py`."""

import re
from colorsys import hls_to_rgb, rgb_to_hls

from service.kit.errors import Invalid

AA = 4.5
_HEX = re.compile(r"#[0-9a-fA-F]{6}\Z")


class BadColour(Invalid):
    """A colour is written as # and six hexadecimal digits, such as #0B6B5D."""


def _channels(colour: str) -> tuple[int, int, int]:
    if not _HEX.match(colour):
        raise BadColour(field="colour")
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _luminance(colour: str) -> float:
    """Relative luminance of an sRGB colour, 0 to 1."""
    parts = [part / 255 for part in _channels(colour)]
    red, green, blue = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(first: str, second: str) -> float:
    """Contrast ratio of two colours, 1 to 21."""
    light, dark = sorted((_luminance(first), _luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def readable(colour: str, ground: str, *, least: float = AA) -> str:
    """The colour itself if it reads on that ground, else the nearest darker or lighter shade of its hue
    that does."""
    if contrast(colour, ground) >= least:
        return colour.upper()
    hue, light, full = rgb_to_hls(*(part / 255 for part in _channels(colour)))
    target = 0.0 if _luminance(ground) > 0.18 else 1.0
    for step in range(1, 51):
        mixed = hls_to_rgb(hue, light + (target - light) * step / 50, min(full, 0.5) if target else full)
        shade = "#{:02X}{:02X}{:02X}".format(*(round(part * 255) for part in mixed))
        if contrast(shade, ground) >= least:
            return shade
    return "#FFFFFF" if target else "#000000"
