"""One person's record in words: every ledger entry about them and every mail they were sent, newest first, a page at a time.

Only the ledger says what was agreed; this turns its kinds into sentences and opens the sealed evidence with
the person's key, for whoever may see that.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlmodel import Session

from service.domain.announcements import queries as announcements
from service.domain.announcements.tables import Announcement
from service.domain.consent.evidence import Opener
from service.domain.consent.rules import stopped_again
from service.domain.ledger.queries import Seen
from service.domain.mailings.queries import Received
from service.domain.notices import queries as notices
from service.domain.notices.tables import Notice
from service.domain.people import erasing
from service.domain.people import queries as people
from service.domain.people.tables import Person
from service.domain.privacy.rules import RIGHTS
from service.domain.suppressions import rules as suppressions
from service.domain.topics import queries as topics
from service.kit import sealing
from service.kit.signing import Keyring
from service.web import words
from service.web.staff import actors, lines, standing
from service.web.staff import audience as whom

# kind → (sign, what was done, the filter it belongs to)
WORDS = {
    "person.registered": ("draft", "Registered", "change"),
    "person.changed": ("changed", "Changed", "change"),
    "person.merged": ("changed", "Merged", "change"),
    "person.erased": ("stopped", "Erased", "change"),
    "person.restricted": ("paused", "Restricted: kept, not used", "consent"),
    "person.restriction_lifted": ("given", "Restriction lifted", "consent"),
    "person.objected": ("stopped", "No advertising, on whatever ground", "consent"),
    "person.signed_in": ("seen", "Signed in", "change"),
    "person.viewed": ("seen", "Looked at", "staff"),
    "person.revealed": ("seen", "Shown in clear", "staff"),
    "person.exported": ("seen", "Exported", "staff"),
    "address.changed": ("changed", "New address", "change"),
    "address.confirmed": ("given", "Address confirmed", "consent"),
    "address.kept": ("changed", "Address kept, the new one dropped", "change"),
    "confirmation.requested": ("held", "Asked to confirm", "consent"),
    "link.requested": ("seen", "Asked for a link", "change"),
    "consent.requested": ("held", "Asked for", "consent"),
    "consent.given": ("given", "Yes", "consent"),
    "consent.renewed": ("given", "Yes, renewed", "consent"),
    "consent.refused": ("stopped", "No", "consent"),
    "consent.withdrawn": ("stopped", "Stopped", "consent"),
    "consent.expired": ("stopped", "Expired", "consent"),
    "consent.invalidated": ("failed", "No longer valid", "consent"),
    "consent.restored": ("given", "Undone, yes again", "consent"),
    "preference.break_set": ("paused", "Break", "consent"),
    "preference.break_ended": ("given", "Break ended", "consent"),
    "preference.changed": ("changed", "Changed", "consent"),
    "stop.reason": ("seen", "Said why", "consent"),
    "request.received": ("held", "Asked for a right of theirs:", "change"),
    "request.extended": ("paused", "Takes longer:", "change"),
    "request.hastened": ("changed", "To be answered sooner, by the law of where they live:", "change"),
    "request.closed": ("given", "Answered what they asked for:", "change"),
    "suppression.added": ("stopped", "Do-not-mail list", "consent"),
    "suppression.lifted": ("given", "Off the do-not-mail list", "consent"),
}
MAIL_SIGNS = {
    "sent": "sent",
    "bounced": "failed",
    "skipped": "stopped",
    "deferred": "held",
    "unknown": "note",
    "waiting": "scheduled",
}
PENDING = "New address given, not confirmed yet"
AGAIN = "Stopped again"
PURPOSES = {
    "confirm": "Please confirm",
    "sign-in": "Sign-in link",
    "preferences-link": "Link to preferences",
    "address-changed": "Your address was changed",
    "address-confirm": "Please confirm your address",
    "contact-answer": "Answer to a message",
    "policy-changed": "New policy",
    "ask-again": "Asked whether to go on",
    "ask-anew": "Asked for a yes to new words",
}
STEPS = {
    "one_click": "by the mail program’s button",
    "link": "by the link in a mail",
    "doi_click": "by the button in the confirmation mail",
    "web_form": "with our sign-up form",
    "page": "on their own page",
    "api": "through the site",
    "import": "in a list from elsewhere",
    "admin_on_request": "by the controller",
    "undo": "by taking back a stop",
    "merge": "when two registrations of one mailbox became one",
    "objection": "by objecting to all advertising",
    "restore": "from the file of stops, after a copy was restored",
}
# Places of our own are told by the way it was said already; a site's own word for its place is added to that.
OUR_PLACES = {"link", "page", "join", "me", "withdrawal file"}
PLACES = {"same address": "under another registration of the same address"}
SEALED = {"name": "Evidence", "value": "Sealed: shown to whoever may see addresses in clear."}
EVIDENCE = {
    "url": "Page",
    "ip": "Network",
    "user_agent": "Program",
    "at": "Said at",
    "confirmed method": "Confirmed by",
}


@dataclass(frozen=True)
class Record:
    """What the page shows: a page of lines, what had been said by then, and the cursor of the older lines (None: there are none).
    `begins`: the lines begin at the day asked for, because more came later than a page holds."""

    lines: list[dict[str, Any]]
    standing: list[dict[str, Any]]
    next: str | None
    begins: bool


def of_person(
    session: Session,
    ring: Keyring,
    person: Person,
    *,
    until: datetime | None,
    only: str,
    opens: bool,
    after: str | None = None,
) -> Record:
    """A page of the record; what came after `until` is marked. `only`: consent, mail, change, staff or "". `opens`: whether who reads it
    may see what lies sealed (the network address of a yes, the program); else it says that it is there. `after`: the cursor of the
    page before, "" for the newest lines; None for the first look, which is at those too, or from `until` on down where a whole page
    came later. Raises `CursorInvalid`."""
    persons = erasing.with_merged(session, person)
    found, begins = _lines(session, persons, only, lines.read(after)), False
    if after is None and until is not None and found[lines.PAGE :] and found[lines.PAGE - 1].told.at > until:
        by_then = _lines(session, persons, only, lines.end_of(until))
        found, begins = by_then or found, bool(by_then)
    names, page = _topic_names(session), found[: lines.PAGE]
    told = _told(session, ring, persons, page, names, opens=opens)
    shown = [{**line, "later": until is not None and line["at"] > until} for line in told]
    following = page[-1].place.cursor if len(found) > len(page) else None
    return Record(shown, standing.of_person(session, persons, names, until), following, begins)


def _lines(
    session: Session, persons: Sequence[Person], only: str, before: lines.Place | None
) -> list[lines.Line]:
    """The lines of one filter, of a person and of whoever was merged into them; a kind of entry without words of its own is a change."""
    theirs = [kind for kind, (_, _, filtered) in WORDS.items() if filtered == only]
    others = [kind for kind in WORDS if kind not in theirs]
    kinds = {"": {}, "mail": None, "change": {"other_than": others}}.get(only, {"kinds": theirs})
    return lines.older(session, persons, before, kinds=kinds, mails=only in ("", "mail"))


def _told(
    session: Session,
    ring: Keyring,
    persons: Sequence[Person],
    page: Sequence[lines.Line],
    names: dict[str, str],
    *,
    opens: bool,
) -> list[dict[str, Any]]:
    """The lines of a page in words; whatever they name is looked up for all at once."""
    entries = [one.told for one in page if isinstance(one.told, Seen)]
    mails = [one.told.mailing.id or 0 for one in page if isinstance(one.told, Received)]
    by = actors.names(session, [one.actor for one in entries])
    keys, opener = (
        {one.public_id: _key(ring, one) for one in persons},
        Opener(session, ring) if opens else None,
    )
    announced, noticed = announcements.by_mailings(session, mails), notices.by_mailings(session, mails)
    return [
        _entry(told, names, by, keys, opener)
        if isinstance(told, Seen)
        else _mail(told, announced.get(told.mailing.id or 0), noticed.get(told.mailing.id or 0))
        for _, told in page
    ]


def _key(ring: Keyring, person: Person) -> bytes | None:
    try:
        return people.person_key(ring, person)
    except sealing.Unsealable:
        return None


def _topic_names(session: Session) -> dict[str, str]:
    return {
        one.slug: topics.wording_for(session, one.id or 0, "en").title for one in topics.everything(session)
    }


def words_of(kind: str) -> tuple[str, str, str]:
    """Sign, words and filter of a kind of entry."""
    return WORDS.get(kind, ("seen", kind.replace(".", " ").replace("_", " ").capitalize(), "change"))


def _entry(
    seen: Seen,
    names: dict[str, str],
    by: dict[str, str],
    keys: dict[str, bytes | None],
    opener: Opener | None,
) -> dict[str, Any]:
    """One ledger entry as a line. `keys` are those of the registrations, the first of which is not named."""
    subject = seen.subject or ""
    under = f" as {subject}" if subject != next(iter(keys)) else ""
    sign, what, _ = words_of(seen.kind)
    body = seen.body
    if seen.kind == "address.changed" and body.get("pending"):
        sign, what = "held", PENDING
    elif stopped_again(seen.kind, body):
        what = AGAIN
    return {
        "at": seen.at,
        "sign": sign,
        "what": what,
        "text": _text(seen, names, by) + under,
        "detail": detail(body),
        "samp": None,
        "facts": _evidence(seen, keys[subject], opener),
        "link": {"href": f"/staff/ledger?entry={seen.seq}", "label": f"entry {seen.seq}"},
    }


def _text(seen: Seen, names: dict[str, str], by: dict[str, str]) -> str:
    """About what, and by whom."""
    topic = seen.body.get("topic")
    about = names.get(str(topic), str(topic)) if topic else RIGHTS.get(str(seen.body.get("right")), ("",))[0]
    fields = ", ".join(str(name) for name in seen.body.get("fields", []))
    reason = str(seen.body.get("reason") or "")
    return " ".join(
        part for part in (about, fields, f"“{reason}”" if reason else "", f"by {by[seen.actor]}") if part
    )


def detail(body: Mapping[str, Any]) -> str | None:
    """Under which words, policy and way it was said."""
    method = str(body.get("method") or "")
    source = str(body.get("source") or "")
    parts = [
        STEPS.get(method, method.replace("_", " ")),
        PLACES.get(source, f"at “{source}”") if source and source not in OUR_PLACES else "",
        f"wording {body['wording']}" if body.get("wording") else _words_elsewhere(body),
        f"policy {body['policy']}" if body.get("policy") else "",
        f"while policy {body['in_force']} was in force, which is no consent to it"
        if body.get("in_force")
        else "",
        f"import {body['import']}" if body.get("import") else "",
        f"on {str(body['basis']).replace('_', ' ')}" if body.get("basis", "consent") != "consent" else "",
        f"ends {_readable(body['valid_until'])}" if body.get("valid_until") else "",
        f"until {_readable(body['until'])}" if body.get("until") else "",
        f"as by entry {body['restores']}" if body.get("restores") else "",
        f"into {body['into']}" if body.get("into") else "",
        _resting(body.get("topics")),
        _listed(body) if body.get("cause") else "",
        _limit(body["max_per_week"]) if "max_per_week" in body else "",
    ]
    return ", ".join(part for part in parts if part) or None


def _words_elsewhere(body: Mapping[str, Any]) -> str:
    """Words that are none of ours are known by their hash; the entry of the import has them in full."""
    return f"words with SHA-256 {body['wording_sha256']}" if body.get("wording_sha256") else ""


def _resting(told: object) -> str:
    """The topics that rest on a registration."""
    slugs = [str(one["topic"]) for one in told if isinstance(one, Mapping)] if isinstance(told, list) else []
    return f"for {', '.join(slugs)}" if slugs else ""


def _listed(body: Mapping[str, Any]) -> str:
    """How far a line of the do-not-mail list reaches, why, and whence it came."""
    scope, origin = str(body.get("scope")), str(body.get("origin") or "")
    why = suppressions.words_of(str(body["cause"]))[0]
    return f"{suppressions.SCOPES.get(scope, scope)}, {f'from {suppressions.origin_words(origin)}: ' if origin else ''}{why}"


def _limit(most: int | None) -> str:
    return "any number of mails a week" if most is None else f"at most {most} a week"


def _readable(value: object) -> str:
    """A time as people read it, whatever else as it is: the ledger and its evidence hold ISO 8601."""
    at = words.instant(str(value))
    return words.moment(at, lang=words.ENGLISH, zone="") if at else str(value)


def _evidence(seen: Seen, key: bytes | None, opener: Opener | None) -> list[dict[str, str]]:
    """The sealed evidence in clear, while the person's key exists; without an opener only that there is some."""
    part = seen.body.get("evidence")
    if not isinstance(part, dict) or key is None:
        return []
    if opener is None:
        return [SEALED]
    try:
        found = opener.open(key, part, subject=seen.subject or "", kind=seen.kind)
    except sealing.Unsealable:
        return [{"name": "Evidence", "value": "cannot be opened with this person’s key"}]
    return facts_of(found)


def facts_of(found: Mapping[str, Any], within: str = "") -> list[dict[str, str]]:
    """Evidence as names and values; what holds parts of its own (a confirmation at the site) is opened up."""
    facts: list[dict[str, str]] = []
    for name, value in found.items():
        if isinstance(value, Mapping):
            facts += facts_of(value, f"{name} ")
        elif value or (name == "ip" and value is None):
            plain = EVIDENCE.get(within + name, (within + name).replace("_", " ").capitalize())
            facts.append(
                {"name": plain, "value": "gone after its time" if value is None else _readable(value)}
            )
    return facts


def _mail(one: Received, announcement: Announcement | None, notice: Notice | None) -> dict[str, Any]:
    """One mail as a line, under the name of what it was the mail of."""
    name, link = PURPOSES.get(one.mailing.purpose, one.mailing.purpose), None
    if announcement:
        name = f"“{announcements.name_of(announcement)}”"
        link = {"href": f"/staff/announcements/{announcement.public_id}/report", "label": "report"}
    elif notice:
        name = f"“{notices.title_of(notice)}”"
    return {
        "at": one.at,
        "sign": MAIL_SIGNS.get(one.state, "note"),
        "what": "Mail",
        "text": f"{name}: {_became(one)}",
        "detail": None,
        "samp": f"{one.code} {one.reply}".strip() if one.code else None,
        "facts": [],
        "link": link,
    }


def _became(one: Received) -> str:
    words = {"waiting": "still to go", "skipped": "left out", "deferred": "will be tried again"}.get(
        one.state, one.state
    )
    return f"{words} ({whom.words_of_one(one.reason)})" if one.reason else words
