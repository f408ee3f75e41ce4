"""Facts and numbers: what they say when all is well, and when it is not."""

from datetime import timedelta
from pathlib import Path

from sqlalchemy import text

from scheduler import jobs
from service.db.engine import is_sqlite, make_engine
from service.db.session import transaction
from service.domain.brands import actions as brands
from service.domain.brands import queries as brand_queries
from service.domain.ledger import actions as ledger
from service.domain.mailings import actions as mailings
from service.domain.senders import actions as senders
from service.kit import addresses, clock
from service.ops import doctor, health, metrics
from service.ops.house import House


def facts(house: House) -> dict[str, health.Fact]:
    return {fact.name: fact for fact in health.readiness(house, now=clock.now()).facts}


def owe_a_mail(house: House) -> None:
    """A system mail that has been due for ten minutes."""
    then = clock.now() - timedelta(minutes=10)
    with transaction(house.engine) as session:
        address = addresses.parse("ana@example.org")
        row = mailings.keep_address(
            session, house.ring, address, owner_kind="visitor", owner_id=None, now=then
        )
        seq = ledger.append(session, "contact.asked", subject=None, body={}, by="system", now=then)
        brand = brand_queries.default_brand(session)
        assert row.id is not None
        assert brand.id is not None
        mailings.enqueue_single(
            session, purpose="contact-answer", brand_id=brand.id, address_id=row.id, person_id=None, locale="en",
            facts={}, warrant_seq=seq, now=then,
        )  # fmt: skip


def test_ready_and_what_is_missing(house: House) -> None:
    assert health.readiness(house, now=clock.now()).ready
    jobs.checkpoint(house, clock.now())
    found = facts(house)
    assert {name for name, fact in found.items() if not fact.ok} == {"senders"}
    assert all(fact.why and fact.fix for fact in found.values() if not fact.ok)


def test_a_sender_not_heard_of_and_a_queue_that_stands(house: House) -> None:
    owe_a_mail(house)
    with transaction(house.engine) as session:
        lease = senders.begin(session, "one", boot_id="b", seen_seq=0, now=clock.now())
        lease.renewed_at -= timedelta(minutes=2)
    found = facts(house)
    assert (found["senders"].ok, "one" in found["senders"].says) == (False, True)
    assert (found["queue"].ok, found["queue"].value is not None and found["queue"].value >= 600) == (
        False,
        True,
    )


def test_a_ledger_that_nothing_guards_is_said(house: House) -> None:
    assert facts(house)["guards"].ok
    on = "" if is_sqlite(house.engine) else " ON ledger_entry"
    with house.engine.execution_options(write=True).begin() as connection:
        connection.execute(text(f"DROP TRIGGER ledger_entry_in_order{on}"))
    found = facts(house)["guards"]
    assert (found.ok, "ledger_entry_in_order" in found.says) == (False, True)


def test_sending_off_is_said(house: House) -> None:
    with transaction(house.engine) as session:
        brands.set_setting(session, "sending_on", False, now=clock.now(), by="cli")
    assert not facts(house)["sending"].ok


def test_rel_f26_a_jump_of_the_clock_is_said(house: House) -> None:
    assert facts(house)["wall clock"].ok
    with transaction(house.engine) as session:
        brands.note_clock(session, {"jumped": -90_061.0}, now=clock.now())
    assert facts(house)["wall clock"].ok, "somebody has switched sending on since"
    with transaction(house.engine) as session:
        brands.set_setting(session, "sending_on", False, now=clock.now(), by="system", reason="clock")
    found = facts(house)["wall clock"]
    assert (found.ok, found.says, found.value) == (False, "has jumped by −1 d 1 h", -90_061)


def test_not_ready_without_tables(house: House, tmp_path: Path) -> None:
    empty = make_engine(f"sqlite:///{tmp_path}/empty.db")
    found = health.readiness(House(house.settings, empty, house.ring), now=clock.now())
    empty.dispose()
    assert (found.ready, found.facts[0].fix) == (False, "bidden db upgrade")


def test_metrics_are_numbers_about_nobody(house: House) -> None:
    owe_a_mail(house)
    text = metrics.text(house, now=clock.now())
    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert lines["bidden_batches_due"] == "1"
    assert int(lines["bidden_queue_age_seconds"]) >= 600
    assert lines["bidden_sending_on"] == "1"
    assert lines['bidden_mailings{kind="system",state="sending"}'] == "1"
    assert all(float(value) >= 0 for value in lines.values())
    assert "ana" not in text
    assert "@" not in text


def test_doctor_looks_outside_too(house: House) -> None:
    found = {fact.name: fact for fact in doctor.examine(house, now=clock.now())}
    assert found["key file"].ok
    assert not found["public address"].ok
    assert not found["postal address"].ok
    house.settings.key_file.chmod(0o644)
    assert not {fact.name: fact for fact in doctor.examine(house, now=clock.now())}["key file"].ok
