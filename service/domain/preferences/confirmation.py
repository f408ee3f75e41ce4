"""The button of a confirmation mail: it alone makes the yeses a link or a site asked for, and confirms an address.

Called by the page `/confirm/{token}`.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlmodel import Session

from service.db.locks import lock_ledger_tail
from service.domain.consent import actions as consent
from service.domain.consent.tables import Confirmation
from service.domain.ledger import actions as ledger
from service.domain.links import rules as links
from service.domain.mailings import queries as mailing_queries
from service.domain.mailings.tables import Address
from service.domain.people import mailbox
from service.domain.people import queries as people_queries
from service.domain.people.tables import Person
from service.domain.policies import queries as policies
from service.domain.preferences import changes, rights, rules
from service.domain.suppressions import actions as suppressions
from service.domain.topics import queries as topics
from service.domain.topics.tables import Topic
from service.kit.signing import Keyring

# What a new yes of the mailbox's owner takes off the do-not-mail list (`suppressions.rules.CAUSES`). An objection is not a no to
# one topic and is not taken back by a yes to one: that is an act of its own (`rights.lift_objection`).
LIFTED = ("hard_bounce", "complaint", "withdrawal", "erasure")


@dataclass(frozen=True)
class Confirmed:
    """What a pressed button made true."""

    topics: list[Topic]
    person: Person
    already: bool
    receipt: str | None = None


def confirm(
    session: Session, ring: Keyring, link: links.Link, *, evidence: dict[str, Any], now: datetime
) -> Confirmed:
    """The button of a confirmation mail was pressed: the address is confirmed and each topic asked becomes a yes.

    A no said for this mailbox after the mail was asked for wins over its button (H39). Pressing twice answers the same.
    """
    lock_ledger_tail(session)
    mailing = mailing_queries.by_alias(session, link.mailing)
    confirmation = session.get(Confirmation, mailing.id) if mailing else None
    person = people_queries.by_alias(session, link.person)
    if mailing is None or confirmation is None or person is None:
        raise links.LinkNotRecognised
    if person.state == "erased":
        raise links.LinkExpired
    asked = [topics.by_id(session, one["topic"]) for one in confirmation.topics]
    if confirmation.confirmed_at is not None:
        ledger.stands(session)
        _refuse_after_no(session, confirmation, person, asked)
        return Confirmed(asked, person, True)
    if confirmation.expires_at <= now:
        raise links.LinkExpired
    address = _address(session, confirmation, person)
    _refuse_after_no(session, confirmation, person, asked)
    said = consent.Said("doi_click", "link", evidence, mailing.public_id)
    by = f"person:{person.public_id}"
    row = mailbox.known(session, ring, person)
    left = mailbox.confirm_address(session, ring, row, address, now=now, by=by)
    if left.id != person.id:
        changes.carry_over(session, ring, person, left, now=now, by=by)
    elif row.moved:
        moved = consent.Said("doi_click", "same address", None, mailing.public_id)
        changes.heed_mailbox(session, left, address.address_hash, said=moved, now=now, by=by)
        came = {left.id or 0: address.address_hash}
        rights.heed_mailboxes(session, came, how="mailbox", now=now, by=by)
    change = changes.begin(session, ring, left, said, now=now, by=by)
    for one, topic in zip(confirmation.topics, asked, strict=True):
        _grant(change, topic, one)
    causes = LIFTED if asked else ("hard_bounce",)
    suppressions.lift(
        session,
        address.address_hash,
        causes=causes,
        topic_ids={topic.id or 0 for topic in asked},
        others=_others(session, asked),
        marketing=any(topic.mail_class == "marketing" for topic in asked),
        subject=left.public_id,
        now=now,
        by=by,
    )
    confirmation.confirmed_at = now
    session.add(confirmation)
    return Confirmed(asked, left, False, changes.slip(session))


def _others(session: Session, asked: list[Topic]) -> dict[int, str]:
    """The topics the button was not about, service mail apart: a no to everything goes on to hold for them (P7)."""
    confirmed = {topic.id for topic in asked}
    return {
        topic.id or 0: topic.mail_class
        for topic in topics.everything(session)
        if topic.id not in confirmed and topic.mail_class != "service"
    }


def _refuse_after_no(
    session: Session, confirmation: Confirmation, person: Person, asked: list[Topic]
) -> None:
    """Whoever said no since they were asked is not told that all is well. Raises `GrantNeedsNewConfirmation`."""
    mailbox_hash = session.get_one(Address, confirmation.address_id).address_hash
    for topic in asked:
        if changes.refused_since(session, person, confirmation, mailbox_hash, topic):
            raise rules.GrantNeedsNewConfirmation


def _address(session: Session, confirmation: Confirmation, person: Person) -> Address:
    """The person's address that the mail went to, perhaps in another row by now. Raises `LinkExpired` when it is theirs no more."""
    asked = session.get_one(Address, confirmation.address_id)
    for own in (person.pending_address_id, person.address_id):
        row = session.get(Address, own) if own else None
        if row is not None and row.ended_at is None and row.address_hash == asked.address_hash:
            return row
    raise links.LinkExpired


def _grant(change: changes.Change, topic: Topic, asked: dict[str, Any]) -> None:
    """The yes itself, with the words that were shown; nothing when it stands already and covers them."""
    preference = change.preference(topic) or changes.fresh(change.person, topic, now=change.now)
    wording = topics.wording_by_id(change.session, asked["wording"]) if asked.get("wording") else None
    stands = rules.own_yes(preference.state, preference.basis) and preference.basis != rules.SALE
    shown = wording.version if wording else 0
    less = rules.covers_less(preference.basis, preference.wording_version, topic.since_version, shown)
    if stands and not less:
        return
    policy = policies.by_id(change.session, asked["policy"]) if asked.get("policy") else None
    source, state = asked.get("source") or "", "renewed" if stands else "given"
    basis = rules.pressed(topic.basis)
    seq = consent.note(
        change.session,
        f"consent.{state}",
        person=change.person,
        key=change.key,
        topic=topic,
        state=state,
        state_before=preference.state,
        said=consent.Said(change.said.method, source, change.said.evidence, change.said.mailing),
        now=change.now,
        by=change.by,
        wording=wording,
        policy=policies.name_of(change.session, policy) if policy else None,
        basis=basis,
    )
    preference.state, preference.basis, preference.since_at = state, basis, change.now
    preference.warrant_seq = preference.last_seq = seq
    preference.wording_version = rules.wording_version(state, basis, shown)
    preference.valid_until = None
    change.session.add(preference)
    consent.keep_record(
        change.session,
        change.person,
        topic,
        basis=basis,
        wording=wording,
        policy_id=asked.get("policy"),
        source=source,
        now=change.now,
    )
