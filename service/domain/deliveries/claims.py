"""The two transactions of a batch: the claim with the gate (T1), the record with its seal (T2), and recovery.

Called by the sender; both are guarded by the batch's token, so that repeating them changes nothing.
"""

import random
import secrets
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import select, update
from sqlmodel import Session, col

from service.db.locks import for_update
from service.domain.brands import limits
from service.domain.brands import queries as brands
from service.domain.brands.tables import Brand
from service.domain.deliveries import freeze, guard, outcomes, queries, rules, seals, waiting, warming
from service.domain.deliveries.freeze import SYSTEM
from service.domain.ledger import actions as ledger
from service.domain.ledger import queries as entries
from service.domain.mailings import actions as mailings
from service.domain.mailings.queries import domains
from service.domain.mailings.rules import message_id
from service.domain.mailings.tables import Address, Audience, Batch, Mailing, Outcome
from service.domain.people.tables import Person
from service.domain.senders import actions as senders
from service.domain.senders.tables import Sender
from service.domain.suppressions import actions as suppressions
from service.domain.templates.tables import TemplateVersion
from service.domain.topics import queries as topics
from service.domain.topics.tables import Topic
from service.kit import failpoints
from service.kit.signing import Keyring
from service.mail import dkim, starters


@dataclass(frozen=True)
class Claimed:
    """A batch in a sender's hands: what to send, and the positions the gate has already refused."""

    batch_id: int
    mailing: Mailing
    topic: Topic | None
    token: str
    members: list[queries.Member]
    contents: dict[str, TemplateVersion]
    names: dict[str, str]  # the topic's name (or those a confirmation asks about) by language
    brand: Brand
    seen_seq: int  # what was taken away up to this entry, the gate has heeded
    limits: dict[str, Any] = field(default_factory=dict)  # of recipient domains, as staff set them
    day: date | None = None  # of the warm-up plan, from whose amount it was taken
    message_key: bytes = b""
    key: dkim.Key | None = None  # signs this batch; read anew for each, so that a rotation needs no restart


def claim(
    session: Session,
    ring: Keyring,
    sender_id: int,
    *,
    now: datetime,
    limit: int,
    system: bool,
    incarnation: str = "",
) -> list[Claimed]:
    """The first transaction of a batch: lock due open ones, pass the gate, note the warrants (reliability 2.3, T1).

    `system`: single mails (confirmations, sign-in links) or mailings of a topic. What the gate refuses gets its
    `skipped` outcome here. Sending switched off claims nothing, nor does a lease that has ended. The tokens begin with
    `incarnation`, so that its holder finds a claim again whose commit nobody answered (`forgotten`).
    """
    seen, _ = entries.tail(session)  # first: each statement on PostgreSQL sees a later moment than the last
    set_by_staff = brands.settings(session)
    if not set_by_staff["sending_on"] or not senders.holds(session, sender_id, incarnation):
        return []
    day, room = None, None
    amount = None if system else limits.amount_on(set_by_staff["warm_up"], now.date())
    if amount is not None:
        day, limit = now.date(), 1
        room = warming.left(session, amount, day)
        if not room:
            warming.put_off(session, now=now)
            return []
    holder = (sender_id, incarnation)
    due = queries.due_batches(now=now, limit=limit, system=system, important_first=day is not None)
    batches = session.scalars(for_update(session, due, skip_locked=True)).all()
    return [
        replace(
            _claim_one(session, ring, session.get_one(Batch, one), holder, seen, set_by_staff, room, now=now),
            limits=set_by_staff["domain_limits"] or {},
            day=day,
        )
        for one in batches
    ]


def _claim_one(
    session: Session,
    ring: Keyring,
    batch: Batch,
    holder: tuple[int, str],
    seen: int,
    settings: dict[str, Any],
    room: int | None,
    *,
    now: datetime,
) -> Claimed:
    """`room`: how many letters the warm-up plan leaves for today, None without one."""
    mailing = session.get_one(Mailing, batch.mailing_id)
    topic = topics.by_id(session, mailing.topic_id) if mailing.topic_id else None
    assert mailing.id is not None
    assert batch.id is not None
    brand = brands.by_id(session, mailing.brand_id)
    mailings.keep_domains(session, mailing, brand)
    contents = queries.contents(session, mailing.id)
    fields = {name for version in contents.values() for name in version.fields} | (
        {"first_name"} if mailing.kind == "system" else set()
    )
    members = freeze.members(session, batch, mailing, topic, fields, now=now)
    members = _who_may_now(session, mailing, members, settings, now=now)
    if room is not None:
        members, later = warming.split(members, room)
        tomorrow = warming.next_day(now)
        _put_off(
            session, mailing, [waiting.Again(warming.WAITS, tomorrow, one.pos, one.attempt) for one in later]
        )
        warming.take(session, now.date(), sum(one.refusal is None for one in members))
    members = outcomes.refuse(session, mailing.id, members, now=now)
    batch.state, batch.token, batch.sender_id, batch.claimed_at = (
        "claimed",
        holder[1] + secrets.token_hex(8),
        holder[0],
        now,
    )
    batch.claimed_seq = seen
    batch.warrants = b",".join(b"%d:%d" % (one.pos, one.warrant) for one in members)
    session.add(batch)
    names = _names(
        session, [mailing.topic_id] if mailing.topic_id else (mailing.facts or {}).get("topics", [])
    )
    key = brands.signing_key(session, ring, brand)
    failpoints.hit("claim.before_commit")
    return Claimed(
        batch.id, mailing, topic, batch.token, members, contents, names, brand, seen,
        key=key, message_key=ring.message_key,
    )  # fmt: skip


def _who_may_now(
    session: Session,
    mailing: Mailing,
    members: list[queries.Member],
    settings: dict[str, Any],
    *,
    now: datetime,
) -> list[queries.Member]:
    """Those who do not wait for an hour or a week."""
    waits = waiting.later(session, mailing, members, settings, now=now)
    again = [waiting.Again(*waits[one.pos], one.pos, one.attempt) for one in members if one.pos in waits]
    _put_off(session, mailing, again)
    return [one for one in members if one.pos not in waits]


def _put_off(session: Session, mailing: Mailing, again: list[waiting.Again]) -> None:
    """Who waits for an hour, a week or a day of the plan goes into a batch due then, and the mailing lives on for them."""
    if not again:
        return
    assert mailing.id is not None
    waiting.come_back(session, mailing.id, again)
    mailing.valid_until = max(mailing.valid_until, *(one.due + timedelta(days=1) for one in again))
    session.add(mailing)


def _names(session: Session, topic_ids: list[int]) -> dict[str, str]:
    words = [topics.current_wordings(session, topic_id) for topic_id in topic_ids]
    locales = {locale for by_locale in words for locale in by_locale}
    return {
        locale: starters.listed([w.get(locale, next(iter(w.values()))).title for w in words], locale)
        for locale in sorted(locales)
    }


def record(
    session: Session,
    claimed: Claimed,
    results: list[rules.Result],
    *,
    waits: rules.Waits,
    now: datetime,
    chance: random.Random,
) -> bool:
    """The second transaction: every outcome of the batch, its Merkle root into the ledger, the batch closed (T2).

    Guarded by the token, so a repeated call after a lost commit changes nothing and answers False.
    """
    mailing_id = claimed.mailing.id or 0
    warrants = {one.pos: one for one in claimed.members}
    again: list[waiting.Again] = []
    rows: list[dict[str, Any]] = []
    for result in results:
        member = warrants[result.pos]
        if result.state == "reclaim":
            later = now + timedelta(seconds=result.wait)
            again.append(waiting.Again(result.reason, later, result.pos, result.attempt))
            continue
        due = _due_again(claimed, member, result, waits, now=now, chance=chance)
        if due is not None:
            again.append(waiting.Again("", due, result.pos, result.attempt + 1))
        state, reason = result.state, result.reason
        if state == "deferred" and due is None:
            state, reason = "expired", "gave_up"
        state = rules.after_doubt(state, member.doubts)
        row = outcomes.row(mailing_id, member, state, reason, now=now)
        rows.append(row | {"code": result.code, "reply": result.reply[:500], "final": due is None})
    sealed = _leaves(claimed, rows, {one.pos: one.message_id for one in results}, now)
    told = seals.body(sealed, seen=claimed.seen_seq, batch=claimed.batch_id)
    if not _close(session, claimed, now=now):  # the first statement: the database is locked from here on only
        return False
    refused = outcomes.insert(session, rows)
    if refused:
        left = sealed.keys() - {(one["pos"], one["attempt"]) for one in refused}
        told = seals.body({one: sealed[one] for one in left}, seen=claimed.seen_seq, batch=claimed.batch_id)
        ended = {one["pos"] for one in refused}
        again = [one for one in again if one.pos not in ended]
    waiting.come_back(session, mailing_id, again)
    if claimed.day is not None:
        warming.take(session, claimed.day, -sum(one.state == "reclaim" for one in results))
    if claimed.mailing.topic_id is not None:  # a single mail cannot go wrong by shares
        guard.watch(
            session, mailing_id, claimed.batch_id, [one for one in rows if one not in refused], now=now
        )
    outcomes.note_collided(session, mailing_id, claimed.batch_id, refused, now=now)
    _suppress(session, claimed, [one.pos for one in results if one.suppress], now=now)
    _seal(session, claimed, told, now=now)
    return True


def _leaves(
    claimed: Claimed, rows: list[dict[str, Any]], made: dict[int, str], now: datetime
) -> dict[seals.Key, str]:
    """Of what is recorded now, and of whom its claim has refused already. `made`: the Message-IDs that are known."""
    mailing_id, domain = claimed.mailing.id or 0, domains(claimed.mailing, claimed.brand).ids
    refused = [outcomes.refusal(mailing_id, one, now=now) for one in claimed.members if one.refusal]
    return seals.leaves(
        rows + refused, lambda pos: made.get(pos) or message_id(claimed.message_key, mailing_id, pos, domain)
    )


def _close(session: Session, claimed: Claimed, *, now: datetime) -> bool:
    """Close the batch; False when it is no longer this claim's."""
    ours = (
        update(Batch)
        .where(
            col(Batch.id) == claimed.batch_id,
            col(Batch.token) == claimed.token,
            col(Batch.state) == "claimed",
        )
        .values(state="closed", closed_at=now)
    )
    return session.connection().execute(ours).rowcount == 1


def orphaned(
    session: Session, name: str | None = None, incarnations: Collection[str] | None = None
) -> list[int]:
    """The batches that sender `name` has in hand, of these `incarnations` alone where they are given: another one of that name may
    be at work elsewhere. Without a name, those of every sender."""
    statement = select(col(Batch.id), col(Batch.token)).join(Sender, col(Sender.id) == col(Batch.sender_id))
    if name is not None:
        statement = statement.where(col(Sender.name) == name)
    theirs = tuple(incarnations or ("",))
    claimed = session.execute(statement.where(col(Batch.state) == "claimed"))
    return [one for one, token in claimed if one and (token or "").startswith(theirs)]


def forgotten(session: Session, incarnation: str, held: Collection[int]) -> list[int]:
    """The batches that stand as claimed by an incarnation and are not among those it holds."""
    ours = (col(Batch.state) == "claimed", col(Batch.token).startswith(incarnation, autoescape=True))
    return [one for one in session.scalars(select(col(Batch.id)).where(*ours)) if one and one not in held]


def lose(
    session: Session,
    ring: Keyring,
    name: str,
    *,
    waits: rules.Waits,
    now: datetime,
    chance: random.Random,
    by: str,
) -> int:
    """A sender and its journal are gone for good: its lease ends, and whatever it had in hand is `unknown`; how many
    batches. Raises `SenderUnknown` or `SenderNotLost`."""
    senders.lose(session, name, now=now)
    left = orphaned(session, name)

    def fate(mailing: int, pos: int, attempt: int) -> rules.Result:
        return rules.Result(pos, attempt, "unknown", "sender_lost")

    for batch in left:
        recover(session, ring, batch, fate, waits=waits, now=now, chance=chance)
    ledger.append(
        session, "sender.lost", subject=None, body={"name": name, "batches": len(left)}, by=by, now=now
    )
    return len(left)


def recover(
    session: Session,
    ring: Keyring,
    batch_id: int,
    fate: Callable[[int, int, int], rules.Result],
    *,
    waits: rules.Waits,
    now: datetime,
    chance: random.Random,
) -> None:
    """End a batch whose sender died: `fate` says of each position (mailing, pos, attempt) what its journal knows."""
    batch = session.get_one(Batch, batch_id)
    mailing = session.get_one(Mailing, batch.mailing_id)
    attempts = {pos: attempt for pos, attempt in batch.positions or []}
    noted = [one.partition(b":") for one in (batch.warrants or b"").split(b",") if one]
    warrants = {int(pos): int(warrant) for pos, _, warrant in noted}
    settled = select(col(Outcome.pos), col(Outcome.attempt), col(Outcome.reason)).where(
        col(Outcome.mailing_id) == mailing.id, col(Outcome.pos).in_(warrants)
    )
    refused = {(pos, attempt): reason for pos, attempt, reason in session.execute(settled)}  # by its claim
    doubts = queries.unknown_ends(session, batch.mailing_id, list(attempts))
    members = []
    for pos, warrant in warrants.items():
        attempt = attempts.get(pos, 1)
        why, doubtful = refused.get((pos, attempt)), doubts.get(pos, 0)
        members.append(queries.Member(pos, attempt, why, warrant, "", 0, "", "", "", None, {}, doubtful))
    brand = brands.by_id(session, mailing.brand_id)
    claimed = Claimed(
        batch_id, mailing, None, batch.token or "", members, {}, {}, brand, batch.claimed_seq or 0,
        message_key=ring.message_key,
    )  # fmt: skip
    results = [fate(batch.mailing_id, one.pos, one.attempt) for one in members if one.refusal is None]
    record(session, claimed, results, waits=waits, now=now, chance=chance)
    failpoints.hit("recover.before_commit")


def _seal(session: Session, claimed: Claimed, told: dict[str, Any], *, now: datetime) -> None:
    failpoints.hit("record.before_commit")  # of `record`: the outcomes are inserted
    root = update(Batch).where(col(Batch.id) == claimed.batch_id).values(root=told["root"])
    session.connection().execute(root)
    seals.write(session, claimed.mailing.public_id, told, now=now)


def _due_again(
    claimed: Claimed,
    member: queries.Member,
    result: rules.Result,
    waits: rules.Waits,
    *,
    now: datetime,
    chance: random.Random,
) -> datetime | None:
    """When this position is tried again: after a 4xx; after an unknown end only what must not be lost, and nothing that a
    restored copy speaks of."""
    mailing = claimed.mailing
    never_lost = mailing.unknown_rule == "at_least_once" and result.reason != "restored"
    if result.state != "deferred" and not (result.state == "unknown" and never_lost):
        return None
    return rules.next_try(
        waits, result, member.doubts, now=now, valid_until=mailing.valid_until, chance=chance
    )


def _suppress(session: Session, claimed: Claimed, positions: list[int], *, now: datetime) -> None:
    """A server said that the mailbox does not exist: nothing is written there again before a new confirmation (C7)."""
    if not positions:
        return
    statement = (
        select(col(Address.address_hash), col(Person.public_id))
        .join(Audience, col(Audience.address_id) == col(Address.id))
        .outerjoin(Person, col(Person.id) == col(Audience.person_id))
        .where(col(Audience.mailing_id) == claimed.mailing.id, col(Audience.pos).in_(positions))
    )
    for address_hash, subject in session.execute(statement).all():
        suppressions.add(
            session,
            address_hash,
            scope="all",
            cause="hard_bounce",
            origin=claimed.mailing.public_id,
            subject=subject,
            now=now,
            by=SYSTEM,
        )
