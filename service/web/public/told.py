"""The codes of the access copy in a reader's words: what a mail came to and was for, why, and the facts of a proof. Called by `copies`.

English here, the other languages in templates/web/answers. What is no code of ours (a topic, words of a site) stays as it is.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from service.web import words
from service.web.words import Say

BASES = {
    "consent": "your consent",
    "soft_opt_in": "as a customer",
    "contract": "our contract with you",
    "legal_obligation": "the law asks for it",
    "legacy_registration": "an earlier registration",
    "implied_purchase": "something you bought",
    "implied_inquiry": "something you asked",
}
MAILS = {
    "sent": "sent",
    "bounced": "came back",
    "skipped": "not sent",
    "deferred": "to be tried again",
    "unknown": "not known whether it arrived",
    "expired": "not sent, it would have come too late",
    "cancelled": "not sent, called off",
    "waiting": "not sent yet",
}
PURPOSES = {
    "confirm": "Please confirm",
    "sign-in": "Link to your data",
    "preferences-link": "Link to your choices",
    "address-changed": "Your address was changed",
    "address-confirm": "Please confirm your address",
    "contact-answer": "Answer to your message",
    "policy-changed": "New policy",
    "ask-again": "Asked whether to go on",
    "ask-anew": "Asked about changed words",
    "test": "A mail to try out",
}
CAUSES = {
    "withdrawal": "You stopped these mails",
    "objection": "You objected to advertising",
    "complaint": "You reported a mail as spam",
    "hard_bounce": "Your mail server said that there is no such mailbox",
    "erasure": "Your data was erased, and your no kept",
    "restriction": "You asked us to keep your data and not to use it",
    "legal": "The law or an authority asks for it",
}
SCOPES = {"all": "all mail", "marketing": "all advertising", "topic": "one topic"}
FACTS = {
    "at": "Said at",
    "url": "Page",
    "ip": "Network address",
    "user_agent": "Program",
    "confirmed at": "Confirmed at",
    "confirmed url": "Confirmed on the page",
    "confirmed ip": "Confirmed from the network address",
    "confirmed user_agent": "Confirmed with the program",
    "confirmed method": "Confirmed by",
}


def proof(evidence: Mapping[str, Any], say: Say, within: str = "") -> Iterator[dict[str, Any]]:
    """Fact by fact {name, at: datetime|None, value}; what holds parts of its own (a confirmation at the site) is opened up. A network
    address whose time is over is there without a value."""
    for name, value in evidence.items():
        plain = FACTS.get(within + name)
        if isinstance(value, Mapping):
            yield from proof(value, say, f"{within}{name} ")
        elif value is not None or name == "ip":
            shown = say("gone after its time") if value is None else value
            yield {
                "name": say(plain) if plain else within + name,
                "at": words.instant(str(value)),
                "value": shown,
            }


def in_words(code: str, known: Mapping[str, str], say: Say) -> str:
    """A code in a reader's words; what is none of ours, as it is."""
    return say(known[code]) if code in known else code
