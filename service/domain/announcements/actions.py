"""The steps of an announcement, from draft to sent. Each locks its row, checks the rules and writes one
ledger entry.

Called by the pages, the API, the command line, and the timetable (`start_due`, `expire`, `finish`).
"""

from datetime import datetime
from typing import Any, cast

from sqlalchemy import select
from sqlmodel import Session, col

from service.config import Settings
from service.db.locks import for_update
from service.domain.announcements import compose, queries, rules
from service.domain.announcements.tables import Announcement
from service.domain.brands import queries as brands
from service.domain.deliveries import actions as deliveries
from service.domain.ledger import actions as ledger
from service.domain.mailings.rules import ENDED, FINAL
from service.domain.mailings.tables import Mailing
from service.domain.people.tables import Person
from service.domain.staff.tables import StaffMember
from service.domain.topics import queries as topics
from service.kit import failpoints
from service.kit.errors import DomainError
from service.kit.ids import new_id
from service.kit.signing import Keyring
from service.mail.check import blocks

SYSTEM = ledger.SYSTEM
AT_ONCE = 5  # announcements the clock takes in one transaction: compiling holds the database for moments


def create(
    session: Session,
    settings: Settings,
    *,
    topic: str,
    template: str,
    content: object,
    audience: object = None,
    default_locale: str | None = None,
    now: datetime,
    by: str,
) -> Announcement:
    """A new draft. Raises what cannot be kept: rules.read_draft, queries.read, and the errors of a
    template."""
    given = rules.read_draft(
        topic=topic, template=template, content=content, audience=audience, default_locale=default_locale
    )
    return _keep_new(session, queries.read(session, settings, given), {}, now=now, by=by)


def duplicate(session: Session, public_id: str, *, now: datetime, by: str) -> Announcement:
    """A new draft with the same words and audience, whatever became of the first."""
    row = queries.by_public_id(session, public_id)
    return _keep_new(session, queries.draft_of(session, row), {"from": public_id}, now=now, by=by)


def edit(
    session: Session,
    settings: Settings,
    public_id: str,
    *,
    topic: str | None = None,
    template: str | None = None,
    content: object = None,
    audience: object = None,
    default_locale: str | None = None,
    based_on: str | None = None,
    now: datetime,
    by: str,
) -> Announcement:
    """Change what is named; it is a draft again and its approval is void.

    `based_on` is the hash of what the editor saw: another one now raises StaleVersion, so nobody's words are
    lost.
    """
    row = _locked(session, public_id)
    rules.check_step("edit", row.state)
    before = queries.draft_of(session, row)
    if based_on is not None and based_on != queries.content_hash(session, before):
        raise rules.StaleVersion
    given = rules.changed(before, topic, template, content, audience, default_locale)
    for name, value in _columns(session, queries.read(session, settings, given)).items():
        setattr(row, name, value)
    row.state, row.author, row.changed_at = "draft", by, now
    _void(row)
    _note(session, row, "edited", {"content": row.content_hash}, now=now, by=by)
    return row


def submit(session: Session, settings: Settings, public_id: str, *, now: datetime, by: str) -> Announcement:
    """Ask for approval. Raises NotReady while a check forbids it (H24, H25)."""
    row = _locked(session, public_id)
    rules.check_step("submit", row.state)
    if row.state == "approved" and row.approved_hash == _hash(session, row):
        rules.check_step("approve", row.state)
    _refuse_blocks(session, settings, row)
    row.state, row.content_hash, row.changed_at = "in_review", _hash(session, row), now
    _void(row)
    _note(session, row, "submitted", {"content": row.content_hash}, now=now, by=by)
    return row


def approve(
    session: Session, settings: Settings, public_id: str, *, content_hash: str, now: datetime, by: str
) -> Announcement:
    """Approve exactly what was looked at: `content_hash`.

    Raises StaleVersion when it says something else now (H70), OwnApproval where a second person is needed
    (H65), NotReady.
    """
    row = _locked(session, public_id)
    if content_hash != _hash(session, row):
        raise rules.StaleVersion(field="content_hash")
    rules.check_step("approve", row.state)
    if queries.approval_needed(session) and by in queries.authors(session, row):
        raise rules.OwnApproval
    _refuse_blocks(session, settings, row)
    row.state, row.content_hash, row.changed_at = "approved", content_hash, now
    row.approved_hash, row.approved_by, row.approved_at = content_hash, by, now
    _note(session, row, "approved", {"content": content_hash}, now=now, by=by)
    return row


def schedule(
    session: Session,
    public_id: str,
    *,
    at: str,
    zone: str | None = None,
    local: bool = False,
    hold_seconds: int,
    now: datetime,
    by: str,
) -> Announcement:
    """Set when it goes: "now" (after the hold), an instant, a time of day in a zone or, with `local`, on each
    reader's own clock; see `rules.when`.

    Raises NotApproved unless it is approved as it stands.
    """
    row = _locked(session, public_id)
    due = rules.when(at, zone, local=local, now=now, hold_seconds=hold_seconds)
    if row.state in ("draft", "in_review") or (
        row.state == "approved" and row.approved_hash != _hash(session, row)
    ):
        raise rules.NotApproved
    rules.check_step("schedule", row.state)
    _set_due(row, due)
    row.state, row.reason, row.changed_at = "scheduled", "", now
    body = {
        "content": row.content_hash,
        "at": due.at_utc.isoformat(),
        "zone": due.zone,
        "wall_time": due.wall_time,
    }
    _note(session, row, "scheduled", body, now=now, by=by)
    return row


def unschedule(session: Session, public_id: str, *, now: datetime, by: str) -> Announcement:
    """Take it off the schedule before it has begun; approved again, or a draft when the approval no longer
    fits."""
    row = _locked(session, public_id)
    rules.check_step("unschedule", row.state if row.mailing_id is None else "sending")
    row.state = "approved" if row.approved_hash == _hash(session, row) else "draft"
    row.due_at = row.zone = row.wall_time = row.hold_until = row.valid_until = None
    row.reason, row.changed_at = "", now
    _note(session, row, "unscheduled", {"content": row.content_hash}, now=now, by=by)
    return row


def pause(session: Session, public_id: str, *, reason: str = "staff", now: datetime, by: str) -> Announcement:
    """Let nothing more of it leave until it is resumed. The entry is one the fence waits for."""
    row, mailing = _with_mailing(session, public_id, "pause")
    if mailing is not None:
        deliveries.pause(session, mailing, reason[:40], now=now, by=by)
    _pause(session, row, mailing, reason[:40], now=now, by=by)
    return row


def resume(session: Session, public_id: str, *, now: datetime, by: str) -> Announcement:
    """Go on with who is left; nobody gets it twice. One that was late or paused before its start goes when it
    is due, and at once when that has passed. Raises NotApproved when such a one has changed since its
    approval."""
    row, mailing = _with_mailing(session, public_id, "resume")
    if mailing is not None:
        deliveries.resume(session, mailing, now=now, by=by)
        row.state = mailing.state
    else:
        if row.approved_hash != _hash(session, row):
            raise rules.NotApproved(fix="Unschedule it; then submit it and have it approved again.")
        if row.due_at is None or row.due_at <= now:
            _set_due(row, rules.when("now", row.zone, now=now, hold_seconds=0))
        row.state = "scheduled"
    row.reason, row.changed_at = "", now
    _note(session, row, "resumed", _mailing_body(mailing), now=now, by=by)
    return row


def cancel(session: Session, public_id: str, *, now: datetime, by: str) -> Announcement:
    """End it for good: who has not got it will not. The entry is one the fence waits for."""
    row, mailing = _with_mailing(session, public_id, "cancel")
    if mailing is not None:
        deliveries.cancel(session, mailing, now=now, by=by)
    row.state, row.reason, row.changed_at = "cancelled", "", now
    _note(session, row, "cancelled", _mailing_body(mailing), now=now, by=by)
    return row


def test_mail(
    session: Session,
    ring: Keyring,
    settings: Settings,
    public_id: str,
    *,
    member: StaffMember,
    as_person: Person | None,
    locale: str,
    now: datetime,
    by: str,
) -> Mailing:
    """Mail it to whoever asks, at their own confirmed address, as one person would get it; counted nowhere.

    Raises TestOnlyToYourself for anybody else's account, TestTooOften after 20 within the hour (H65), and
    what keeps the mail from being built.
    """
    row = queries.by_public_id(session, public_id)
    address_id = queries.test_address(session, member, by=by, now=now)
    draft = queries.draft_of(session, row)
    chosen = queries.best_locale(draft, locale)
    version = compose.compile_language(session, settings, draft, chosen, now=now, mark=compose.TEST_MARK)
    body = {"locale": chosen, "as_person": as_person.public_id if as_person else None}
    return compose.enqueue_test(
        session,
        ring,
        version,
        topic=queries.topic_of(session, draft),
        address_id=address_id,
        as_person=as_person,
        warrant=_note(session, row, "tested", body, now=now, by=by),
        now=now,
    )


def start_due(session: Session, settings: Settings, *, now: datetime) -> list[str]:
    """Begin what is due: compile every language, hand the mailing to deliveries. Returns the public ids
    begun.

    A row is taken by one clock only, whoever locks it first. More than six hours late, changed since its
    approval, or impossible to build: paused with the reason instead. While sending is switched off nothing
    begins.
    """
    if not brands.setting(session, "sending_on"):
        return []
    due = (col(Announcement.state) == "scheduled", col(Announcement.due_at) <= now)
    begun = []
    for row in _take(session, *due):
        assert row.due_at is not None
        if now - row.due_at > rules.LATE:
            _pause(session, row, None, "late", now=now, by=SYSTEM)
        elif row.approved_hash != _hash(session, row):
            _pause(session, row, None, "changed", now=now, by=SYSTEM)
        elif _start(session, settings, row, now):
            failpoints.hit("start.before_commit")
            begun.append(row.public_id)
    return begun


def expire(session: Session, *, now: datetime) -> list[str]:
    """End what never began and whose time has run out; returns the public ids."""
    rows = _take(
        session,
        col(Announcement.state).in_(("scheduled", "paused")),
        col(Announcement.mailing_id).is_(None),
        col(Announcement.valid_until) <= now,
    )
    for row in rows:
        row.state, row.changed_at = "expired", now
        _note(session, row, "expired", _mailing_body(None), now=now, by=SYSTEM)
    return [row.public_id for row in rows]


def finish(session: Session, *, now: datetime) -> list[str]:
    """Write down what a mailing's end made of its announcement; returns the public ids that ended."""
    moved = col(Mailing.state).in_(ENDED) & (col(Mailing.state) != col(Announcement.state))
    over = select(col(Mailing.id)).where(moved)  # what is halted may yet expire
    rows = _take(session, col(Announcement.state).not_in(FINAL), col(Announcement.mailing_id).in_(over))
    for row in rows:
        mailing = session.get_one(Mailing, row.mailing_id)
        row.state, row.changed_at = mailing.state, now
        if mailing.state in ("sent", "expired"):  # cancelled and halted were written by whoever did it
            body = {**_mailing_body(mailing), "planned": mailing.planned}
            _note(session, row, mailing.state, body, now=now, by=SYSTEM)
    return [row.public_id for row in rows]


def _keep_new(
    session: Session, draft: rules.Draft, body: dict[str, Any], *, now: datetime, by: str
) -> Announcement:
    row = Announcement(
        public_id=new_id("a"), author=by, created_at=now, changed_at=now, **_columns(session, draft)
    )
    _note(session, row, "created", {**body, "content": row.content_hash}, now=now, by=by)
    return row


def _columns(session: Session, draft: rules.Draft) -> dict[str, Any]:
    """The draft as the columns that keep it."""
    return {
        "topic_id": topics.by_slug(session, draft.topic).id,
        "template": draft.template,
        "content": draft.content,
        "default_locale": draft.default_locale,
        "audience": draft.audience,
        "content_hash": queries.content_hash(session, draft),
    }


def _locked(session: Session, public_id: str) -> Announcement:
    """The row, ours until commit and read anew."""
    found = session.scalars(
        for_update(session, select(Announcement).where(col(Announcement.public_id) == public_id)),
        execution_options={"populate_existing": True},
    ).first()
    if found is None:
        raise rules.AnnouncementUnknown
    return cast(Announcement, found)


def _with_mailing(session: Session, public_id: str, step: str) -> tuple[Announcement, Mailing | None]:
    """Announcement and mailing, both ours until commit, if they may take the step."""
    row = _locked(session, public_id)
    mailing = None
    if row.mailing_id is not None:
        ours = for_update(session, select(Mailing).where(col(Mailing.id) == row.mailing_id))
        mailing = session.scalars(ours, execution_options={"populate_existing": True}).one()
    rules.check_step(step, queries.state_of(row, mailing).state)
    return row, mailing


def _take(session: Session, *conditions: Any) -> list[Announcement]:
    """Some rows for the clock, all locked before anything is written, but what another clock holds."""
    statement = select(Announcement).where(*conditions).order_by(col(Announcement.id)).limit(AT_ONCE)
    taken = for_update(session, statement, skip_locked=True)
    return list(session.scalars(taken, execution_options={"populate_existing": True}))


def _start(session: Session, settings: Settings, row: Announcement, now: datetime) -> bool:
    try:
        mailing = compose.begin(session, settings, row, now=now, by=SYSTEM)
    except DomainError as refused:
        _pause(session, row, None, refused.code[:40], now=now, by=SYSTEM)
        return False
    row.mailing_id, row.state, row.changed_at = mailing.id, mailing.state, now
    _note(
        session, row, "started", {**_mailing_body(mailing), "content": row.content_hash}, now=now, by=SYSTEM
    )
    return True


def _pause(
    session: Session, row: Announcement, mailing: Mailing | None, reason: str, *, now: datetime, by: str
) -> None:
    row.state, row.reason, row.changed_at = "paused", reason, now
    _note(session, row, "paused", {**_mailing_body(mailing), "reason": reason}, now=now, by=by)


def _set_due(row: Announcement, due: rules.Due) -> None:
    row.due_at, row.zone, row.wall_time, row.hold_until = due.at_utc, due.zone, due.wall_time, due.hold_until
    row.valid_until = (due.last or due.at_utc) + rules.VALID_FOR


def _void(row: Announcement) -> None:
    row.approved_hash = row.approved_by = row.approved_at = None


def _hash(session: Session, row: Announcement) -> str:
    return queries.content_hash(session, queries.draft_of(session, row))


def _refuse_blocks(session: Session, settings: Settings, row: Announcement) -> None:
    found = blocks(queries.check(session, settings, queries.draft_of(session, row)))
    if found:
        raise rules.NotReady(found)


def _mailing_body(mailing: Mailing | None) -> dict[str, Any]:
    return {"mailing": mailing.public_id if mailing else None}


def _note(
    session: Session, row: Announcement, step: str, body: dict[str, Any], *, now: datetime, by: str
) -> int:
    """The row kept and the entry of this step written."""
    session.add(row)
    session.flush()
    return ledger.append(session, f"announcement.{step}", subject=row.public_id, body=body, by=by, now=now)
