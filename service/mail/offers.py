"""Words that make a reader take a mail for advertising. Pure.

Called by the checks of notices: an important notice reaches people who did not ask for marketing, so one that sounds
like an offer is answered for by name before it is mailed (standards G7; 16 CFR 316.3, the primary purpose of a mail).
A word list proves nothing; it only makes sure that somebody has looked.
"""

import re

_PHRASES = (
    r"\d+\s?% (?:off|discount|less)",
    r"(?:save|saving) (?:up to )?(?:\d+\s?%|[$€£]\s?\d+)",
    r"discount(?:s|ed)?",
    r"(?:special|limited|exclusive|introductory|early[- ]bird) offers?",
    r"limited[- ]time",
    r"(?:buy|order|shop|upgrade|subscribe|book) (?:now|today)",
    r"free trial",
    r"(?:promo|promotional|coupon|voucher|discount) codes?",
    r"(?:black friday|cyber monday)",
    r"(?:half|reduced) price",
    r"only [$€£]\s?\d+",
    r"\d+\s?% (?:rabatt|nachlass|günstiger|reduziert)",
    r"rabatt(?:e|aktion|code)?",
    r"(?:sonder|einführungs|frühbucher)(?:angebote?|preise?|aktion(?:en)?|rabatte?)",
    r"(?:unser|exklusives|zeitlich begrenztes) angebot",
    r"(?:sparen|sichern) sie",
    r"jetzt (?:kaufen|bestellen|buchen|zugreifen|upgraden|sichern)",
    r"gutschein(?:e|code|codes)?",
    r"kostenlos (?:testen|probieren)",
    r"zum halben preis|nur \d+(?:,\d\d)?\s?(?:€|euro)",
)
_SIGNS = re.compile(rf"(?<!\w)(?:{'|'.join(_PHRASES)})(?!\w)", re.IGNORECASE)
_CODE = re.compile(r"^(`{3,}|~{3,})[^\n]*\n.*?^\1[^\n]*$|`[^`\n]+`", re.DOTALL | re.MULTILINE)
MOST = 3  # phrases told; whoever reads three looks at the text


def signs(*texts: str) -> list[str]:
    """The phrases in `texts` (Markdown, English or German) that sound like an offer, as they stand there, each once and
    `MOST` of them at most. What stands in code is no offer."""
    plain = [" ".join(_CODE.sub(" ", text).split()) for text in texts]
    found: dict[str, str] = {}
    for phrase in (match.group() for text in plain for match in _SIGNS.finditer(text)):
        found.setdefault(phrase.casefold(), phrase)
    return list(found.values())[:MOST]
