"""What became of a mailing, computed from rows; and that a running mailing keeps its words and its word."""

import json
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy.engine import Engine
from sqlmodel import Session, col, func, select

from service.config import Settings
from service.db.session import reading, transaction
from service.domain.announcements import actions as announcements
from service.domain.announcements import queries as announcement_queries
from service.domain.brands import actions as brands
from service.domain.deliveries import actions as deliveries
from service.domain.deliveries import claims
from service.domain.deliveries import freeze as audiences
from service.domain.deliveries import queries as delivery_queries
from service.domain.deliveries.rules import Result, Waits
from service.domain.ledger.tables import LedgerEntry
from service.domain.links import rules as links
from service.domain.mailings.rules import WrongState
from service.domain.mailings.tables import Audience, Mailing
from service.domain.notices import actions as notices
from service.domain.people.tables import Person
from service.domain.preferences import actions as preferences
from service.domain.preferences.registration import Registration, register_many
from service.domain.reports import figures, members, queries
from service.domain.senders import actions as senders
from service.domain.topics import queries as topics
from service.kit.errors import DomainError
from service.kit.signing import Keyring
from tests import builders as make

BY = "staff:s_ana"
WORDS = {"en": {"subject": "The planner is here", "preheader": "Plan a week in two minutes", "body": "Hello"}}
SETTINGS = Settings(public_url="https://mail.example.org")
Answer = tuple[str, str, int | None]
SENT: Answer = ("sent", "", 250)


def _register(session: Session, ring: Keyring, now: datetime, count: int) -> None:
    at = (now - timedelta(days=1)).isoformat()
    said = {
        "topic": "new-products",
        "given": True,
        "source": "signup",
        "evidence": {"at": at},
        "confirmed": {"at": at, "method": "mail"},
    }
    people = [
        Registration(
            f"u{number}",
            f"person{number}@example.org",
            consents=[said],
            attributes={"plan": "pro" if number < 10 else "free"},
        )
        for number in range(count)
    ]
    answers = register_many(session, ring, "shop", people, attest=True, topics=None, now=now, by="key:k_1")
    assert not [answer for answer in answers if isinstance(answer, DomainError)]


class Run:
    """An announcement to the ten people on plan pro, out of twelve, that has begun at `at`."""

    def __init__(self, engine: Engine, ring: Keyring, now: datetime) -> None:
        self.engine, self.ring, self.at = engine, ring, now
        with transaction(engine) as session:
            brands.set_fields(session, "default", {"postal_address": "Berlin"}, now=now, by="cli")
            _register(session, ring, now, 12)
            row = announcements.create(
                session,
                SETTINGS,
                topic="new-products",
                template="letter",
                content=WORDS,
                audience={"attributes": {"plan": "pro"}},
                now=now,
                by=BY,
            )
            self.id = row.public_id
            announcements.submit(session, SETTINGS, self.id, now=now, by=BY)
            digest = announcement_queries.shown(session, row).content_hash
            announcements.approve(session, SETTINGS, self.id, content_hash=digest, now=now, by=BY)
            announcements.schedule(session, self.id, at="now", hold_seconds=0, now=now, by=BY)
            lease = senders.begin(session, "one", boot_id="b", seen_seq=0, now=now)
            self.sender = lease.id or 0
        self.act(lambda session: announcements.start_due(session, SETTINGS, now=now))
        while self.act(self._freeze):
            pass

    def act(self, action: Callable[[Session], Any]) -> Any:
        with transaction(self.engine) as session:
            return action(session)

    def look(self, query: Callable[..., Any], *more: Any, **named: Any) -> Any:
        with reading(self.engine) as session:
            return query(session, *more, self.mailing(session), **named)

    def mailing(self, session: Session) -> Mailing:
        mailing = announcement_queries.mailing_of(
            session, announcement_queries.by_public_id(session, self.id)
        )
        assert mailing is not None
        return mailing

    def report(self) -> dict[str, Any]:
        with reading(self.engine) as session:
            return queries.of_announcement(session, announcement_queries.by_public_id(session, self.id))

    def send(self, answers: Callable[[int], Answer], at: datetime | None = None) -> None:
        """Claim and settle what is due; `answers` says what the server made of each position."""
        now = at or self.at
        claimed = self.act(
            lambda session: claims.claim(session, self.ring, self.sender, now=now, limit=4, system=False)
        )
        for batch in claimed:
            results = [
                Result(one.pos, one.attempt, *answers(one.pos))
                for one in batch.members
                if one.refusal is None
            ]
            self.act(
                lambda session, batch=batch, results=results: claims.record(
                    session, batch, results, waits=Waits([300], 900), now=now, chance=random.Random(1)
                )
            )

    def end(self) -> None:
        while self.act(lambda session: deliveries.settle_ended(session, self.ring, now=self.at)):
            pass
        self.act(lambda session: deliveries.finish(session, now=self.at))
        self.act(lambda session: announcements.finish(session, now=self.at))

    def _freeze(self, session: Session) -> bool:
        steps = [make.freeze_step(session, one, now=self.at) for one in audiences.freezing(session)]
        return any(steps)


@pytest.fixture
def run(engine: Engine, ring: Keyring, now: datetime) -> Run:
    return Run(engine, ring, now)


def _mixed(pos: int) -> Answer:
    return {
        1: ("bounced", "mailbox_gone", 550),
        2: ("unknown", "no_reply", None),
        3: ("deferred", "", 451),
    }.get(pos, SENT)


def test_the_report_has_every_outcome_and_adds_up(run: Run) -> None:
    before = run.report()
    assert before["outcomes"] == {
        "sent": 0,
        "bounced": 0,
        "deferred": 0,
        "cancelled": 0,
        "expired": 0,
        "unknown": 0,
        "skipped": {},
    }
    assert (before["state"], before["planned"], before["waiting"]) == ("sending", 10, 10)
    assert before["excluded"] == {"not_in_audience": 2}
    run.send(_mixed)
    report = run.report()
    assert report["outcomes"] == before["outcomes"] | {"sent": 7, "bounced": 1, "deferred": 1, "unknown": 1}
    assert report["waiting"] == 0
    assert run.look(queries.adds_up)
    run.send(lambda pos: SENT, run.at + timedelta(minutes=10))
    run.end()
    report = run.report()
    assert (report["state"], report["outcomes"]["sent"], report["outcomes"]["deferred"]) == ("sent", 8, 0)
    assert report["planned"] == sum(n for n in report["outcomes"].values() if isinstance(n, int))
    assert run.look(queries.adds_up)


def test_an_announcement_without_mailing_has_a_report_of_noughts(session: Session, now: datetime) -> None:
    row = announcements.create(
        session, SETTINGS, topic="new-products", template="letter", content=WORDS, now=now, by=BY
    )
    report = queries.of_announcement(session, row)
    assert (report["state"], report["planned"], report["excluded"]) == ("draft", 0, {})
    assert set(report["outcomes"]) == {*queries.OUTCOMES, "skipped"}


def test_a_notice_has_the_same_report(session: Session, now: datetime) -> None:
    content = {"en": {"title": "Planner 2", "preheader": "", "body": "Text"}}
    row = notices.create(session, SETTINGS, topic="updates", content=content, now=now, by=BY)
    assert queries.of_notice(session, row)["state"] == "draft"
    brands.set_fields(session, "default", {"postal_address": "Berlin"}, now=now, by="cli")
    notices.publish(session, SETTINGS, row.public_id, mail=True, now=now, by=BY)
    report = queries.of_notice(session, row)
    assert (report["state"], report["planned"]) == ("freezing", 0)
    assert [one.name for one in figures.recent(session)] == ["Planner 2"]


def test_adds_up_sees_a_member_too_many_and_one_too_few(run: Run) -> None:
    run.send(lambda pos: SENT)
    run.end()
    assert run.look(queries.adds_up)
    with transaction(run.engine) as session:
        mailing = run.mailing(session)
        last = session.get_one(Audience, (mailing.id, 10))
        assert mailing.id is not None
        extra = {"person_id": last.person_id, "warrant_seq": last.warrant_seq, "due_at": last.due_at}
        session.add(Audience(mailing_id=mailing.id, pos=11, address_id=10_000, **extra))
    assert not run.look(queries.adds_up)
    with transaction(run.engine) as session:
        mailing = run.mailing(session)
        session.delete(session.get_one(Audience, (mailing.id, 11)))
        session.delete(session.get_one(Audience, (mailing.id, 5)))
    assert not run.look(queries.adds_up)


def test_rel_h71_a_running_send_keeps_its_frozen_words(run: Run) -> None:
    def words(session: Session) -> dict[str, str]:
        versions = delivery_queries.contents(session, run.mailing(session).id or 0)
        return {locale: version.sha256 for locale, version in versions.items()}

    with reading(run.engine) as session:
        frozen, digest = words(session), run.mailing(session).content_hash
    changed = {"en": {**WORDS["en"], "body": "Something else"}}
    with pytest.raises(WrongState), transaction(run.engine) as session:
        announcements.edit(session, SETTINGS, run.id, content=changed, now=run.at, by=BY)
    run.act(lambda session: brands.set_fields(session, "default", {"title": "Other"}, now=run.at, by="cli"))
    with reading(run.engine) as session:
        shown = announcement_queries.shown(session, announcement_queries.by_public_id(session, run.id))
        assert (words(session), run.mailing(session).content_hash) == (frozen, digest)
        assert (shown.content_hash, shown.approved) == (digest, True)


def test_rel_h72_cancelled_half_way_everybody_is_accounted_for(run: Run) -> None:
    run.send(lambda pos: SENT if pos <= 5 else ("deferred", "", 451))
    run.act(lambda session: announcements.cancel(session, run.id, now=run.at, by=BY))
    run.send(lambda pos: SENT, run.at + timedelta(hours=1))  # nothing is claimed any more
    run.end()
    report = run.report()
    assert (report["state"], report["planned"], report["waiting"]) == ("cancelled", 10, 0)
    assert (report["outcomes"]["sent"], report["outcomes"]["cancelled"]) == (5, 5)
    assert run.look(queries.adds_up)
    with pytest.raises(WrongState), transaction(run.engine) as session:
        announcements.resume(session, run.id, now=run.at, by=BY)


def test_pause_and_resume_stop_the_claims_and_go_on(run: Run) -> None:
    run.act(lambda session: announcements.pause(session, run.id, now=run.at, by=BY))
    run.send(lambda pos: SENT)
    assert (run.report()["state"], run.report()["reason"], run.report()["waiting"]) == ("paused", "staff", 10)
    run.act(lambda session: announcements.resume(session, run.id, now=run.at, by=BY))
    run.send(lambda pos: SENT)
    assert run.report()["outcomes"]["sent"] == 10


def test_finish_writes_the_end_down_once(run: Run) -> None:
    run.send(lambda pos: SENT)
    run.act(lambda session: deliveries.finish(session, now=run.at))
    assert run.act(lambda session: announcements.finish(session, now=run.at)) == [run.id]
    assert run.act(lambda session: announcements.finish(session, now=run.at)) == []
    with reading(run.engine) as session:
        assert announcement_queries.by_public_id(session, run.id).state == "sent"


def test_deliveries_in_the_shape_of_the_contract(run: Run) -> None:
    run.send(_mixed)
    run.send(lambda pos: SENT, run.at + timedelta(minutes=10))
    first = run.look(lambda session, mailing: members.deliveries(session, run.ring, mailing, limit=4))
    rest = run.look(
        lambda session, mailing: members.deliveries(session, run.ring, mailing, after=first.next, limit=40)
    )
    rows = [one.as_json() for one in [*first.rows, *rest.rows]]
    assert [row["pos"] for row in rows] == list(range(1, 11))
    assert rest.next is None
    assert set(rows[0]) == {"pos", "external_ids", "state", "reason", "message_id", "warrant", "attempts"}
    assert [row["state"] for row in rows[:4]] == ["bounced", "unknown", "sent", "sent"]
    assert [{**attempt, "at": None} for attempt in rows[2]["attempts"]] == [
        {"attempt": 1, "at": None, "code": 451, "state": "deferred", "reason": None},
        {"attempt": 2, "at": None, "code": 250, "state": "sent", "reason": None},
    ]
    assert [attempt["reason"] for attempt in rows[1]["attempts"]] == ["no_reply"]
    assert rows[0]["reason"] == "mailbox_gone"
    assert rows[0]["external_ids"] == [{"source": "shop", "id": "u0"}]
    assert rows[0]["message_id"].startswith("<")
    assert rows[0]["warrant"] > 0
    json.dumps(rows)
    everybody = run.look(lambda session, mailing: list(members.all_deliveries(session, run.ring, mailing)))
    assert [one.as_json() for one in everybody] == rows
    unknown = run.look(
        lambda session, mailing: members.deliveries(session, run.ring, mailing, state="unknown")
    )
    assert [one.pos for one in unknown.rows] == [2]


def test_deliveries_before_anything_was_tried_are_waiting(run: Run) -> None:
    rows = run.look(lambda session, mailing: members.deliveries(session, run.ring, mailing, state="waiting"))
    assert len(rows.rows) == 10
    assert rows.rows[0].attempts == []


def _stop(
    run: Run,
    pos: int,
    reason: str | None = None,
    *,
    undone: bool = False,
    by_this: bool = True,
    later: timedelta = timedelta(),
) -> None:
    with transaction(run.engine) as session:
        mailing = run.mailing(session)
        member = session.get_one(Audience, (mailing.id, pos))
        person = session.get_one(Person, member.person_id)
        link = links.Link(
            purpose=links.STOP,
            person=person.alias,
            topic=topics.by_slug(session, "new-products").alias,
            mailing=mailing.alias if by_this else 0,
            position=pos,
        )
        how = "link" if undone else "one_click"
        stopped = preferences.stop(session, run.ring, link, how=how, evidence={}, now=run.at + later)
        if undone:
            assert preferences.undo(session, stopped.undo or "", now=run.at)
        if reason:
            preferences.give_reason(session, link, reason, now=run.at)


def test_stops_and_skips_of_a_mailing_are_told(run: Run) -> None:
    _stop(run, 4)
    run.send(_mixed)
    _stop(run, 5, "often")
    _stop(run, 6, "never", undone=True)
    stops = run.look(queries.stops)
    assert (stops.people, stops.reasons) == (2, {"often": 1})
    assert run.report()["outcomes"]["skipped"] == {"withdrawn": 1}
    assert run.report()["outcomes"]["sent"] == 6
    skipped = run.look(
        lambda session, mailing: members.deliveries(session, run.ring, mailing, state="skipped")
    )
    assert [(one.pos, one.reason, one.attempts) for one in skipped.rows] == [(4, "withdrawn", [])]


def test_a_no_said_again_by_the_link_of_a_mailing_is_none_of_its_stops(run: Run) -> None:
    _stop(run, 5, by_this=False)
    _stop(run, 5, later=timedelta(hours=1))
    with reading(run.engine) as session:
        assert session.exec(select(func.count()).where(col(LedgerEntry.kind) == queries.STOP)).one() == 2
        traffic = figures.traffic(session, now=run.at + timedelta(hours=1))
    assert run.look(queries.stops).people == 0
    assert sum(day.stopped for day in traffic) == 1


def test_bounces_curve_and_progress(run: Run) -> None:
    assert run.look(queries.curve) == []
    run.send(_mixed)
    run.send(lambda pos: SENT, run.at + timedelta(minutes=10))
    assert run.look(queries.bounces) == [queries.Bounce(550, "mailbox_gone", 1)]
    curve = run.look(queries.curve, buckets=10)
    assert (sum(one.sent for one in curve), sum(one.bounced for one in curve)) == (8, 1)
    assert (curve[0].at, curve[0].sent, curve[-1].sent) == (run.at, 7, 1)
    progress = run.look(queries.progress, now=run.at + timedelta(seconds=30))
    assert (progress.planned, progress.settled, progress.waiting) == (10, 10, 0)
    assert progress.per_second == pytest.approx(10 / 60)


def test_the_home_page_has_its_figures(run: Run) -> None:
    run.send(_mixed)
    _stop(run, 5)
    with reading(run.engine) as session:
        traffic = figures.traffic(session, now=run.at)
        growth = {one.slug: one for one in figures.growth(session, now=run.at)}
        recent = figures.recent(session)
    assert (len(traffic), traffic[-1].on) == (30, run.at.astimezone(UTC).date())
    assert (traffic[-1].sent, traffic[-1].bounced, traffic[-1].stopped) == (7, 1, 1)
    assert not any(day.sent or day.bounced or day.stopped for day in traffic[:-1])
    assert (sum(growth["new-products"].given), growth["new-products"].before) == (11, 0)
    assert growth["new-products"].name == "New products"
    assert [(one.name, one.public_id, one.planned, one.sent, one.stopped) for one in recent] == [
        ("The planner is here", run.id, 10, 7, 1)
    ]
