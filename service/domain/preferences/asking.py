"""Mailing the button: what somebody is asked to confirm, and how often one mailbox may be asked at all.

Called by `registration` (sites and forms), `actions` (a topic added on a page) and `access` (a changed address).
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select

from service.domain.consent import actions as consent
from service.domain.consent import queries as consents
from service.domain.consent.rules import MAILS_PER_DAY
from service.domain.consent.tables import Confirmation
from service.domain.ledger import actions as ledger
from service.domain.ledger.rules import sealed_part
from service.domain.links.tables import Undo
from service.domain.mailings import actions as mailings
from service.domain.mailings.queries import open_address
from service.domain.mailings.tables import Address
from service.domain.people.mailbox import Known
from service.domain.people.tables import Person
from service.domain.policies import queries as policies
from service.domain.preferences.changes import (
    LIVING,
    SAID,
    Change,
    last_no,
    move,
    neighbours,
    overtake,
    withdraw,
)
from service.domain.preferences.tables import Preference
from service.domain.topics import queries as topics
from service.domain.topics.tables import Topic
from service.kit.signing import Keyring

ONE_PRESS = timedelta(minutes=1)  # noes not further apart are one, said twice by a hand or a program (H33)


def mail_buttons(
    session: Session,
    known: Sequence[Known],
    asks: Sequence[list[dict[str, Any]]],
    *,
    brand_id: int,
    policy: Callable[[str], tuple[str, int | None]],
    now: datetime,
    by: str,
) -> list[bool]:
    """Mail the button where something waits for it; whether it was, for each person. `policy`: the one for a language, with its row.

    At most two go to one mailbox a day, and none for an old answer repeated. An ask: topic and wording (row numbers), source,
    seq (the entry that asked, or None), agreed_at, said (how they agreed, where no entry says it).
    """
    if not any(asks):
        return [False] * len(known)
    sent_today = consents.confirmations_today(session, [row.address.address_hash for row in known], now=now)
    last = _last_asked(
        session, [row.address.id for row, ask in zip(known, asks, strict=True) if ask and not row.created]
    )
    mailed = []
    for row, ask in zip(known, asks, strict=True):
        new = [one for one in ask if _is_new(one, last.get((row.address.id, one["topic"])))]
        may = bool(new) and sent_today.get(row.address.address_hash, 0) < MAILS_PER_DAY
        if may:
            policy_id = policy(row.person.locale)[1]
            _mail_one(session, row, new, brand_id=brand_id, policy_id=policy_id, now=now, by=by)
        mailed.append(may)
    return mailed


def _mail_one(
    session: Session,
    row: Known,
    new: list[dict[str, Any]],
    *,
    brand_id: int,
    policy_id: int | None,
    now: datetime,
    by: str,
) -> None:
    written = [one["seq"] for one in new if one["seq"] is not None]
    noted = [_note_asked(session, row, one, now=now, by=by) for one in new if one["seq"] is None]
    seq = next(iter([*written, *noted]))
    assert row.address.id is not None
    consent.ask_confirmation(
        session,
        person=row.person,
        address_id=row.address.id,
        brand_id=brand_id,
        topics=[
            {name: one[name] for name in ("topic", "wording", "source")} | {"policy": policy_id}
            for one in new
        ],
        requested_seq=seq,
        purpose="confirm",
        now=now,
    )


def _note_asked(session: Session, row: Known, ask: dict[str, Any], *, now: datetime, by: str) -> int:
    """That somebody is asked again, after a no or while a button waits, and how their site or form said that they agreed."""
    said, kind, subject = ask["said"], "confirmation.requested", row.person.public_id
    body: dict[str, Any] = {
        "topics": [topics.by_id(session, ask["topic"]).slug],
        "method": said.method,
        "source": said.source,
    }
    if ask["wording"]:
        body["wording"] = topics.wording_by_id(session, ask["wording"]).public_id
    if said.transfer:
        body["import"] = said.transfer
    if said.evidence:
        body["evidence"] = sealed_part(row.key, said.evidence, subject=subject, kind=kind)
    return ledger.append(session, kind, subject=subject, body=body, by=by, now=now)


def _last_asked(session: Session, addresses: list[int | None]) -> dict[tuple[int | None, int], datetime]:
    """When each of these addresses was last asked about each topic (a corrected address has not been asked at all)."""
    asked: dict[tuple[int | None, int], datetime] = {}
    if addresses:
        statement = (
            select(Confirmation)
            .where(col(Confirmation.address_id).in_(addresses))
            .order_by(col(Confirmation.created_at))
        )
        for row in session.exec(statement):
            for topic in row.topics:
                asked[row.address_id, topic["topic"]] = row.created_at
    return asked


def _is_new(ask: dict[str, Any], last: datetime | None) -> bool:
    return last is None or (ask["agreed_at"] is not None and ask["agreed_at"] > last)


def may_be_asked(session: Session, address_hash: str, *, now: datetime) -> bool:
    """Whether this mailbox had fewer than two confirmation mails in the last 24 hours (standards N11)."""
    return consents.confirmations_today(session, [address_hash], now=now).get(address_hash, 0) < MAILS_PER_DAY


def asked_again(change: Change, topic: Topic) -> bool:
    """Whether a button mailed to this mailbox since its last no could still make a yes of the topic: a further no takes the
    question back with it (H39)."""
    address = change.session.get(Address, change.person.address_id) if change.person.address_id else None
    if address is None:
        return False
    statement = (
        select(Confirmation)
        .join(Address, col(Address.id) == col(Confirmation.address_id))
        .where(
            col(Address.address_hash) == address.address_hash,
            col(Confirmation.requested_seq) > last_no(change.session, change.person, topic),
            col(Confirmation.confirmed_at).is_(None),
            col(Confirmation.expires_at) > change.now,
        )
    )
    return any(one["topic"] == topic.id for asked in change.session.exec(statement) for one in asked.topics)


def ask_for(change: Change, added: list[Topic]) -> list[str]:
    """A printed link never says yes: what it adds, or what new words promise, is asked by mail to the address on file. The topics asked
    about; none where that mailbox had its mails today."""
    address = change.session.get(Address, change.person.address_id) if change.person.address_id else None
    if address is None or not may_be_asked(change.session, address.address_hash, now=change.now):
        return []
    body = {"topics": [topic.slug for topic in added], "method": change.said.method}
    seq = ledger.append(
        change.session,
        "confirmation.requested",
        subject=change.person.public_id,
        body=body,
        by=change.by,
        now=change.now,
    )
    policy = policies.current(change.session, "privacy", change.person.locale, now=change.now)
    asked = []
    for topic in added:
        assert topic.id is not None
        wording = topics.wording_for(change.session, topic.id, change.person.locale)
        asked.append(
            {"topic": topic.id, "wording": wording.id, "source": change.said.source, "policy": policy.id}
        )
    consent.ask_confirmation(
        change.session,
        person=change.person,
        address_id=address.id or 0,
        brand_id=added[0].brand_id,
        topics=asked,
        requested_seq=seq,
        purpose="confirm",
        now=change.now,
    )
    return [topic.slug for topic in added]


def say_no_again(
    change: Change,
    topic: Topic,
    preference: Preference,
    *,
    said_at: datetime | None = None,
    revocable: bool = True,
) -> bool:
    """A no where a no stands. It is written down while an older button or undo could still make a yes, which it then goes
    before (P7); the undo given for it brings back what the older one would have. It is also where it is known to have been said
    later than the one on record, by which a merge would go (docs/adr/0025). Whether anything was written.

    `said_at`: when, if somebody said it at a moment; None where it is merely how things stand. `revocable`: False when it is
    known that there is neither button nor undo.
    """
    ledger.stands(change.session)
    offered = _open_undo(change, preference) if revocable else None
    change.before += [offered] if offered is not None else []
    asked = revocable and asked_again(change, topic)  # no undo brings a question back
    if offered is None and not asked and not _is_later(change, preference, said_at):
        return False
    _say_once_more(change, topic, preference)
    return True


def _is_later(change: Change, preference: Preference, said_at: datetime | None) -> bool:
    """Whether a no that was said at a moment, by a clock that may be fast, is another than the one on record, which may be the
    controller's word alone."""
    if said_at is None:
        return False
    apart = min(said_at, change.now) - preference.since_at
    return apart >= (ONE_PRESS if preference.state in SAID else timedelta())


def _say_once_more(change: Change, topic: Topic, preference: Preference) -> None:
    """The same no: of whoever refused a question no yes is withdrawn."""
    state = preference.state if preference.state in SAID else "withdrawn"
    move(change, topic, preference, f"consent.{state}", state)


def refuse_for_neighbours(
    change: Change,
    chosen: Sequence[Topic],
    address_hash: str | None = None,
    *,
    said_at: datetime | None = None,
) -> int:
    """A no holds for the whole mailbox at once; a yes never does. How many other registrations it ended. `said_at`: as in
    `say_no_again`, for those whose no stands already."""
    address = change.session.get(Address, change.person.address_id) if change.person.address_id else None
    address_hash = address_hash or (address.address_hash if address else None)
    ended = 0
    if address_hash is None or not chosen:
        return ended
    overtake(change.session, chosen, address_hash, by=change.person)
    for other in neighbours(change.session, change.person, address_hash):
        said = consent.Said(change.said.method, "same address")
        theirs = Change(change.session, other, None, said, change.now, change.by)
        for topic in chosen:
            preference = theirs.preference(topic)
            if preference is None or topic.mail_class == "service":
                continue
            if preference.state in LIVING:
                withdraw(theirs, topic, preference)
                ended += 1
            elif preference.state in SAID and (
                _is_later(theirs, preference, said_at) or _open_undo(theirs, preference) is not None
            ):  # the questions they were asked are overtaken
                _say_once_more(theirs, topic, preference)
    return ended


def _open_undo(change: Change, preference: Preference) -> dict[str, Any] | None:
    """What an undo that was given for this very no, and is not used or too old, would bring back."""
    statement = select(Undo).where(
        col(Undo.person_id) == preference.person_id,
        col(Undo.used_at).is_(None),
        col(Undo.expires_at) > change.now,
    )
    for row in change.session.exec(statement):
        for was in row.before:
            if was["topic"] == preference.topic_id and was["left"] == preference.last_seq:
                return {name: value for name, value in was.items() if name != "left"}
    return None


def revocable(session: Session, person_ids: Sequence[int], *, now: datetime) -> set[int]:
    """Of these people, those with a button, in whosever name it was mailed to their mailbox, or an undo that could still make a yes."""
    mine, there = aliased(Address), aliased(Address)
    asked = (
        select(col(Person.id))
        .join(mine, col(mine.id) == col(Person.address_id))
        .join(there, col(there.address_hash) == col(mine.address_hash))
        .join(Confirmation, col(Confirmation.address_id) == col(there.id))
        .where(
            col(Person.id).in_(person_ids),
            col(Confirmation.confirmed_at).is_(None),
            col(Confirmation.expires_at) > now,
        )
    )
    offered = select(col(Undo.person_id)).where(
        col(Undo.person_id).in_(person_ids), col(Undo.used_at).is_(None), col(Undo.expires_at) > now
    )
    return {one for one in (*session.exec(asked), *session.exec(offered)) if one is not None}


def tell_of_change(session: Session, ring: Keyring, row: Known, *, brand_id: int, now: datetime) -> None:
    """The old address is told of a change, the new one is asked for its button (standards N17)."""
    if row.address_told is None or row.person.pending_address_id is None:
        return
    new = session.get_one(Address, row.person.pending_address_id)
    masked = open_address(ring, new, row.key).masked
    assert row.address.id is not None
    mailings.enqueue_single(
        session,
        purpose="address-changed",
        brand_id=brand_id,
        address_id=row.address.id,
        person_id=row.person.id,
        locale=row.person.locale,
        facts=mailings.seal_facts(ring, "address-changed", {"new_address_masked": masked}),
        warrant_seq=row.address_told,
        now=now,
    )
    if may_be_asked(session, new.address_hash, now=now):
        consent.ask_confirmation(
            session,
            person=row.person,
            address_id=row.person.pending_address_id,
            brand_id=brand_id,
            topics=[],
            requested_seq=row.address_told,
            purpose="address-confirm",
            now=now,
        )
