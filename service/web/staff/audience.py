"""How a number of people comes about, in words: shared by composer, review, notices and reports."""

from collections.abc import Mapping
from typing import Any

from sqlmodel import Session

from service.domain.segments import queries as segments
from service.domain.segments import rules as segment_rules
from service.domain.topics import queries as topics
from service.domain.topics.rules import covered_since
from service.domain.topics.tables import Topic, Wording
from service.kit.errors import DomainError
from service.web.forms import Form
from service.web.staff.frame import choice

# The gate's reasons as people read them, from "why not more?" to the report.
REASONS = {
    "erased": "erased",
    "restricted": "restricted: kept, not used",
    "complained": "reported a mail as spam",
    "do_not_mail": "on the do-not-mail list",
    "no_address": "have no address",
    "bounced": "mailbox does not exist any more",
    "topic_retired": "topic is retired",
    "withdrawn": "stopped this topic",
    "refused": "said no",
    "invalidated": "consent no longer valid",
    "no_consent": "never said yes to this topic",
    "expired": "consent has expired",
    "legacy_unconfirmed": "registered long ago, never confirmed",
    "law_wants_a_yes": "no yes of their own, which their country's law asks for",
    "answered": "have answered, or never registered so",
    "law_forbids_asking": "may not be asked by mail where they live",
    "requested": "asked, not yet confirmed",
    "older_words": "agreed to older words, which cover less",
    "covered": "have agreed to the newest words",
    "address_pending": "are changing their address",
    "unconfirmed": "address not confirmed",
    "on_break": "take a break",
    "not_in_audience": "not in this audience",
    "same_mailbox": "share a mailbox that gets it already",
    "quiet": "quiet hours",
    "cap": "over the weekly cap",
    "address_changed": "address changed meanwhile",
}


def words(reason: str) -> str:
    """A reason for people; one we have no words for is shown as it is."""
    return REASONS.get(reason, reason.replace("_", " "))


# The same said of one person, where a number's words would not do.
_OF_ONE = {
    "no_address": "has no address",
    "address_pending": "is changing the address",
    "on_break": "takes a break",
    "same_mailbox": "shares a mailbox that gets it already",
}


def words_of_one(reason: str) -> str:
    """A reason for people, on the page of one person."""
    return _OF_ONE.get(reason) or words(reason)


def chosen(form: Form) -> dict[str, Any]:
    """The audience a form describes: boxes give several values, a text field a list with commas."""
    given = {
        name: [part.strip() for value in values for part in value.split(",") if part.strip()]
        for name, values in form.all_prefixed("attribute:").items()
    }
    attributes: dict[str, Any] = {"attributes": {name: values for name, values in given.items() if values}}
    words = form.text("words")
    return attributes | ({"words": words} if words.startswith(f"{form.text('topic')}-v") else {})


def picture(
    session: Session, topic: Topic, audience: Mapping[str, Any], counts: Any, *, approx: bool = False
) -> dict[str, Any]:
    """The number, its sum and the choice of attributes and of older words as the pages show them."""
    left_out = sorted(counts.excluded.items(), key=lambda pair: -pair[1])
    return {
        "approx": approx,
        "count": counts.total,
        "rule": rule(audience),
        "start": {"text": "Everybody known here", "n": counts.total + sum(counts.excluded.values())},
        "minus": [{"text": words(reason), "n": n, "href": None} for reason, n in left_out if n],
        "attributes": [_attribute(one, audience) for one in segments.values(session)],
        "words": _words(session, topic, str(audience.get("words") or "")),
    }


def _words(session: Session, topic: Topic, chosen: str) -> list[dict[str, Any]]:
    """Which words a mail keeps within: the newest ones, or those of before a material change; none where there was no change."""
    if not topic.since_version:
        return []
    kept = topics.wordings(session, topic.id or 0)
    marks = [(one.version, one.material) for one in kept]
    by_change: dict[int, Wording] = {}
    for one in sorted(kept, key=lambda one: (one.public_id != chosen, -one.version, one.locale != "en")):
        by_change.setdefault(covered_since(marks, one.version), one)
    by_change.pop(topic.since_version)
    older = [
        choice(one.public_id, f"Those of {one.published_at:%-d %B %Y}: “{one.text}”", one.public_id == chosen)
        for _, one in sorted(by_change.items(), reverse=True)
    ]
    newest = not any(one["selected"] for one in older)
    return [choice("", "The newest words: whoever agreed to those", newest), *older]


def rule(audience: Mapping[str, Any]) -> str:
    """Whom it is for, in words."""
    try:
        said = segment_rules.words(segment_rules.check(dict(audience)))
    except DomainError as unreadable:
        return unreadable.detail
    return f"those whose {said}" if said else "everybody who may get it"


def _attribute(one: segments.AttributeValues, audience: Mapping[str, Any]) -> dict[str, Any]:
    """One attribute to choose by: boxes for a few values, a text field for many."""
    given = (audience.get("attributes") or {}).get(one.name, [])
    picked = [str(value) for value in given] if isinstance(given, list) else [str(given)]
    offered = [value for value, _ in one.values]
    few = len(offered) < 13
    return {
        "name": one.name,
        "label": one.name.replace("_", " ").capitalize(),
        "choices": offered + [value for value in picked if value not in offered] if few else None,
        "chosen": picked,
    }
