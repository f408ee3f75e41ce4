"""What an answer about a topic makes of what was there. Pure; the one place that knows a no stays a no (P7)."""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from service.domain.consent import jurisdictions
from service.kit.errors import Invalid

PERMITTING = ("given", "renewed")
NOES = ("refused", "withdrawn", "invalidated")
CONFIRM_WITHIN = timedelta(days=7)
FAST_CLOCK = timedelta(minutes=5)  # so far others' clocks may be apart from ours
MAILS_PER_DAY = (
    2  # confirmations to one mailbox in 24 hours: nobody can be bombed by our form (standards N11)
)


class ConsentInvalid(Invalid):
    """A consent names a topic and says given true or false."""


class EvidenceMissing(Invalid):
    """A yes needs its evidence: source, and evidence.at (when the person agreed)."""


class EvidenceInvalid(Invalid):
    """The evidence is not as described: url, ip, user_agent are texts, at is an instant that has passed."""


class WordingUnknown(Invalid):
    """That is not a wording of this topic."""


class WordingNotThereYet(Invalid):
    """Those words were published after the person agreed."""

    fix_hint = "Name the words they were shown, or none: then it is those of that day."


class TopicTwice(Invalid):
    """A topic is answered once; this one is named twice."""


class AttestationRefused(Invalid):
    """Only a key with the scope consents:attest may say that an address is confirmed."""

    status = 403


class ImpliedNeedsAttestation(AttestationRefused):
    """Only a key with the scope consents:attest may bring a consent that the person did not say."""


class ImpliedOver(Invalid):
    """That was too long ago to permit any mail today."""

    fix_hint = "A purchase permits for two years, an inquiry for six months; evidence.at says when it was."


@dataclass(frozen=True)
class Sealed:
    """Evidence that was closed before anybody knew what would come of it: good for the one person, the one kind of entry and
    the one rule on network addresses that it was closed for."""

    subject: str
    kind: str
    ip_evidence: str
    part: dict[str, str]


@dataclass(frozen=True)
class Item:
    """One answer about one topic, as a door was told it."""

    topic: str
    given: bool
    wording: str | None = None
    source: str = ""
    evidence: dict[str, Any] = field(default_factory=dict)
    agreed_at: datetime | None = None
    confirmed: dict[str, Any] | None = None
    elsewhere: str = ""  # SHA-256 of words that were shown by another system and are no wording of ours
    basis: str = (
        ""  # what permits in place of a yes of their own (`jurisdictions.MONTHS`); "": the topic's basis
    )
    sealed: Sealed | None = None


@dataclass(frozen=True)
class Step:
    """What follows: the entry to write (None: nothing new), the new state, the word for the answer, a mail to send."""

    kind: str | None
    state: str
    result: str
    confirm: bool = False


def item(said: Any, *, now: datetime, position: int = 0) -> Item:
    """Read one consent item of the API (design.md 6). Raises with the field's path."""
    at = f"consents[{position}]"
    if (
        not isinstance(said, dict)
        or not isinstance(said.get("topic"), str)
        or not isinstance(said.get("given"), bool)
    ):
        raise ConsentInvalid(field=at)
    unknown = set(said) - {"topic", "given", "wording", "source", "evidence", "confirmed", "basis"}
    if unknown:
        raise ConsentInvalid(field=f"{at}.{sorted(unknown)[0]}")
    source, wording = said.get("source") or "", said.get("wording")
    if not isinstance(source, str) or len(source) > 120:
        raise ConsentInvalid(field=f"{at}.source")
    if not (wording is None or isinstance(wording, str)):
        raise ConsentInvalid(field=f"{at}.wording")
    basis = said.get("basis") or ""
    if basis and (basis not in jurisdictions.MONTHS or not said["given"]):
        known = ", ".join(jurisdictions.MONTHS)
        raise ConsentInvalid(field=f"{at}.basis", fix=f"Only with given true, and one of: {known}.")
    evidence, agreed_at = _evidence(said.get("evidence"), at, now)
    if said["given"] and (not source or agreed_at is None):
        raise EvidenceMissing(field=f"{at}.source" if not source else f"{at}.evidence.at")
    return Item(
        said["topic"],
        said["given"],
        wording,
        source,
        evidence,
        agreed_at,
        _confirmed(said.get("confirmed"), at, now),
        basis=basis,
    )


def _evidence(said: Any, at: str, now: datetime) -> tuple[dict[str, Any], datetime | None]:
    if said is None:
        return {}, None
    if not isinstance(said, dict) or set(said) - {"url", "ip", "user_agent", "at"}:
        raise EvidenceInvalid(field=f"{at}.evidence")
    for name in ("url", "ip", "user_agent"):
        if not isinstance(said.get(name, ""), str | None) or len(said.get(name) or "") > 2000:
            raise EvidenceInvalid(field=f"{at}.evidence.{name}")
    agreed_at = instant(said.get("at"), f"{at}.evidence.at", now) if said.get("at") is not None else None
    return {name: said[name] for name in ("url", "ip", "user_agent") if said.get(name)}, agreed_at


def _confirmed(said: Any, at: str, now: datetime) -> dict[str, Any] | None:
    if said is None:
        return None
    if (
        not isinstance(said, dict)
        or set(said) - {"at", "method"}
        or not isinstance(said.get("method", ""), str)
    ):
        raise EvidenceInvalid(field=f"{at}.confirmed")
    confirmed_at = instant(said.get("at"), f"{at}.confirmed.at", now)
    return {"at": confirmed_at.isoformat(), "method": said.get("method", "")[:120]}


def instant(said: Any, field: str, now: datetime) -> datetime:
    """An ISO 8601 instant that has passed (five minutes of a fast clock are forgiven)."""
    try:
        at = datetime.fromisoformat(said) if isinstance(said, str) else None
    except ValueError:
        at = None
    if at is not None and at.tzinfo is not None and at > now + FAST_CLOCK:
        raise EvidenceInvalid(field=field, fix="That instant has not come yet; evidence speaks of what was.")
    if at is None or at.tzinfo is None or at.year < 1990:
        raise EvidenceInvalid(field=field, fix="Write it with its offset, such as 2026-11-24T09:20:00Z.")
    return at.astimezone(UTC)


@lru_cache(maxsize=4096)
def kept_ip(ip: str, policy: str) -> str | None:
    """An address of the network as evidence keeps it: whole (`full`), its /24 or /48 (`truncated`), or not (`none`)."""
    if policy == "full":
        return ip
    if policy == "none":
        return None
    try:
        address = ipaddress.ip_address(ip.strip())
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address):  # one of version 4 in the form of 6 is cut as what it is
        address = address.ipv4_mapped or address.sixtofour or address
    return str(ipaddress.ip_network((address, 24 if address.version == 4 else 48), strict=False))


def answer(
    *,
    state: str,
    since: datetime | None,
    given: bool,
    agreed_at: datetime | None,
    attested: bool,
    confirm: bool,
    newer_words: bool,
    wider: bool = False,
) -> Step:
    """What one answer makes of the state before it.

    `attested`: a trusted source says the person confirmed it. `confirm`: the topic asks for a confirmation by mail.
    `newer_words`: they were shown words not older than those of the yes that stands. `wider`: that yes does not cover them.
    A no is never turned into a yes here: a yes that is newer than the no makes a mail to the person, whose button alone
    says yes; an older or repeated one makes nothing.
    """
    if not given:
        return _no(state)
    if state in PERMITTING:
        renewed = newer_words and agreed_at is not None and (since is None or agreed_at > since)
        if renewed and wider and not attested:  # anybody can type an address
            return Step(None, state, "confirmation_sent", confirm=True)
        return Step("consent.renewed", "renewed", "renewed") if renewed else Step(None, state, "unchanged")
    if state in NOES:
        newer = agreed_at is not None and since is not None and agreed_at > since
        return Step(None, state, "kept_no", confirm=newer)
    if attested or not confirm:
        return Step("consent.given", "given", "given")
    if state == "requested":
        return Step(None, "requested", "confirmation_pending", confirm=True)
    return Step("consent.requested", "requested", "confirmation_sent", confirm=True)


def implied(*, state: str, basis: str, stands_until: datetime | None, until: datetime | None) -> Step:
    """What a sale or an inquiry makes of the state before it: a later one permits for longer; neither a no nor a yes of the
    person's own is touched.

    `basis` and `stands_until` are of what stands, `until` is when the new one ends.
    """
    if state in NOES:
        return Step(None, state, "kept_no")
    if state not in PERMITTING:
        return Step("consent.given", "given", "given")
    longer = basis in jurisdictions.MONTHS and until and (stands_until is None or until > stands_until)
    return Step("consent.renewed", "renewed", "renewed") if longer else Step(None, state, "unchanged")


def stopped_again(kind: str, body: Mapping[str, Any]) -> bool:
    """Whether an entry is a no where theirs stood already (docs/adr/0025)."""
    return kind == "consent.withdrawn" and body.get("state_before") in ("refused", "withdrawn")


def _no(state: str) -> Step:
    if state in PERMITTING:
        return Step("consent.withdrawn", "withdrawn", "withdrawn")
    if state in ("unknown", "requested", "expired"):
        return Step("consent.refused", "refused", "refused")
    return Step(None, state, "unchanged")
