"""The noes a file brings: suppressions of keyed hashes, and the end of what stands here. Nobody is registered to say no.

Called by `actions` for rows whose state there is a no, a block, a dead mailbox or a complaint.
"""

from collections.abc import Sequence, Set
from datetime import datetime

from sqlmodel import Session, col, select

from service.domain.consent.actions import Said
from service.domain.mailings.tables import Address
from service.domain.people.tables import Person
from service.domain.preferences import rules as preference_rules
from service.domain.preferences.asking import say_no_again
from service.domain.preferences.changes import LIVING, Change, overtake, withdraw, yes_said_at
from service.domain.preferences.intake import Facts
from service.domain.preferences.tables import Preference
from service.domain.suppressions import actions as suppressions
from service.domain.suppressions.tables import Suppression
from service.domain.topics.tables import Topic
from service.domain.transfers.judging import Verdict
from service.domain.transfers.rows import Row
from service.kit.signing import Keyring

CAUSES = {"no": "withdrawal", "stopped": "objection", "bounced": "hard_bounce", "complained": "complaint"}


def say(
    session: Session, ring: Keyring, import_id: str, one: Verdict, facts: Facts, *, now: datetime, by: str
) -> None:
    """A no of the file, kept as the keyed hash alone, and said for everybody of that mailbox. What stands already stays."""
    concerned = _concerned(one.row, facts)
    for scope, topic_id in _scopes(one.row, concerned):
        suppressions.add(
            session,
            one.address_hash,
            scope=scope,
            cause=CAUSES[one.row.no],
            origin=import_id,
            subject=None,
            topic_id=topic_id,
            now=now,
            by=by,
        )
    if one.row.no != "bounced":
        _withdraw(
            session,
            ring,
            import_id,
            one,
            [topic for topic in concerned if topic.mail_class != "service"],
            now=now,
            by=by,
        )


def as_kept(row: Row, facts: Facts) -> tuple[tuple[str, int | None, str], ...]:
    """What a row's no puts on the do-not-mail list: scope, topic and cause of each line."""
    return tuple(
        [(scope, topic_id, CAUSES[row.no]) for scope, topic_id in _scopes(row, _concerned(row, facts))]
    )


def is_held(row: Row, live: Sequence[Suppression], ended_by_it: Set[int], facts: Facts) -> bool:
    """Whether all that a row's no says stands here already. `ended_by_it`: topics for which somebody of the mailbox has what a no
    ends."""
    concerned = _concerned(row, facts)
    held = {(one.scope, one.topic_id) for one in live if one.cause == CAUSES[row.no]}
    if not held.issuperset(_scopes(row, concerned)):
        return False
    return row.no == "bounced" or ended_by_it.isdisjoint(
        topic.id or 0 for topic in concerned if topic.mail_class != "service"
    )


def _concerned(row: Row, facts: Facts) -> list[Topic]:
    """The topics a no speaks of. One to everything speaks of those that are retired, too: they may be taken into use again."""
    every = [*facts.topics.values(), *facts.retired.values()]
    if row.no in ("stopped", "complained"):
        return [topic for topic in every if topic.mail_class != "service"]
    return [topic for topic in every if "*" in row.noes or topic.slug in row.noes]


def _scopes(row: Row, concerned: Sequence[Topic]) -> list[tuple[str, int | None]]:
    """How far a no reaches: a dead mailbox and a blocked person everywhere; a complaint over all that can be stopped; a no
    as far as it was said."""
    if row.no in ("bounced", "stopped"):
        return [("all", None)]
    every = row.no == "complained" or "*" in row.noes
    marketing: list[tuple[str, int | None]] = [("marketing", None)] if every else []
    single = [one for one in concerned if not every or one.mail_class == "notice"]
    return marketing + [("topic", one.id) for one in single if one.mail_class != "service"]


def _withdraw(
    session: Session,
    ring: Keyring,
    import_id: str,
    one: Verdict,
    concerned: Sequence[Topic],
    *,
    now: datetime,
    by: str,
) -> None:
    """End what stands for those topics, for every person of the mailbox, and what they were asked there before."""
    said = one.row.no_at if one.row.no == "no" else None
    overtake(session, concerned, one.address_hash, by=None, until=said)
    statement = (
        select(Person)
        .join(Address, col(Address.owner_id) == col(Person.id))
        .where(
            col(Address.owner_kind) == "person",
            col(Address.address_hash) == one.address_hash,
            col(Address.ended_at).is_(None),
            col(Person.state) != "merged",
        )
    )
    for person in session.exec(statement).unique():
        change = Change(session, person, None, Said("import", "", transfer=import_id), now, by)
        for topic in concerned:
            preference = change.preference(topic)
            if preference is None or is_older(session, ring, person, preference, one.row):
                continue
            if preference.state in LIVING:
                withdraw(change, topic, preference)
            elif said is not None and preference.state in preference_rules.NOES:
                say_no_again(change, topic, preference, said_at=said, revocable=False)  # overtaken above


def is_older(session: Session, ring: Keyring, person: Person, preference: Preference, row: Row) -> bool:
    """Whether a dated no was said before what stands here; the person has answered again since, and may have been asked again. A yes
    that was told since may have been said before, and what a sale or an old list permits is none."""
    if row.no != "no" or row.no_at is None or row.no_at >= preference.since_at:
        return False
    if preference.state not in preference_rules.PERMITTING:
        return True
    return row.no_at < yes_said_at(session, ring, person, preference)
