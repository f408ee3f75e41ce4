"""What is done with people's data (`ops.profile`, as it was put down last), in the reader's language, for the copy of their data.

What the program says of itself is translated; what staff entered stands as they wrote it.
"""

import re
from typing import Any

from service.domain.privacy import periods
from service.ops import profile
from service.web import words

SITE = "sees and changes its own people"
NETWORK = "network address with a choice; it {}"
# Every text of ours in a profile and among the periods; any other is of staff, or of a version that spoke otherwise.
FIXED = frozenset(
    (
        *(what for what, _ in profile.DATA),
        *profile.COLLECTED,
        *profile.WITHDRAWAL,
        *profile.RIGHTS,
        *periods.WHILE_KNOWN,
        *(one.holds for one in periods.CLASSES if one.name not in periods.NOT_OF_PEOPLE),
        NETWORK.format("is not kept"),
        NETWORK.format("is kept cut short"),
        "controller",
        "data protection officer",
        "processor",
        SITE,
        "The readers' mailbox providers",
        "take the mails in",
    )
)
_WHOLE = re.compile(re.escape(NETWORK.format("is kept whole for ")) + r"(\d+) days")


def readable(found: dict[str, Any] | None, say: words.Say) -> dict[str, Any] | None:
    """The version in force as the page shows it; None where nothing was put down yet."""
    if found is None:
        return None
    told = found["profile"]
    data = told["personal_data"]
    return {
        "entry": found["entry"],
        "parties": [{"role": _said(one["role"], say), "who": _who(one)} for one in told["parties"]],
        "needed": [_said(one["what"], say) for one in data if not one["optional"]],
        "optional": [_said(one["what"], say) for one in data if one["optional"]],
        "collected": [_said(one, say) for one in told["collection_methods"]],
        "recipients": [_recipient(one["who"], one["what_for"], say) for one in told["recipients"]],
        "locations": told["locations"],
        "transfers": told["transfers"],
        "withdrawal": [_said(one, say) for one in told["withdrawal_methods"]],
        "rights": [_said(one, say) for one in told["rights"]],
        "authority": told["authority"],
    }


def kept(found: list[dict[str, Any]], say: words.Say) -> list[dict[str, Any]]:
    """What goes by itself, after how many days; the rest stays until the person is erased."""
    return [one | {"what": _period(one["what"], say)} for one in found if one["days"] is not None]


def _period(what: str, say: words.Say) -> str:
    name = what.removeprefix("attribute ")
    return _said(what, say) if name == what else say("attribute “%(name)s”", name=name)


def _recipient(who: str, what_for: str, say: words.Say) -> dict[str, str]:
    site = who.removeprefix("site ") if what_for == SITE else who
    name = _said(who, say) if site == who else say("the site “%(source)s”", source=site)
    return {"who": name, "what_for": _said(what_for, say)}


def _who(party: dict[str, str]) -> list[str]:
    """Name, postal address and where to write to, as far as they are known; a name that the address begins with stands once."""
    name, address = party["name"], party.get("postal_address", "")
    return [one for one in ("" if name in address else name, address, party.get("contact", "")) if one]


def _said(text: str, say: words.Say) -> str:
    if text in FIXED:
        return say(text)
    if whole := _WHOLE.fullmatch(text):
        return say("network address with a choice; it is kept whole for %(n)s days", n=whole[1])
    return text
