"""What an import would make of each row, without writing: new, changed, unchanged, skipped, a no, or wrong.

Called by the dry run of `ops.imports`. It asks what `judging` asks, and compares with what is held.
"""

from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from sqlmodel import Session, col, select

from service.domain.consent import jurisdictions
from service.domain.consent.rules import NOES, PERMITTING, Item, implied
from service.domain.mailings.tables import Address
from service.domain.people import mailbox
from service.domain.people import queries as people
from service.domain.people import rules as people_rules
from service.domain.people.tables import Identity, Person
from service.domain.preferences.changes import LIVING
from service.domain.preferences.intake import Facts
from service.domain.preferences.tables import Preference
from service.domain.suppressions import queries as suppressions
from service.domain.suppressions.tables import Suppression
from service.domain.transfers import noes, rules
from service.domain.transfers.judging import Verdict, apart, judge
from service.domain.transfers.preparing import prepare
from service.domain.transfers.rows import Row
from service.kit.errors import DomainError
from service.kit.signing import Keyring


@dataclass(frozen=True)
class Outlook:
    """A row's verdict and what would come of it: new | changed | unchanged | no."""

    verdict: Verdict
    becomes: str
    yeses: tuple[str, ...] = ()  # topic:state


Line = tuple[str, int | None, str]  # of the do-not-mail list: scope, topic, cause


class Marks:
    """A great many strings, each by a hash of 8 octets and in no more room than that: there may be millions of them."""

    def __init__(self) -> None:
        self._parts = [array("q") for _ in range(2**14)]

    def __contains__(self, text: str) -> bool:
        mark = hash(text)
        return mark in self._parts[mark % len(self._parts)]

    def add(self, text: str) -> None:
        """Keep one."""
        mark = hash(text)
        part = self._parts[mark % len(self._parts)]
        if mark not in part:
            part.append(mark)


@dataclass
class Before:
    """What the rows before would have made, as far as later ones may meet it."""

    ids: Marks = field(default_factory=Marks)  # of those who were new,
    pairs: Marks = field(default_factory=Marks)  # each with the mailbox it came with
    confirmed: Marks = field(default_factory=Marks)  # their mailboxes, where the plan attests them
    noes: dict[Line, Marks] = field(default_factory=dict)  # the mailboxes against which a line would stand
    kinds: dict[str, str] = field(default_factory=dict)  # of attributes that were new

    def tell_no(self, digest: str, lines: Iterable[Line]) -> None:
        """A row says no for a mailbox."""
        for line in lines:
            self.noes.setdefault(line, Marks()).add(digest)

    def told_no(self, digest: str, now: datetime) -> list[Suppression]:
        """What stands against a mailbox by the rows before."""
        return [
            Suppression(
                address_hash=digest, scope=scope, topic_id=topic_id, cause=cause, since_at=now, source_seq=0
            )
            for (scope, topic_id, cause), said in self.noes.items()
            if digest in said
        ]


def of_rows(
    session: Session,
    ring: Keyring,
    plan: rules.Plan,
    rows: Sequence[Row],
    facts: Facts,
    before: Before,
    *,
    now: datetime,
) -> list[Outlook]:
    """Each row's outlook, in order; `before` grows by them."""
    facts.kinds = {**before.kinds, **facts.kinds}
    found = []
    for part in apart([prepare(ring, plan, row, keep_ip=None) for row in rows]):
        digests = [one.address_hash for one in part]
        said = {digest: told for digest in digests if (told := before.told_no(digest, now))}
        verdicts = judge(session, ring, plan.source, part, facts, attest=plan.attested, now=now, said=said)
        found += _outlooks(session, ring, plan, verdicts, facts, before, now=now)
    before.kinds = facts.kinds
    return found


def _outlooks(
    session: Session,
    ring: Keyring,
    plan: rules.Plan,
    verdicts: Sequence[Verdict],
    facts: Facts,
    before: Before,
    *,
    now: datetime,
) -> list[Outlook]:
    known = _known(session, ring, plan, verdicts)
    negative = {one.address_hash: one.row for one in verdicts if one.row.noes}
    live, living = suppressions.live_for(session, list(negative)), _living(session, ring, negative)
    found = []
    for one in verdicts:
        digest = one.address_hash
        if one.registration is None:
            becomes = "no"
            if one.row.noes and one.skipped is None and one.wrong is None:
                stands = [*live.get(digest, ()), *before.told_no(digest, now)]
                held = noes.is_held(one.row, stands, living.get(digest, set()), facts)
                becomes = "unchanged" if held else "no"
            found.append(Outlook(one, becomes))
        elif (held_as := known.get(one.row.external_id)) is None:
            found.append(_newcomer(one, facts, plan, before))
        else:
            yeses = _yeses(one, held_as, facts, plan)
            becomes = "changed" if yeses or _differs(session, one, held_as) else "unchanged"
            found.append(Outlook(one, becomes, yeses))
        if one.row.noes and one.skipped is None and one.wrong is None:
            before.tell_no(digest, noes.as_kept(one.row, facts))
    return found


def _newcomer(one: Verdict, facts: Facts, plan: rules.Plan, before: Before) -> Outlook:
    """Of somebody who is not known here; a row before may have brought them, or another of their ids."""
    assert one.registration is not None
    mine, digest = one.row.external_id, one.address_hash
    pair = f"{digest} {mine}"
    if mine in before.ids:
        if pair in before.pairs:
            return Outlook(one, "unchanged")
        skipped = None if one.row.noes else "skipped_address_differs"  # its noes are said all the same
        return Outlook(replace(one, registration=None, skipped=skipped), "no")
    before.ids.add(mine)
    before.pairs.add(pair)
    if one.registration.given.confirmed:
        if digest in before.confirmed:
            return Outlook(one, "changed")
        before.confirmed.add(digest)
    return Outlook(one, "new", _yeses(one, None, facts, plan))


def _living(session: Session, ring: Keyring, negative: Mapping[str, Row]) -> dict[str, set[int]]:
    """The topics for which anybody of a mailbox has what its row's no ends."""
    statement = (
        select(Address.address_hash, Person, Preference)
        .join(Person, col(Person.id) == col(Address.owner_id))
        .join(Preference, col(Preference.person_id) == col(Person.id))
        .where(
            col(Address.owner_kind) == "person",
            col(Address.ended_at).is_(None),
            col(Address.address_hash).in_(negative),
            col(Person.state) != "merged",
            col(Preference.state).in_(LIVING),
        )
    )
    found: dict[str, set[int]] = {}
    for digest, person, preference in session.exec(statement) if negative else ():
        if not noes.is_older(session, ring, person, preference, negative[digest]):
            found.setdefault(digest, set()).add(preference.topic_id)
    return found


@dataclass(frozen=True)
class Held:
    """What is held of somebody a row speaks of."""

    person: Person
    profile: dict[str, str]
    states: dict[int, Preference]
    linked: bool = False  # by the mailbox they confirmed; the row brings a new identity


def _known(session: Session, ring: Keyring, plan: rules.Plan, verdicts: Sequence[Verdict]) -> dict[str, Held]:
    """Who of the rows is known by this source's id, or holds the mailbox confirmed where the plan attests it."""
    told = [one for one in verdicts if one.registration is not None]
    statement = (
        select(Identity, Person)
        .join(Person, col(Person.id) == col(Identity.person_id))
        .where(
            col(Identity.source) == plan.source,
            col(Identity.external_id).in_([one.row.external_id for one in told]),
        )
    )
    found = {
        identity.external_id: Held(
            person,
            people.open_profile(people.person_key(ring, person), identity),
            _states(session, person),
        )
        for identity, person in session.exec(statement)
    }
    attested = [one for one in told if plan.attested and any(item.confirmed for item in one.row.items)]
    holders = mailbox.holders(session, [one.address_hash for one in attested])
    for one in attested:
        if one.row.external_id not in found and one.address_hash in holders:
            person = holders[one.address_hash][0]
            found[one.row.external_id] = Held(person, {}, _states(session, person), linked=True)
    return found


def _states(session: Session, person: Person) -> dict[int, Preference]:
    rows = session.exec(select(Preference).where(col(Preference.person_id) == person.id))
    return {row.topic_id: row for row in rows}


def _yeses(one: Verdict, held: Held | None, facts: Facts, plan: rules.Plan) -> tuple[str, ...]:
    """The yeses that would be written, with the state each would have."""
    assert one.registration is not None
    found = []
    for item in one.registration.items:
        topic = facts.topics[item.topic]
        preference = held.states.get(topic.id or 0) if held else None
        basis = facts.basis(topic, item)
        if topic.mail_class == "service" or (preference and not _moves(preference, item, basis, plan)):
            continue
        own = basis == rules.CONSENT
        given = not own or (plan.attested and item.confirmed is not None)
        found.append(f"{topic.slug}:{'given' if given else 'requested'}")
    return tuple(found)


def _moves(preference: Preference, item: Item, basis: str, plan: rules.Plan) -> bool:
    """Whether a yes would change what stands; a label of the past never does."""
    if basis == rules.LEGACY or preference.state in NOES:
        return False
    if basis in jurisdictions.MONTHS:
        until = jurisdictions.ends(basis, item.agreed_at) if item.agreed_at else None
        step = implied(
            state=preference.state, basis=preference.basis, stands_until=preference.valid_until, until=until
        )
        return step.kind is not None
    if preference.basis == rules.LEGACY:
        return True
    if preference.state in PERMITTING:
        return preference.basis in jurisdictions.MONTHS and plan.attested and item.confirmed is not None
    return preference.state != "requested" or (plan.attested and item.confirmed is not None)


def _differs(session: Session, one: Verdict, held: Held) -> bool:
    """Whether anything else about the person would change."""
    row, person = one.row, held.person
    if held.linked or any(held.profile.get(name, "") != value for name, value in row.profile.items()):
        return True
    for name, said in (("locale", row.locale), ("zone", row.zone)):
        if said and said != getattr(person, name) and not people.corrected(session, person, name):
            return True
    if not row.attributes:
        return False
    held_values = people.attributes(session, person.id or 0)
    return any(
        set(values) != set(held_values.get(name, []))
        for name, (_, values) in people_rules.attributes(row.attributes, {}).items()
    )


def counted(counts: rules.Counts, outlook: Outlook) -> DomainError | None:
    """Count a row; returns what is wrong with it where only the database could know."""
    verdict = outlook.verdict
    for reason in (*verdict.row.left_out, *(f"kept_no:{topic}" for topic in verdict.kept_noes)):
        counts.add("left_out", reason)
    if verdict.wrong is not None:
        return verdict.wrong
    if verdict.skipped:
        counts.add("skipped", verdict.skipped)
    elif outlook.becomes == "no":
        counts.add("noes", verdict.row.no)
    else:
        setattr(counts, outlook.becomes, getattr(counts, outlook.becomes) + 1)
    for one in outlook.yeses:
        counts.add("given", one)
    return None
