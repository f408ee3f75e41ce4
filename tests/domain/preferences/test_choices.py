"""Stop, stop all, save, break, undo: at once, once, and for ever (P1's other half, P5, P7)."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta

import pytest
from sqlalchemy.engine import Engine
from sqlmodel import Session, select

from service.db.session import reading, transaction
from service.domain.ledger import actions as ledger
from service.domain.ledger import queries as entries
from service.domain.links import rules as links
from service.domain.links.tables import Undo
from service.domain.people.tables import Person
from service.domain.preferences import access, actions, restoring, rules
from service.domain.preferences.actions import Choices
from service.domain.preferences.queries import of_person
from service.kit import addresses
from service.kit.ids import person_id
from service.kit.signing import Keyring
from tests import builders as make

HOUR = timedelta(hours=1)


def _stop(
    session: Session, ring: Keyring, person: Person | int, now: datetime, slug: str | None = "new-products"
) -> actions.Stopped:
    return actions.stop(session, ring, make.a_link(session, person, slug), how="link", evidence={}, now=now)


def _save(session: Session, ring: Keyring, person: Person, choices: Choices, now: datetime) -> actions.Saved:
    return actions.save(
        session, ring, person, choices, how="page", evidence={}, now=now, by=f"person:{person.public_id}"
    )


def test_stop_ends_one_topic_with_a_receipt_and_is_said_once(
    session: Session, ring: Keyring, now: datetime
) -> None:
    ana = make.a_person(session, ring, now=now)
    first = _stop(session, ring, ana, now)
    assert first.receipt is not None
    assert first.undo is not None
    assert (make.the_state(session, ana), make.the_state(session, ana, "updates")) == ("withdrawn", "given")
    second = _stop(session, ring, ana, now + HOUR)
    assert (second.undo, second.already_since) == (None, now)


def test_rel_h33_fifty_stops_at_once_are_one_entry(engine: Engine, ring: Keyring, now: datetime) -> None:
    with transaction(engine) as session:
        ana = make.a_person(session, ring, now=now)
        link = make.a_link(session, ana)

    def stop(_: int) -> bool:
        with transaction(engine) as session:
            return (
                actions.stop(session, ring, link, how="one_click", evidence={}, now=now).already_since is None
            )

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(stop, range(50))) == 1
    with reading(engine) as session:
        assert [one.kind for one in entries.of_subject(session, ana.public_id)].count(
            "consent.withdrawn"
        ) == 1
        assert session.exec(select(Undo)).all() == []  # no page shows one
        assert entries.verify(session).holds


@pytest.mark.parametrize("missing", ["person", "topic", "both"])
def test_rel_h38_a_link_of_what_is_gone_still_records_the_stop_once(
    engine: Engine, ring: Keyring, now: datetime, missing: str
) -> None:
    with transaction(engine) as session:
        ana = make.a_person(session, ring, now=now)
        alias = 0x1234567890 if missing in ("person", "both") else ana.alias
        topic = 77 if missing in ("topic", "both") else make.the_topic(session).alias
    link = links.Link(links.STOP, alias, topic, 5, 9)

    def stop(_: int) -> bool:
        with transaction(engine) as session:
            return (
                actions.stop(session, ring, link, how="one_click", evidence={}, now=now).already_since is None
            )

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(stop, range(20))) == 1
    with reading(engine) as session:
        said = [
            one for one in entries.of_subject(session, person_id(alias)) if one.kind == "consent.withdrawn"
        ]
        assert [(one.body["state"], one.body["unknown"]) for one in said] == [("withdrawn", True)]


def test_stop_all_ends_what_can_be_ended(session: Session, ring: Keyring, now: datetime) -> None:
    ana = make.a_person(session, ring, now=now)
    done = actions.stop_all(session, ring, make.a_link(session, ana, None), how="link", evidence={}, now=now)
    assert done.undo is not None
    states = {
        slug: make.the_state(session, ana, slug) for slug in ("new-products", "updates", "important-notices")
    }
    assert states == {"new-products": "withdrawn", "updates": "withdrawn", "important-notices": "given"}
    with pytest.raises(rules.NotRefusable):
        _stop(session, ring, ana, now, "important-notices")


def test_a_no_about_something_never_asked_is_kept(session: Session, ring: Keyring, now: datetime) -> None:
    ana = make.a_person(session, ring, now=now, yes=())
    stopped = _stop(session, ring, ana, now)
    assert make.the_state(session, ana) == "withdrawn"
    actions.undo(session, stopped.undo or "", now=now)
    assert make.the_state(session, ana) == "refused"  # nothing was permitted before, so nothing is now


# --- undo ---


def test_undo_brings_back_once_and_within_thirty_minutes(
    session: Session, ring: Keyring, now: datetime
) -> None:
    ana = make.a_person(session, ring, now=now)
    before = make.the_preference(session, ana)
    assert before is not None
    warrant = before.warrant_seq
    value = _stop(session, ring, ana, now).undo or ""
    assert [topic.slug for topic in actions.undo(session, value, now=now + timedelta(minutes=29))] == [
        "new-products"
    ]
    row = make.the_preference(session, ana)
    assert row is not None
    assert (row.state, row.warrant_seq) == ("given", warrant)
    assert "consent.restored" in make.kinds(session, ana.public_id)
    _stop(session, ring, ana, now + HOUR)
    assert actions.undo(session, value, now=now + HOUR) == []
    assert make.the_state(session, ana) == "withdrawn"


def test_undo_is_too_late_after_thirty_minutes(session: Session, ring: Keyring, now: datetime) -> None:
    ana = make.a_person(session, ring, now=now)
    value = _stop(session, ring, ana, now).undo or ""
    assert actions.undo(session, value, now=now + timedelta(minutes=30)) == []
    assert actions.undo(session, "never-made", now=now) == []
    assert make.the_state(session, ana) == "withdrawn"


def test_an_old_undo_does_not_go_over_a_newer_no(session: Session, ring: Keyring, now: datetime) -> None:
    ana = make.a_person(session, ring, now=now)
    first = _stop(session, ring, ana, now).undo or ""
    make.register(
        session,
        ring,
        consents=[make.an_answer(at=now + timedelta(minutes=1))],
        now=now + timedelta(minutes=2),
    )
    make.press(session, ring, make.buttons(session, ana)[-1], now=now + timedelta(minutes=3))
    assert make.the_state(session, ana) == "given"
    _stop(session, ring, ana, now + timedelta(minutes=4))
    assert actions.undo(session, first, now=now + timedelta(minutes=5)) == []
    assert make.the_state(session, ana) == "withdrawn"


def test_undo_is_stored_as_a_hash_only(session: Session, ring: Keyring, now: datetime) -> None:
    value = _stop(session, ring, make.a_person(session, ring, now=now), now).undo or ""
    session.flush()
    assert all(value not in (row.value_hash + str(row.before)) for row in session.exec(select(Undo)))


def test_undo_of_a_stop_and_a_break_saved_together_brings_back_both(
    session: Session, ring: Keyring, now: datetime
) -> None:
    ana = make.a_person(session, ring, now=now)
    saved = _save(session, ring, ana, Choices({"new-products": "off"}, break_until=date(2026, 12, 20)), now)
    assert {"new-products", "break_until"} == set(saved.changed)
    actions.undo(session, saved.undo or "", now=now)
    for slug in ("new-products", "updates"):
        row = make.the_preference(session, ana, slug)
        assert row is not None
        assert (row.state, row.break_until) == ("given", None)


# --- the page ---


def test_rel_h52_what_is_not_named_is_not_changed(session: Session, ring: Keyring, now: datetime) -> None:
    ana = make.a_person(session, ring, now=now)
    before = {topic: (row.state, row.last_seq) for topic, row in of_person(session, ana.id or 0).items()}
    assert _save(session, ring, ana, Choices(), now) == actions.Saved(None, None, [], [])
    _save(session, ring, ana, Choices({"new-products": "off"}), now)
    after = {topic: (row.state, row.last_seq) for topic, row in of_person(session, ana.id or 0).items()}
    changed = {topic for topic in before if before[topic] != after[topic]}
    assert changed == {make.the_topic(session).id}


def test_adding_a_topic_asks_by_mail_and_says_nothing_itself(
    session: Session, ring: Keyring, now: datetime
) -> None:
    ana = make.a_person(session, ring, now=now, yes=())
    saved = _save(session, ring, ana, Choices({"new-products": "each"}), now)
    assert saved.confirmation_sent == ["new-products"]
    assert make.the_state(session, ana) == "unknown"
    make.press(session, ring, make.buttons(session, ana)[-1], now=now)
    assert make.the_state(session, ana) == "given"


def test_a_private_topic_cannot_be_chosen(session: Session, ring: Keyring, now: datetime) -> None:
    make.a_topic(session, "insiders", now=now, visibility="private")
    ana = make.a_person(session, ring, now=now)
    with pytest.raises(rules.TopicPrivate):
        _save(session, ring, ana, Choices({"insiders": "each"}), now)


@pytest.mark.parametrize(
    ("choice", "error"),
    [({"updates": "hourly"}, rules.CadenceNotOffered), ({"important-notices": "off"}, rules.NotRefusable)],
)
def test_what_is_not_offered_is_refused(
    session: Session, ring: Keyring, now: datetime, choice: dict[str, str], error: type[Exception]
) -> None:
    with pytest.raises(error):
        _save(session, ring, make.a_person(session, ring, now=now), Choices(choice), now)


def test_a_break_ends_at_midnight_where_the_reader_lives(
    session: Session, ring: Keyring, now: datetime
) -> None:
    ana = make.a_person(session, ring, now=now, zone="America/New_York")
    _save(session, ring, ana, Choices(break_until=date(2026, 12, 24)), now)
    row = make.the_preference(session, ana)
    service = make.the_preference(session, ana, "important-notices")
    assert row is not None
    assert service is not None
    assert row.break_until == datetime(2026, 12, 24, 5, tzinfo=UTC)
    assert service.break_until is None
    assert "preference.break_set" in make.kinds(session, ana.public_id)
    _save(session, ring, ana, Choices(break_until=None), now + HOUR)
    assert row.break_until is None


@pytest.mark.parametrize("until", [date(2026, 11, 24), date(2020, 1, 1), date(2027, 11, 26)])
def test_a_break_is_of_a_day_to_a_year(session: Session, ring: Keyring, now: datetime, until: date) -> None:
    with pytest.raises(rules.BreakInvalid):
        _save(session, ring, make.a_person(session, ring, now=now), Choices(break_until=until), now)


@pytest.mark.parametrize(
    ("zone", "hour", "until", "good"),
    [
        ("Pacific/Pago_Pago", 9, date(2026, 11, 24), True),  # there it is the evening of the 23rd
        ("America/New_York", 3, date(2026, 11, 24), True),  # a break’s last evening, said again
        ("Pacific/Kiritimati", 12, date(2026, 11, 25), False),  # there that day has begun
        ("Pacific/Kiritimati", 12, date(2026, 11, 26), True),
    ],
)
def test_tomorrow_is_the_readers_own(
    session: Session, ring: Keyring, now: datetime, zone: str, hour: int, until: date, good: bool
) -> None:
    ana, at = make.a_person(session, ring, now=now, zone=zone), now.replace(hour=hour)
    if not good:
        with pytest.raises(rules.BreakInvalid):
            _save(session, ring, ana, Choices(break_until=until), at)
        return
    _save(session, ring, ana, Choices(break_until=until), at)
    row = make.the_preference(session, ana)
    assert row is not None
    assert row.break_until is not None
    assert row.break_until > at


def test_a_stop_is_not_refused_for_a_break_that_ends_today_where_the_reader_has_moved(
    session: Session, ring: Keyring, now: datetime
) -> None:
    """The page says the day again with whatever else is chosen."""
    ana = make.a_person(session, ring, now=now, zone="Europe/Berlin")
    _save(session, ring, ana, Choices(break_until=date(2026, 12, 24)), now)
    ana.zone = "America/New_York"
    eve = datetime(2026, 12, 23, 15, tzinfo=UTC)
    choices = Choices({"new-products": "off"}, break_until=date(2026, 12, 23))
    assert _save(session, ring, ana, choices, eve).changed == ["new-products"]
    row = make.the_preference(session, ana, "updates")
    assert row is not None
    assert row.break_until == datetime(2026, 12, 23, 23, tzinfo=UTC)


def test_everything_that_takes_away_makes_the_door_wait(
    session: Session, ring: Keyring, now: datetime
) -> None:
    ana = make.a_person(session, ring, now=now)
    session.info.pop("fence_seq", None)
    _save(session, ring, ana, Choices(break_until=date(2026, 12, 24)), now)
    assert session.info.pop("fence_seq", None) is not None
    _save(session, ring, ana, Choices(break_until=None), now)
    assert session.info.pop("fence_seq", None) is None
    value = _save(session, ring, ana, Choices(break_until=date(2026, 12, 28)), now).undo
    session.info.pop("fence_seq", None)
    ended = _save(session, ring, ana, Choices(break_until=None), now).undo
    assert value is not None
    actions.undo(session, ended or "", now=now)  # the break is back: that takes away
    assert session.info.pop("fence_seq", None) is not None
    _stop(session, ring, ana, now)
    assert session.info.pop("fence_seq") == ledger.appended(session)[-1].seq


# --- two registrations that become one ---


@pytest.mark.parametrize(
    "since", [Choices(break_until=date(2026, 12, 20)), Choices({"new-products": "weekly"})]
)
def test_a_break_or_a_cadence_chosen_since_does_not_outlive_a_no_that_a_merge_brings(
    session: Session, ring: Keyring, now: datetime, since: Choices
) -> None:
    """The no is the last word about the topic, whatever else was chosen under the other registration."""
    ana, bea = (make.a_person(session, ring, f"{name}@example.org", now=now) for name in ("ana", "bea"))
    _stop(session, ring, bea, now + HOUR)
    make.the_topic(session).cadences = ["each", "weekly"]
    assert _save(session, ring, ana, since, now + 2 * HOUR).changed
    by, new = f"person:{bea.public_id}", addresses.parse("ana@example.org")
    access.change_email(session, ring, bea, new, now=now + 3 * HOUR, by=by)
    make.press(session, ring, make.buttons(session, bea)[-1], now=now + 4 * HOUR)
    assert (bea.state, make.the_state(session, ana)) == ("merged", "withdrawn")


# --- after a restore ---


def test_every_no_the_database_has_not_heard_is_said_again(
    session: Session, ring: Keyring, now: datetime
) -> None:
    ana, bea = (make.a_person(session, ring, f"{name}@example.org", now=now) for name in ("ana", "bea"))
    lines = [
        {
            "seq": 9000,
            "kind": "consent.withdrawn",
            "subject": ana.public_id,
            "body": {"topic": "updates"},
            "hash": "x",
        },
        {
            "seq": 9001,
            "kind": "consent.withdrawn",
            "subject": ana.public_id,
            "body": {"topic": "#123"},
            "hash": "x",
        },
        {
            "seq": 9002,
            "kind": "consent.withdrawn",
            "subject": "p_nobody",
            "body": {"topic": "updates"},
            "hash": "x",
        },
        {
            "seq": 9003,
            "kind": "preference.break_set",
            "subject": bea.public_id,
            "body": {"until": "2026-12-24T00:00:00+00:00"},
            "hash": "x",
        },
        {
            "seq": 9004,
            "kind": "suppression.added",
            "subject": None,
            "body": {"address_hash": "h", "scope": "all", "cause": "hard_bounce"},
            "hash": "x",
        },
        {"seq": 9005, "kind": "announcement.cancelled", "subject": "a_1", "body": {}, "hash": "x"},
    ]
    assert restoring.reapply(session, ring, lines, now=now) == restoring.Reapplied(3, 2)
    assert make.the_state(session, ana, "updates") == "withdrawn"
    row = make.the_preference(session, bea)
    assert row is not None
    assert row.break_until is not None
    assert restoring.reapply(session, ring, lines, now=now).again == 0


def test_a_no_the_database_has_heard_is_not_said_again(engine: Engine, ring: Keyring, now: datetime) -> None:
    """It was taken back by the person since: the file's old line must not end the newer yes."""
    with transaction(engine) as session:
        ana = make.a_person(session, ring, now=now)
        value = _stop(session, ring, ana, now).undo or ""
    with transaction(engine) as session:
        actions.undo(session, value, now=now)
    with transaction(engine) as session:
        lines = [
            {"seq": t.seq, "kind": t.kind, "subject": t.subject, "body": t.body, "hash": t.hash}
            for t in entries.taken_since(session, 0)
        ]
        assert lines
        assert restoring.reapply(session, ring, lines, now=now).again == 0
        assert make.the_state(session, ana) == "given"
