"""What a suppression means to people: how far it reaches, why, whence, and what would lift it. Pure."""

from service.kit.errors import Invalid

CAUSES = {
    "withdrawal": ("They stopped these mails.", "Only the person can choose them again."),
    "objection": ("They objected to marketing.", "Only the person, on their own page."),
    "complaint": (
        "They reported a mail as spam.",
        "Only the person can choose again, with a new confirmation.",
    ),
    "hard_bounce": ("The mailbox does not exist, its server says.", "A new confirmation from that mailbox."),
    "erasure": (
        "Their data was erased; this keyed hash keeps their no.",
        "Only the person, by signing up again.",
    ),
    "restriction": (
        "They asked that their data be kept and not used, and a restored copy does not know them.",
        "It passes to whoever is registered there next, who can lift it on their own page.",
    ),
    "legal": ("The law or an authority asks for it.", "The privacy officer, with the ground recorded."),
}
SCOPES = {"all": "All mail", "marketing": "All marketing", "topic": "One topic"}
ORIGINS = {
    "link": "a link in a mail",
    "me": "their own page",
    "page": "their own page",
    "objection": "what they asked of staff",
    "staff": "staff",
    "api": "a site, through the API",
    "moved": "their mailbox before",
    "restore": "the file of stops, after a copy was restored",
}
OWN = ("withdrawal", "objection", "complaint")  # what is said by a person, whichever mailbox they have


class CauseUnknown(Invalid):
    """Nobody is on the list for such a cause."""


def check_cause(cause: str) -> str:
    """The cause, if there is one by that name. Raises `CauseUnknown`."""
    if cause not in CAUSES:
        raise CauseUnknown(field="cause", fix="One of: " + ", ".join(CAUSES))
    return cause


def words_of(cause: str) -> tuple[str, str]:
    """Why, and what would lift it; of a cause that this version does not know, its name."""
    return CAUSES.get(cause, (cause, ""))


def origin_words(origin: str) -> str:
    """Where a no came from: through which door, by which mailing (m_…) or import (i_…)."""
    kind = {"m": "mailing", "i": "import"}.get(origin.partition("_")[0]) if "_" in origin else None
    return (
        f"{kind} {origin}"
        if kind
        else ORIGINS.get(origin, origin.replace("_", " ") or "nobody wrote it down")
    )
