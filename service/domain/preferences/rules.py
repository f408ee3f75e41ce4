"""The gate: may we write to this person about this topic, and if not, why. Pure.

`decide` and its SQL twin `preferences.queries.refusal` say the same of every row; tests/house/test_gate_agrees.py
compares them. What a choice may become is here too, so that no door can turn a no into a yes.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from service.domain.consent import jurisdictions
from service.kit.errors import Conflict, Invalid

PERMITTING = ("given", "renewed")
LEGACY = "legacy_registration"
OWN, SALE = "consent", "soft_opt_in"
WORDED = (OWN, SALE)  # bases that cover what the words said which were shown, and no more
NOES = ("refused", "withdrawn", "invalidated")
REGISTERED, RENEWAL = "registered", "renewal"  # what a mail that asks may be about
CONTRACT = ("contract", "legal_obligation")  # bases of what rests on a registration itself
CONSENTED = ("consent", *jurisdictions.WITHOUT_A_YES)  # bases a person can take back

# From the gravest to the mildest: a report shows the first that holds.
REASONS = (
    "erased",
    "restricted",
    "complained",
    "do_not_mail",
    "no_address",
    "bounced",
    "topic_retired",
    "withdrawn",
    "refused",
    "invalidated",
    "no_consent",
    "expired",
    "legacy_unconfirmed",
    "law_wants_a_yes",
    "answered",
    "law_forbids_asking",
    "requested",
    "older_words",
    "covered",
    "address_pending",
    "unconfirmed",
    "on_break",
)


class TopicPrivate(Invalid):
    """That topic is not open to be chosen here."""


class CadenceNotOffered(Invalid):
    """That frequency is not offered for this topic."""


class WeeklyCapInvalid(Invalid):
    """A weekly limit is 1 to 50 mails, or none."""


class NotRefusable(Conflict):
    """These mails belong to your contract or the law and cannot be switched off here."""


class BreakInvalid(Invalid):
    """Please choose a day between tomorrow and a year from now."""


class GrantNeedsNewConfirmation(Conflict):
    """You have since said no, so this old link cannot say yes for you; please ask for a new one."""

    code = "grant_needs_new_confirmation"


class RestrictedByThemselves(Conflict):
    """The person asked for this restriction; only they can lift it, on their own page."""


class LiftNotTold(Invalid):
    """A restriction ends only once the person has been told of it (GDPR Art. 18(3))."""


class NoMailbox(Conflict):
    """Nobody has this mailbox any more."""

    fix_hint = "Look its address up on the do-not-mail list."


class NotBarred(Conflict):
    """The law does not bar this mailbox, or nobody has it any more."""


class ReasonUnknown(Invalid):
    """Please choose one of the reasons offered, or none."""


@dataclass(frozen=True)
class TopicFacts:
    """What the gate needs to know of a topic."""

    id: int
    mail_class: str  # marketing | notice | service
    basis: str
    active: bool = True
    asking: str = (
        ""  # the single mail that asks: whom registering made agree, or whose words are older (ASKING)
    )
    since_version: int = (
        0  # of its words, what this mail keeps within: an older yes does not cover it; 0: any does
    )


@dataclass(frozen=True)
class Standing:
    """Everything that may stop a mail, of one person and one topic, at one moment."""

    person_state: str = "active"
    has_address: bool = True
    address_confirmed: bool = True
    address_attested: bool = False
    address_pending: bool = False
    suppressed: frozenset[tuple[str, str]] = field(
        default_factory=frozenset
    )  # (scope as it concerns this topic, cause)
    state: str = "unknown"
    basis: str = "consent"
    break_until: datetime | None = None
    valid_until: datetime | None = None
    countries: frozenset[str] = frozenset()  # where they live, as far as their site said
    wording_version: int = 0  # of the words they agreed to; 0: another system's, or none


@dataclass(frozen=True)
class Decision:
    """Yes, or no with its reason."""

    allowed: bool
    reason: str | None = None


def wording_version(state: str, basis: str, version: int) -> int:
    """Of the words that were shown, what an answer on that basis is kept with; 0 where it permits nothing or rests on no words."""
    return version if state in PERMITTING and basis in WORDED else 0


def covers_less(basis: str, stood: int | None, topic_since: int, shown: int) -> bool:
    """Whether a yes to words of version `stood` leaves out what those of version `shown` promise: a material change lies between.

    `topic_since`: the version of the topic's last one.
    """
    return basis in WORDED and (stood or 0) < min(topic_since, shown)


def agreed_to_less(state: str, basis: str, stood: int | None, topic_since: int) -> bool:
    """Whether a yes that stands was to words before the topic's last material change, and so goes on for what they covered alone."""
    return state in PERMITTING and basis in WORDED and (stood or 0) < topic_since


def wants_a_yes(state: str, basis: str, mail_class: str, countries: Collection[str]) -> bool:
    """Whether what stands without a yes of their own carries nothing to them: an old registration, and a sale or an inquiry where the
    law of where they live asks for a yes."""
    without = basis == LEGACY or not jurisdictions.permitted(basis, countries)
    return state in PERMITTING and without and mail_class != "service"


def own_yes(state: str, basis: str) -> bool:
    """Whether somebody's own yes stands: not the label of an old registration, nor what a sale or an inquiry permits for a time."""
    return state in PERMITTING and basis not in (LEGACY, *jurisdictions.MONTHS)


def pressed(basis: str) -> str:
    """What a button of ours makes of a topic's basis: where a sale would be enough, whoever pressed it said yes all the same."""
    return OWN if basis == SALE else basis


def told(basis: str, state: str, stood: str) -> str:
    """What an answer that a site brings rests on: a sale takes nothing from their own yes that stands (`stood`: its basis)."""
    return OWN if basis == SALE and stood == OWN and state in PERMITTING else basis


def without_a_word(kind: str, body: Mapping[str, Any]) -> bool:
    """Whether an entry permits without a word of theirs: that they registered, or, where a sale is enough (soft opt-in), what a site
    or a file told and nobody confirmed by a button of ours."""
    sale = body.get("basis") == SALE and body.get("method") != "doi_click"
    return sale or kind == "person.registered"


def decide(standing: Standing, *, topic: TopicFacts, now: datetime) -> Decision:
    """Say whether we may write to this person about this topic, and if not, why.

    The single gate: the audience and the sender both obey it. A service topic rests on the registration: a break or
    a no to marketing does not stop it, and an address attested by the site is enough for it; what is suppressed in scope `all`
    (a dead mailbox, say) stops everything. Never raises: a person we know nothing about is simply not allowed.
    """
    reason = (
        _person(standing)
        or _suppressed(standing, topic)
        or _consent(standing, topic, now)
        or _address(standing, topic)
    )
    if not reason and topic.mail_class != "service" and standing.break_until and standing.break_until > now:
        reason = "on_break"
    return Decision(reason is None, reason)


def _person(standing: Standing) -> str | None:
    return standing.person_state if standing.person_state in ("erased", "restricted") else None


def _suppressed(standing: Standing, topic: TopicFacts) -> str | None:
    stops = {cause for scope, cause in standing.suppressed if scope == "all" or topic.mail_class != "service"}
    if "complaint" in stops:
        return "complained"
    if stops - {"hard_bounce", "complaint"}:
        return "do_not_mail"
    if not standing.has_address:
        return "no_address"
    return "bounced" if "hard_bounce" in stops else None


def _consent(standing: Standing, topic: TopicFacts, now: datetime) -> str | None:
    if not topic.active:
        return "topic_retired"
    if standing.state in NOES:
        return standing.state
    if standing.state == "unknown":
        return "no_consent"
    if standing.state == "expired" or (standing.valid_until and standing.valid_until <= now):
        return "expired"
    if topic.asking == REGISTERED:
        return _askable(standing)
    if standing.basis == LEGACY and topic.mail_class != "service":
        return "legacy_unconfirmed"
    if topic.mail_class != "service" and not jurisdictions.permitted(standing.basis, standing.countries):
        return "law_wants_a_yes"
    if standing.state not in PERMITTING:
        return "requested"
    older = agreed_to_less(standing.state, standing.basis, standing.wording_version, topic.since_version)
    if topic.asking == RENEWAL:
        return None if older else "covered"
    return "older_words" if older and topic.mail_class != "service" else None


def _askable(standing: Standing) -> str | None:
    """Whom registering made agree may be asked once, by mail, where the law lets it; who has said anything since is not."""
    if standing.state not in PERMITTING or standing.basis != LEGACY:
        return "answered"
    return None if jurisdictions.may_ask(standing.countries) else "law_forbids_asking"


def _address(standing: Standing, topic: TopicFacts) -> str | None:
    if topic.mail_class == "service":
        return None if standing.address_confirmed or standing.address_attested else "unconfirmed"
    if standing.address_pending:
        return "address_pending"
    asked = topic.asking == REGISTERED  # the button confirms the address, too
    return None if standing.address_confirmed or asked else "unconfirmed"
