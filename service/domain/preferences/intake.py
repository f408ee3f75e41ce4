"""What a door said about people, read and checked before anything is written. Called by `registration`, and by imports that look
first."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlmodel import Session

from service.domain.brands import queries as brands
from service.domain.consent import jurisdictions
from service.domain.consent import rules as consent_rules
from service.domain.people import actions as people
from service.domain.people import queries as people_queries
from service.domain.people import rules as people_rules
from service.domain.policies import queries as policies
from service.domain.policies.rules import best_locale, version_name
from service.domain.policies.tables import PolicyVersion
from service.domain.preferences.rules import CONTRACT
from service.domain.topics import queries as topics
from service.domain.topics import rules as topic_rules
from service.domain.topics.tables import Topic, Wording
from service.kit import addresses

POLICY = "privacy"  # shown with every question
WINDOW = 200  # people looked up at once for a chunk; a caller brings no more to a transaction (design.md 3)


@dataclass(frozen=True)
class Registration:
    """One person as a door was told of them; nothing in it has been checked yet, unless it comes as an `Address`."""

    external_id: str
    email: object
    locale: str | None = None
    zone: str | None = None
    profile: dict[str, Any] | None = None
    attributes: dict[str, Any] | None = None
    consents: list[Any] = field(default_factory=list)
    attested: bool = True  # false for a visitor's own form: no contract with a site stands behind it


@dataclass(frozen=True)
class Transfer:
    """What marks registrations as an import's: its id in every entry, the basis of each topic where it is another than the
    topic's own, and whether our button is mailed to those whose yes nobody confirmed."""

    id: str
    mail: bool = False
    bases: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Checked:
    """One person in whose words nothing is wrong, beside what is known here."""

    index: int
    given: people.Given
    items: list[consent_rules.Item]


@dataclass
class Facts:
    """What one transaction looks up once: topics, their words, the policy in force."""

    topics: dict[str, Topic]
    words: dict[int, dict[str, Wording]]
    versions: dict[str, Wording]  # every version ever published, by its public id
    policies: dict[
        str, tuple[str, int | None]
    ]  # name and row of the policy in force (or that was shown), by language
    kept: Sequence[PolicyVersion]  # every version of it; none where a form says which was shown
    ip_evidence: str
    kinds: dict[str, str]  # of the attributes: name → type; what this transaction declares is added
    contracts: dict[str, list[dict[str, str]]] = field(default_factory=dict)
    transfer: Transfer | None = None
    retired: dict[str, Topic] = field(default_factory=dict)  # which may come into use again: a no is taken

    def topic(self, slug: str, *, given: bool) -> Topic | None:
        """The topic of an answer; of a no one that is out of use, too. Of an import it is in use."""
        no = not given and self.transfer is None
        return self.topics.get(slug) or (self.retired.get(slug) if no else None)

    def policy(self, locale: str, *, at: datetime | None = None) -> tuple[str, int | None]:
        """What an answer of theirs names, and its row: the policy in their language, or in English, or any; that of the moment when it
        was said, where a site tells of it later."""
        if at is not None and self.kept:
            text = policies.best(policies.in_effect(self.kept, at), locale)
            return version_name(POLICY, text.version, text.locale), text.id
        if locale not in self.policies:
            self.policies[locale] = self.policies[best_locale(set(self.policies), locale)]
        return self.policies[locale]

    def wording(self, topic: Topic, locale: str, *, at: datetime | None = None) -> Wording | None:
        """The newest words in a language, or in English, or any; of those published by `at`, or the first, where that is said."""
        assert topic.id is not None
        found = _in_language(self.words[topic.id], locale)
        if at is None or found is None or not self.came_after(found, at):
            return found
        kept = [one for one in self.versions.values() if one.topic_id == topic.id]
        known = [one for one in kept if not self.came_after(one, at)]
        return _in_language(topics.newest_of(known), locale)

    def came_after(self, wording: Wording, at: datetime) -> bool:
        """Whether words were published after a moment. A topic's first may have been a site's own before."""
        if wording.published_at <= at + consent_rules.FAST_CLOCK:
            return False
        return wording.version > min(
            one.version for one in self.versions.values() if one.topic_id == wording.topic_id
        )

    def contract(self, locale: str) -> list[dict[str, str]]:
        """What rests on a registration itself, with the words for it: part of the registration's entry."""
        if locale not in self.contracts:
            resting = [one for one in self.topics.values() if one.basis in CONTRACT]
            words = {topic.slug: self.wording(topic, locale) for topic in resting}
            self.contracts[locale] = [
                {"topic": slug, "wording": said.public_id if said else ""}
                for slug, said in sorted(words.items())
            ]
        return self.contracts[locale]

    def said(self, topic: Topic, item: consent_rules.Item, locale: str) -> Wording | None:
        """The words a person saw: the version named, else that of the day; none of ours where another system showed its own."""
        if item.elsewhere:
            return None
        return self.versions[item.wording] if item.wording else self.wording(topic, locale, at=item.agreed_at)

    def basis(self, topic: Topic, item: consent_rules.Item | None = None) -> str:
        """What a yes to a topic stands on: what was said with it, the label of an import, or the topic's own basis."""
        if item and item.basis:
            return item.basis
        return self.transfer.bases.get(topic.slug, topic.basis) if self.transfer else topic.basis


def _in_language(by_locale: Mapping[str, Wording], locale: str) -> Wording | None:
    return (
        by_locale.get(locale)
        or by_locale.get(locale.partition("-")[0])
        or by_locale.get("en")
        or next(iter(by_locale.values()), None)
    )


def look_up(
    session: Session, now: datetime, transfer: Transfer | None = None, policy: PolicyVersion | None = None
) -> Facts:
    """Read what every registration of a transaction needs to know. `policy`: the version that was shown, where a form says it."""
    every = {topic.slug: topic for topic in topics.everything(session)}
    told = topics.wordings_by_topic(session)
    kept = {topic.id: told.get(topic.id, []) for topic in every.values() if topic.id is not None}
    words = {topic_id: topics.newest_of(versions) for topic_id, versions in kept.items()}
    versions = {one.public_id: one for those in kept.values() for one in those}
    texts = [] if policy else policies.versions(session, POLICY)
    shown = {policy.locale: policy} if policy else policies.in_effect(texts, now)
    return Facts(
        {slug: topic for slug, topic in every.items() if topic.state == "active"},
        words,
        versions,
        {locale: (policies.name_of(session, text), text.id) for locale, text in shown.items()},
        texts,
        brands.setting(session, "ip_evidence"),
        people_queries.attribute_kinds(session),
        transfer=transfer,
        retired={slug: topic for slug, topic in every.items() if topic.state != "active"},
    )


def check(
    index: int, one: Registration, facts: Facts, *, attest: bool, topics: set[str] | None, now: datetime
) -> Checked:
    """Everything that can be wrong is found here, before anything is written."""
    items = [consent_rules.item(said, now=now, position=n) for n, said in enumerate(one.consents)]
    _check_items(items, facts, attest=attest, topics=topics, now=now)
    attributes = people_rules.attributes(one.attributes, facts.kinds) if one.attributes is not None else None
    given = people.Given(
        people_rules.external_id(one.external_id),
        one.email if isinstance(one.email, addresses.Address) else addresses.parse(one.email),
        people_rules.locale(one.locale),
        people_rules.zone(one.zone),
        people_rules.profile(one.profile) if one.profile is not None else None,
        attributes,
        attested=one.attested,
    )
    return _accepted(index, given, items, facts, attest=attest)


def check_read(
    index: int,
    given: people.Given,
    items: list[consent_rules.Item],
    facts: Facts,
    *,
    attest: bool,
    now: datetime,
) -> Checked:
    """The same of somebody whose every word was read before, where only what is known here can be wrong still."""
    _check_items(items, facts, attest=attest, topics=None, now=now)
    people_rules.check_kinds(given.attributes or {}, facts.kinds)
    return _accepted(index, given, items, facts, attest=attest)


def _check_items(
    items: list[consent_rules.Item], facts: Facts, *, attest: bool, topics: set[str] | None, now: datetime
) -> None:
    for n, item in enumerate(items):
        if n and any(item.topic == earlier.topic for earlier in items[:n]):
            raise consent_rules.TopicTwice(field=f"consents[{n}].topic")
        topic = facts.topic(item.topic, given=item.given)
        if topic is None or (topics is not None and item.topic not in topics):
            raise topic_rules.TopicUnknown(field=f"consents[{n}].topic")
        _check_wording(item, topic, facts, f"consents[{n}].wording")
        _check_implied(item, topic, facts.basis(topic, item), f"consents[{n}]", attest=attest, now=now)


def _check_wording(item: consent_rules.Item, topic: Topic, facts: Facts, field: str) -> None:
    """Words that are named are the topic's, and were there on the day of a yes. Of an import its officer says what was shown when."""
    named = facts.versions.get(item.wording) if item.wording else None
    if item.wording and (named is None or named.topic_id != topic.id):
        raise consent_rules.WordingUnknown(field=field)
    if (
        named
        and item.given
        and item.agreed_at
        and not facts.transfer
        and facts.came_after(named, item.agreed_at)
    ):
        raise consent_rules.WordingNotThereYet(field=field)


def _accepted(
    index: int, given: people.Given, items: list[consent_rules.Item], facts: Facts, *, attest: bool
) -> Checked:
    given.confirmed = attest and any(item.confirmed for item in items)
    given.registered = {"topics": facts.contract(given.locale or "en")} if given.attested else {}
    if facts.transfer:
        given.registered["import"] = facts.transfer.id
    for name, (kind, values) in (given.attributes or {}).items():
        if values:
            facts.kinds.setdefault(name, kind)
    return Checked(index, given, items)


def _check_implied(
    item: consent_rules.Item, topic: Topic, basis: str, at: str, *, attest: bool, now: datetime
) -> None:
    """A sale or an inquiry permits advertising only, for its time, and is brought by those alone who may be believed."""
    if not item.given or basis not in jurisdictions.MONTHS:
        return
    if topic.mail_class != "marketing":
        raise topic_rules.BasisDoesNotFit(
            field=f"{at}.basis", fix="Such a consent is for topics of class marketing."
        )
    if not attest:
        raise consent_rules.ImpliedNeedsAttestation(field=f"{at}.basis")
    if item.agreed_at is None:
        raise consent_rules.EvidenceMissing(field=f"{at}.evidence.at")
    until = jurisdictions.ends(basis, item.agreed_at)
    if until is not None and until <= now:
        raise consent_rules.ImpliedOver(field=f"{at}.evidence.at")


def apart(session: Session, source: str, checked: list[Checked]) -> Iterator[list[Checked]]:
    """Chunks in which nobody and no mailbox stands twice, in the order given: what is said of somebody later is said of whoever they
    are by then, moved or merged. So each chunk is cut when those before it are registered."""
    while checked:
        window, seen = checked[:WINDOW], set[Any]()
        meant = people.meant(session, source, [one.given for one in window])
        size = 0
        for one, persons in zip(window, meant, strict=True):
            marks = {"id:" + one.given.external_id, "at:" + one.given.address_hash, *persons}
            if marks & seen:
                break
            seen |= marks
            size += 1
        yield checked[:size]
        checked = checked[size:]
