"""What a suppression means to people: why, and what would lift it. Pure."""

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
OWN = ("withdrawal", "objection", "complaint")  # what is said by a person, whichever mailbox they have
