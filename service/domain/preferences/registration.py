"""Sign-up: what a site or our own form says about people and what they agreed to, for one person or thousands.

Called by the API (`PUT /people/…`, `POST /people/bulk`), `/join` and imports. Never a yes out of a no, never a 409 for a known
address; a yes that nobody confirmed makes a mail with a button.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any

from sqlmodel import Session

from service.db.locks import lock_ledger_tail
from service.domain.consent import actions as consent
from service.domain.consent import jurisdictions
from service.domain.consent import rules as consent_rules
from service.domain.consent.evidence import of_item, with_kept_ip
from service.domain.mailings import queries as mailings
from service.domain.people import actions as people
from service.domain.people import erasing
from service.domain.people import rules as people_rules
from service.domain.people.mailbox import Known
from service.domain.preferences import rights
from service.domain.preferences.asking import (
    mail_buttons,
    refuse_for_neighbours,
    say_no_again,
    tell_of_change,
)
from service.domain.preferences.changes import (
    Change,
    carry_over,
    heed_mailbox,
    overtake,
    refused_of_contract,
)
from service.domain.preferences.chunks import Chunk
from service.domain.preferences.intake import Checked, Facts, Registration, apart, check, look_up
from service.domain.preferences.rules import LEGACY, covers_less, told
from service.domain.topics.tables import Topic, Wording
from service.kit.errors import DomainError
from service.kit.signing import Keyring

__all__ = ["Registered", "Registration", "register_many"]


_TO_COME = DomainError()  # in the place of an answer


@dataclass(frozen=True)
class Registered:
    """What came of it: what changed, what each answer became, and what happens next."""

    person_id: str
    created: bool
    changed: list[str]
    consents: list[dict[str, str]]
    next: str | None
    mail: str | None


def register_many(
    session: Session,
    ring: Keyring,
    source: str,
    items: Sequence[Registration | Checked],
    *,
    attest: bool,
    topics: set[str] | None,
    now: datetime,
    by: str,
    facts: Facts | None = None,
) -> list[Registered | DomainError]:
    """Register people of one source, in one transaction; an item that is wrong answers with its error and harms no other.

    `attest`: the source may say that addresses are confirmed. `topics`: the only ones it may touch (None: all). `facts`: what
    this transaction has looked up already; an import's id in them stands in every entry, renews nothing, and mails a button
    only if it says so.
    """
    facts = facts or look_up(session, now)
    answers: list[Registered | DomainError] = []
    checked: list[Checked] = []
    for index, one in enumerate(items):
        try:
            if isinstance(one, Checked):  # an import has looked at it in this very transaction
                one.index = index
                checked.append(one)
            else:
                checked.append(check(index, one, facts, attest=attest, topics=topics, now=now))
            answers.append(_TO_COME)
        except DomainError as wrong:
            answers.append(wrong)
    lock_ledger_tail(session)  # so that the same person told of twice at once is one person
    for known in checked:
        given = known.given
        given.address_hash = given.address_hash or mailings.address_hash(ring, given.email)
    barred = erasing.barred(session, ring, source, [one.given for one in checked])
    accepted = []
    for known, erased in zip(checked, barred, strict=True):
        if erased and known.given.attested:  # a visitor's own form is the person coming back
            answers[known.index] = people_rules.Erased(field="email")
        else:
            accepted.append(known)
    for chunk in apart(session, source, accepted):
        registered = _register(session, ring, source, chunk, facts, attest=attest, now=now, by=by)
        for said, answer in zip(chunk, registered, strict=True):
            answers[said.index] = answer
    return answers


def _register(
    session: Session,
    ring: Keyring,
    source: str,
    chunk: list[Checked],
    facts: Facts,
    *,
    attest: bool,
    now: datetime,
    by: str,
) -> list[Registered]:
    chunk = _without_refused(session, chunk, facts)
    known = people.upsert_many(session, ring, source, [one.given for one in chunk], now=now, by=by)
    for row in known:
        if row.merged is not None:
            carry_over(session, ring, row.merged, row.person, now=now, by=by)
        elif row.moved and row.address.confirmed_at is not None:
            moved = consent.Said("api", "same address")
            heed_mailbox(session, row.person, row.address.address_hash, said=moved, now=now, by=by)
    session.flush()
    came = {row.person.id or 0: row.address.address_hash for row in known if row.created or row.moved}
    rights.heed_mailboxes(session, came, how="mailbox", now=now, by=by)
    writer = Chunk(session, ring, facts, known, now, by)
    results, asks = [], []
    for one, row in zip(chunk, known, strict=True):
        if row.registered_seq is not None and one.given.attested:
            _contract(writer, row, one)
        said, ask = _answers(writer, row, one, source, attest=attest)
        results.append(said)
        asks.append(ask)
    writer.flush()
    session.flush()
    brand_id = next(iter(facts.topics.values())).brand_id
    quiet = facts.transfer is not None and not facts.transfer.mail
    due: list[list[dict[str, Any]]] = [[] for _ in asks] if quiet else asks
    mailed = mail_buttons(session, known, due, brand_id=brand_id, policy=facts.policy, now=now, by=by)
    for one, row in zip(chunk, known, strict=True):
        _noes_of_the_address(writer, row, one)
        tell_of_change(session, ring, row, brand_id=brand_id, now=now)
    return [
        _answer(row, said, ask, sent, _QUIET if quiet else _NOT_MAILED)
        for row, said, ask, sent in zip(known, results, asks, mailed, strict=True)
    ]


def _without_refused(session: Session, chunk: list[Checked], facts: Facts) -> list[Checked]:
    """The registrations without what was refused in their mailbox: it stands in no entry, and no entry permits it."""
    hashes = [one.given.address_hash for one in chunk]
    refused = refused_of_contract(session, hashes, facts.topics.values())
    if not refused:
        return chunk
    kept = []
    for one, digest in zip(chunk, hashes, strict=True):
        resting = [
            said
            for said in one.given.registered.get("topics", [])
            if (digest, facts.topics[said["topic"]].id) not in refused
        ]
        registered = one.given.registered | ({"topics": resting} if one.given.attested else {})
        kept.append(replace(one, given=replace(one.given, registered=registered)))
    return kept


def _contract(writer: Chunk, row: Known, one: Checked) -> None:
    """What rests on the registration itself: its entry is the warrant, and names it."""
    assert row.person.id is not None
    assert row.registered_seq is not None
    for said in one.given.registered["topics"]:
        topic = writer.facts.topics[said["topic"]]
        if writer.state(row.person.id, topic.id or 0)[0] != "unknown":
            continue
        words = writer.facts.wording(topic, one.given.locale or "en")
        writer.put(
            row.person,
            topic,
            "given",
            row.registered_seq,
            basis=topic.basis,
            wording=words,
            source="registration",
        )


def _answers(
    writer: Chunk, row: Known, one: Checked, source: str, *, attest: bool
) -> tuple[list[dict[str, str]], list[dict[str, Any]]]:
    """Each answer's entry and state; returns the words for the caller and what is to be asked by mail."""
    said: list[dict[str, str]] = []
    ask: list[dict[str, Any]] = []
    for item in one.items:
        topic = writer.facts.topics.get(item.topic) or writer.facts.retired[item.topic]
        if topic.mail_class == "service":
            said.append({"topic": topic.slug, "state": "given", "result": "always_on"})
            continue
        step, seq, wording = _one_answer(writer, row, topic, item, source, attest=attest)
        said.append({"topic": topic.slug, "state": step.state, "result": step.result})
        if step.confirm:
            named = item.wording or item.elsewhere  # else our button stands beside today's
            wording = wording if named else writer.facts.wording(topic, row.person.locale)
            words = wording.id if wording else None
            how = _unsealed(writer, source, item, attest=attest) if seq is None else None
            asked = {"topic": topic.id, "wording": words, "source": item.source, "seq": seq}
            ask.append(asked | {"agreed_at": item.agreed_at, "said": how})
    return said, ask


def _one_answer(
    writer: Chunk, row: Known, topic: Topic, item: consent_rules.Item, source: str, *, attest: bool
) -> tuple[consent_rules.Step, int | None, Wording | None]:
    assert row.person.id is not None
    assert topic.id is not None
    wording = writer.facts.said(topic, item, row.person.locale)
    state, step = _step(writer, row, topic, item, attest=attest)
    if step.kind is None:
        if not item.given:
            step = _no_again(writer, row, topic, item, source, step, attest=attest)
        return step, None, wording
    before = writer.present.get((row.person.id, topic.id))
    basis = told(writer.facts.basis(topic, item), state, before.basis if before else "")
    until = jurisdictions.ends(basis, item.agreed_at) if item.given and item.agreed_at else None
    seq = consent.note(
        writer.session,
        step.kind,
        person=row.person,
        key=row.key,
        topic=topic,
        state=step.state,
        state_before=before.state
        if before
        else state,  # an old registration permits being asked: a no stops that
        said=_said_with_evidence(writer, row, item, step.kind, source, attest=attest),
        now=writer.now,
        by=writer.by,
        wording=wording,
        policy=writer.shown(row.person, item.agreed_at)[0],
        basis=basis,
        until=until,
    )
    writer.put(
        row.person, topic, step.state, seq, basis=basis, wording=wording, source=item.source, until=until,
        said_at=item.agreed_at,
    )  # fmt: skip
    return step, seq, wording


def _step(
    writer: Chunk, row: Known, topic: Topic, item: consent_rules.Item, *, attest: bool
) -> tuple[str, consent_rules.Step]:
    """The state before, and what an answer makes of it. What stands without a yes of their own goes on while a yes is asked
    for, and ends with a no."""
    key = (row.person.id or 0, topic.id or 0)
    state, since = writer.state(*key)
    before, basis = writer.present.get(key), writer.facts.basis(topic, item)
    if basis == LEGACY and before is not None:  # a label for those of whom nothing is known
        return before.state, consent_rules.Step(None, before.state, "unchanged")
    doubtful = (row.address.address_hash, topic.id) in writer.refused
    if item.given and basis in jurisdictions.MONTHS:
        stands = consent_rules.NOES[0] if doubtful and state not in consent_rules.PERMITTING else state
        return state, consent_rules.implied(
            state=stands,
            basis=before.basis if before else "",
            stands_until=before.valid_until if before else None,
            until=jurisdictions.ends(basis, item.agreed_at or writer.now),
        )
    implied = (
        before is not None and before.basis in jurisdictions.MONTHS and state in consent_rules.PERMITTING
    )
    wording = writer.facts.said(topic, item, row.person.locale)
    shown, stood = wording.version if wording else 0, (before.wording_version or 0) if before else 0
    imported = writer.facts.transfer is not None  # whose yes waits, unless its trail is whole (docs/adr/0020)
    step = consent_rules.answer(
        state="unknown" if implied and item.given else state,
        since=since,
        given=item.given,
        agreed_at=item.agreed_at,
        attested=(basis == LEGACY or (attest and item.confirmed is not None)) and not doubtful,
        confirm=topic.double_opt_in or doubtful or row.address.confirmed_at is None or imported,
        newer_words=not imported and shown >= stood,
        wider=before is not None and covers_less(before.basis, stood, topic.since_version, shown),
    )
    if implied and step.kind == "consent.requested":
        step = consent_rules.Step(None, state, step.result, confirm=True)
    return state, step


def _said_with_evidence(
    writer: Chunk, row: Known, item: consent_rules.Item, kind: str, source: str, *, attest: bool
) -> consent.Said:
    """By which way it came, and what is sealed of how: as it was closed before, where that turns out to be what is wanted."""
    sealed, policy = item.sealed, writer.facts.ip_evidence
    if sealed and (sealed.subject, sealed.kind, sealed.ip_evidence) == (row.person.public_id, kind, policy):
        return _said(writer, source, item, sealed=sealed.part)
    return _unsealed(writer, source, item, attest=attest)


def _unsealed(writer: Chunk, source: str, item: consent_rules.Item, *, attest: bool) -> consent.Said:
    keep = partial(_with_kept_ip, writer)
    return _said(writer, source, item, evidence=of_item(item, keep, attest=attest))


def _with_kept_ip(writer: Chunk, said: dict[str, Any]) -> dict[str, Any]:
    return with_kept_ip(writer.session, writer.ring, said, writer.facts.ip_evidence, now=writer.now)


def _said(writer: Chunk, source: str, item: consent_rules.Item, **how: Any) -> consent.Said:
    """By which way it came, `how` being its evidence."""
    if writer.facts.transfer:
        carried = writer.facts.transfer.id
        return consent.Said("import", item.source, transfer=carried, words_sha256=item.elsewhere, **how)
    return consent.Said("web_form" if source == "join" else "api", item.source, **how)


def _no_again(
    writer: Chunk,
    row: Known,
    topic: Topic,
    item: consent_rules.Item,
    source: str,
    step: consent_rules.Step,
    *,
    attest: bool,
) -> consent_rules.Step:
    """A site repeats a no that stands: it goes before older buttons and undos, where there are any, and counts as a later one where it
    says when it was said. What there is to answer."""
    preference = writer.present.get((row.person.id or 0, topic.id or 0))
    if preference is None:
        return step
    said = _unsealed(writer, source, item, attest=attest)
    change = Change(writer.session, row.person, row.key, said, writer.now, writer.by)
    revocable = row.person.id in writer.revocable
    say_no_again(change, topic, preference, said_at=item.agreed_at, revocable=revocable)
    moved = preference.state != step.state
    return replace(step, state=preference.state, result=preference.state) if moved else step


def _noes_of_the_address(writer: Chunk, row: Known, one: Checked) -> None:
    """A no said under an address that others hold applies to them at once; a yes never carries over (design.md 4). By whoever holds
    it, it overtakes what others were asked there."""
    noes: dict[
        datetime | None, list[Topic]
    ] = {}  # by when they were said: one look at the mailbox for all of a moment
    for item in one.items:
        topic = writer.facts.topic(item.topic, given=item.given)
        if topic is not None and not item.given:
            noes.setdefault(item.agreed_at, []).append(topic)
    if row.address.confirmed_at is not None:
        every = [topic for said_then in noes.values() for topic in said_then]
        if every:
            overtake(writer.session, every, row.address.address_hash, by=row.person)
        return
    change = Change(writer.session, row.person, None, consent.Said("api"), writer.now, writer.by)
    for said_at, topics in noes.items():
        refuse_for_neighbours(change, topics, row.address.address_hash, said_at=said_at)


_NOT_MAILED = {"confirmation_sent": "confirmation_pending"}  # the mailbox has had its two mails today
_QUIET = {"confirmation_sent": "requested"}  # an import that mails nobody


def _answer(
    row: Known, said: list[dict[str, str]], ask: list[dict[str, Any]], mailed: bool, unmailed: dict[str, str]
) -> Registered:
    following = None
    if mailed:
        following = "We sent a mail with a button; nothing on the topics asked is sent before it is pressed."
    elif row.address_told is not None:
        following = "The new address was sent a button; until it is pressed, marketing waits."
    elif ask:
        following = (
            "Nothing on the topics asked is sent before the button in our mail is pressed; one address gets two such mails a day "
            "at most."
        )
        said = [one | {"result": unmailed.get(one["result"], one["result"])} for one in said]
    return Registered(
        row.person.public_id,
        row.created,
        sorted(set(row.changed)),
        said,
        following,
        "confirmation_sent" if mailed else None,
    )
