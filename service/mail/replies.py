"""What an SMTP reply means for one letter: a pure table, no I/O.

The transport reports a reply and the phase it belongs to; the sender asks `classify` what becomes of the
outcome row. Recovery asks the same question about replies read from a journal.
"""

import re
from typing import Literal, NamedTuple, Self

Phase = Literal["connect", "mail", "rcpt", "data", "dot", "local"]
State = Literal["sent", "deferred", "bounced", "skipped", "unknown"]

# The enhanced code leads the text of the first line (RFC 2034 section 4); its class is 2, 4 or 5.
_ENHANCED = re.compile(r"([245]\.[0-9]{1,3}\.[0-9]{1,3})(?=\s|$)")
_UNPRINTABLE = re.compile(r"[^\x20-\x7e\xa1-\u2027\u2030-\ud7ff\ue000-\U0010ffff\n]")
_TEXT_KEPT = 1000
_SPEAKS_OF_A_RATE = re.compile(r"\brate\b|limit|throttl|too (?:many|much|fast|quickly)")

# The address itself is wrong, gone or closed (RFC 3463 section 3.2, RFC 7505 section 4.2).
# 5.1.7 and 5.1.8 speak of the sender, 5.1.0 and 5.1.4 of nothing certain.
_ADDRESS_IS_BAD = frozenset({"5.1.1", "5.1.2", "5.1.3", "5.1.6", "5.1.10", "5.2.1"})
# Our own standing with the server, whichever letter happened to be next (RFC 4954 section 6).
_OUR_LOGIN = frozenset({530, 534, 535, 538})
NOT_AUTHENTICATED, SENDER_REFUSED = "not_authenticated", "sender_refused"
# What a server may say to the final dot when it takes the message; any other 2xx there is not understood.
_TAKEN = frozenset({250, 251, 252})


class Reply(NamedTuple):
    """One complete SMTP reply: its code, the enhanced status code that led its text (if any), its text."""

    code: int
    enhanced: str | None
    text: str

    @classmethod
    def of(cls, code: int, text: str) -> Self:
        """A reply from its code and text (lines joined by a line feed); the enhanced code is read from the
        text.

        Unprintable characters become "?", and the text is cut at 1,000 characters: it is evidence, not data.
        """
        found = _ENHANCED.match(text)
        kept = text[:_TEXT_KEPT]
        if not (kept.isascii() and kept.isprintable()):
            kept = _UNPRINTABLE.sub("?", kept)
        return cls(code, found[1] if found else None, kept)


class Verdict(NamedTuple):
    """What becomes of the letter.

    `suppress`: the address is never to be written to again. `server`: the refusal speaks of the server or of us, whichever
    letter came next, so the server is to be left alone. `reason` is a stable word; `policy` (5.7.x, of us or the content) and
    `message_too_large` count towards stopping the mailing.
    """

    state: State
    suppress: bool
    reason: str
    server: bool


def classify(reply: Reply | None, phase: Phase) -> Verdict:
    """What `reply` (None: the connection ended without one), given in answer to `phase`, means for the
    letter.

    Phase `dot` means that payload and dot were written; `connect` that no letter was named yet; `local` that
    the transport itself refused before a byte was written (its reply's text is the reason).
    RFC 5321 sections 4.2 and 4.5.3.1.10, RFC 3463, RFC 5248.
    """
    if phase == "local":
        return Verdict("skipped", False, reply.text if reply else "refused", False)
    if reply is None:
        return _verdict("unknown", "no_reply") if phase == "dot" else _verdict("deferred", "disconnected")
    digit = reply.code // 100
    if digit == 2 and phase == "dot" and reply.code in _TAKEN:
        return _verdict("sent", "accepted")
    if digit == 4:
        return _verdict("deferred", "closing" if reply.code == 421 else "temporary")
    if digit == 5:
        return _refused(reply, phase)
    return _verdict("unknown" if phase == "dot" else "deferred", "odd_reply")


def throttles(reply: Reply) -> bool:
    """Whether the server asks for less mail: 421, or a 4xx of class 4.7 (standards F4, RFC 3463 section 3.8).

    Greylisting is no such thing: it means this one letter. It names itself, or says 4.7.1 without speaking of a rate.
    """
    text = reply.text.lower()
    if reply.code // 100 != 4 or "greylist" in text or "graylist" in text:
        return False
    detail = reply.enhanced or ""
    if reply.code == 421:
        return True
    return detail.startswith("4.7.") and (detail != "4.7.1" or _SPEAKS_OF_A_RATE.search(text) is not None)


def _verdict(state: State, reason: str, *, suppress: bool = False, server: bool = False) -> Verdict:
    return Verdict(state, suppress, reason, server)


def _refused(reply: Reply, phase: Phase) -> Verdict:
    """A 5xx: mostly final; its enhanced code, unless of another class, says whom it blames."""
    detail = reply.enhanced or ""
    if reply.code in _OUR_LOGIN:
        return _verdict("deferred", NOT_AUTHENTICATED, server=True)
    if phase == "connect":
        return _verdict("deferred", "server_refuses_us", server=True)
    if detail == "5.2.2":
        return _verdict("deferred", "mailbox_full")
    if detail == "5.3.4" or (
        phase == "mail" and reply.code == 552
    ):  # by the SIZE that MAIL names (RFC 1870 section 6.1)
        return _verdict("bounced", "message_too_large")
    if phase == "mail":
        return _not_from_us(reply.code, detail)
    if phase == "rcpt" and reply.code == 552:
        return _verdict("deferred", "too_many_recipients")
    if detail.startswith("5.7."):
        return _verdict("bounced", "policy")
    if detail in _ADDRESS_IS_BAD or (not detail and reply.code == 556):
        return _verdict("bounced", "address_invalid", suppress=True)
    return _verdict("bounced", "refused")


def _not_from_us(code: int, detail: str) -> Verdict:
    """A 5xx to MAIL, which names nobody but us: whatever its class says, the reader is not meant. What hangs on the letter's own
    making, and only that, ends the letter: a parameter of its MAIL (555) and what it is made of (5.6.x, such as 5.6.7 of RFC
    6531). Everything else the next letter would be told as well."""
    if code == 555 or detail.startswith("5.6."):
        return _verdict("bounced", "refused")
    return _verdict("deferred", SENDER_REFUSED, server=True)
