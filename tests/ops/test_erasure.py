"""Erasure, from the files' side: nothing of who was erased is left in any table or file, or comes back with a copy."""

import os
import random
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlmodel import select

from scheduler import jobs
from service.db.engine import forget_freed, is_sqlite
from service.db.session import reading, transaction
from service.domain.deliveries import claims
from service.domain.ledger import queries as ledger
from service.domain.ledger import safe
from service.domain.people import queries as people
from service.domain.people.tables import Person
from service.domain.preferences import access, projection
from service.domain.preferences.registration import register_many
from service.domain.privacy import actions as contact
from service.domain.privacy import queries, rules
from service.domain.privacy.tables import ContactRequest
from service.domain.senders import actions as senders
from service.fence import perform_now
from service.inbox import Captured
from service.kit import addresses, clock
from service.kit.errors import DomainError
from service.ops import backup, captured, erasure
from service.ops.house import House, open_house
from tests import builders as make
from tests.domain.privacy import marked
from tests.domain.privacy.marked import Marked
from tests.ops.test_ops_backup import _postgres_tools  # noqa: F401 - its fixture

PEOPLE = int(os.environ.get("BIDDEN_TEST_ERASED_OF", "300"))  # 100 of so many are erased
ERASED = 100


def erase(house: House, person_id: str) -> None:
    def act(session):  # type: ignore[no-untyped-def]
        person = people.by_public_id(session, person_id)
        assert person is not None
        erasure.erase(session, house.ring, person, how="staff", now=clock.now(), by="staff:s_test")

    perform_now(house, act)


def rewritten(house: House) -> None:
    """What docs/operations.md tells whoever runs PostgreSQL; SQLite needs nothing of it."""
    if is_sqlite(house.engine):
        assert forget_freed(house.engine)
        return
    with house.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM (FULL) person"))


def left_in_files(house: House, gone: list[Marked], others: list[Marked]) -> tuple[int, int]:
    """How many keys of the erased, and of as many others, the database's files give to whoever has the master key."""
    files = marked.data_files(house)
    aliases = [one.alias for one in [*gone, *others]]
    opened = marked.opened_by(files, house.ring, aliases)
    return sum(one.alias in opened for one in gone), sum(one.alias in opened for one in others)


def refusals(house: House, back: list[Marked]) -> set[str]:
    """What a site is told that sends these people again."""
    now = clock.now()
    with transaction(house.engine) as session:
        given = [one.registration(now) for one in back]
        answers = register_many(
            session, house.ring, "shop", given, attest=True, topics=None, now=now, by="key:k_test"
        )
    return {one.code if isinstance(one, DomainError) else "taken" for one in answers}


def test_a_hundred_erased_leave_no_key_in_any_file_and_come_back_with_no_copy(
    house: House, tmp_path: Path
) -> None:
    """Issue 4, shown by 4."""
    everybody = marked.sign_up(house, PEOPLE, now=clock.now())
    chosen = random.Random(PEOPLE).sample(everybody, 2 * ERASED)
    gone, others = chosen[:ERASED], chosen[ERASED:]
    with house.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE"))  # as autovacuum does: PostgreSQL keeps samples of columns
    copy = tmp_path / "copies" / "before"
    backup.backup(house, copy)
    assert left_in_files(house, gone, others) == (ERASED, ERASED), "the search finds what is there"

    for one in gone:
        erase(house, one.person_id)
    rewritten(house)
    assert left_in_files(house, gone, others) == (0, ERASED)
    assert refusals(house, gone) == {"erased"}
    assert refusals(house, others) == {"taken"}
    with reading(house.engine) as session:
        assert ledger.verify(session).holds

    house.engine.dispose()
    done = backup.restore(house.settings, copy, replace=True, now=clock.now())
    assert done.reapplied == ERASED
    back = open_house(house.settings)
    rewritten(back)
    assert left_in_files(back, gone, others) == (0, ERASED)
    assert refusals(back, gone) == {"erased"}
    assert marked.rows_with(back.engine, [word for one in gone for word in one.words]) == []
    with reading(back.engine) as session:
        assert ledger.verify(session).holds
        assert projection.differences(session) == []
        states = session.exec(select(Person.state).where(Person.public_id.in_([g.person_id for g in gone])))  # type: ignore[attr-defined]
        assert set(states) == {"erased"}
    back.engine.dispose()


def test_every_word_of_somebody_erased_is_gone_from_every_table_and_file(house: House) -> None:
    now = clock.now()
    ana, bea = marked.sign_up(house, 2, now=now)
    written_by(house, ana)
    written_by(house, bea)
    assert "identity.external_id" in marked.rows_with(house.engine, ana.words), (
        "the search finds what is there"
    )
    assert "captured_mail.rcpt" in marked.rows_with(house.engine, ana.words)
    erase(house, ana.person_id)
    rewritten(house)
    assert marked.rows_with(house.engine, ana.words) == []
    assert "identity.external_id" in marked.rows_with(house.engine, bea.words)
    outside = [path for path in house.settings.data_dir.rglob("*") if path.is_file()]
    assert marked.files_with(outside, ana.words) == []
    assert not house_opens(house, ana)
    assert house_opens(house, bea)


def written_by(house: House, one: Marked) -> None:
    """A message of theirs with its answer, and a copy of a mail to them: what lies under the key of the house."""
    address, now = addresses.parse(one.email), clock.now()
    with transaction(house.engine) as session:
        asked = contact.ask(
            session,
            house.ring,
            address=address,
            name=one.word("visitor"),
            subject=rules.SUBJECTS["question"],
            text=one.word("question"),
            locale="en",
            now=now,
        ).public_id
    with transaction(house.engine) as session:
        contact.answer(session, house.ring, asked, text=one.word("answer"), now=now, by="staff:s_test")
    mail = f"To: {one.email}\r\nSubject: {one.word('subject')}\r\n\r\n{one.word('body')}\r\n"
    captured.keep(house, Captured("b@example.org", one.email.upper(), mail.encode(), now))


def house_opens(house: House, one: Marked) -> bool:
    """Whether anything the house's own key opens still holds a word of theirs."""
    found = marked.opened_with(house.engine, house.ring)
    return any(word in plain for plain in found for word in one.words)


def test_the_copy_does_not_know_them_yet_and_keeps_them_out_all_the_same(
    house: House, tmp_path: Path
) -> None:
    copy = tmp_path / "copies" / "before"
    backup.backup(house, copy)
    [ana] = marked.sign_up(house, 1, now=clock.now())
    erase(house, ana.person_id)
    line = next(one for one in safe.lines(house.settings.safe) if one["kind"] == "person.erased")
    assert ana.email not in str(line)
    house.engine.dispose()
    assert backup.restore(house.settings, copy, replace=True, now=clock.now()).reapplied == 1
    back = open_house(house.settings)
    assert refusals(back, [ana]) == {"erased"}
    back.engine.dispose()


def test_erased_twice_is_refused_and_changes_nothing(house: House) -> None:
    [ana] = marked.sign_up(house, 1, now=clock.now())
    erase(house, ana.person_id)
    with reading(house.engine) as session:
        before = ledger.tail(session)
    with pytest.raises(rules.AlreadyErased):
        erase(house, ana.person_id)
    with reading(house.engine) as session:
        assert ledger.tail(session) == before


def test_the_clock_cuts_off_what_a_reader_kept_in_the_log(house: House) -> None:
    if not is_sqlite(house.engine):
        return  # its log is the server's own
    [ana] = marked.sign_up(house, 1, now=clock.now())
    with reading(house.engine) as session:
        session.execute(text("SELECT count(*) FROM person"))
        erase(house, ana.person_id)
        jobs.tidy(house, clock.now())
        assert left_in_files(house, [ana], []) == (1, 0), "a reader still sees the pages of before"
    jobs.tidy(house, clock.now())
    assert left_in_files(house, [ana], []) == (0, 0)
    log = Path(f"{house.engine.url.database}-wal")
    assert log.stat().st_size == 0


def test_p1_who_was_erased_after_the_freeze_is_left_out_and_says_so(house: House) -> None:
    """Of a mailing under way, and of a single mail that was asked for before."""
    now = clock.now()
    with transaction(house.engine) as session:
        for name in ("ana", "bea"):
            make.a_person(session, house.ring, f"{name}@example.org", now=now)
        ana = people.by_address(session, house.ring, addresses.parse("ana@example.org"))[0].public_id
        access.request_sign_in(session, house.ring, addresses.parse("ana@example.org"), locale="en", now=now)
    sending = make.a_started_mailing(house, now=now)
    make.freeze(house, sending, now=now)
    erase(house, ana)
    with transaction(house.engine) as session:
        lease = senders.begin(session, "s", boot_id="b", seen_seq=0, now=now)
        one = claims.claim(session, house.ring, lease.id or 0, now=now, limit=9, system=True)
        many = claims.claim(session, house.ring, lease.id or 0, now=now, limit=9, system=False)
    said = [(member.subject == ana, member.refusal) for batch in one for member in batch.members]
    assert said == [(True, "erased")]
    said = [(member.subject == ana, member.refusal) for batch in many for member in batch.members]
    assert sorted(said, key=str) == [(False, None), (True, "erased")]


def test_a_copy_is_not_asked_who_shared_the_mailbox(house: House, tmp_path: Path) -> None:
    """Somebody had the mailbox of who was erased when the copy was made, and has left it since: they are no part of it."""
    now = clock.now()
    with transaction(house.engine) as session:
        ana = make.a_person(session, house.ring, now=now).public_id
        other = {"source": "crm", "external_id": "7", "attest": False, "now": now}
        cem = make.register(session, house.ring, **other).person_id
    copy = tmp_path / "copies" / "before"
    backup.backup(house, copy)
    with transaction(house.engine) as session:
        make.register(session, house.ring, "cem@example.org", **other)
    erase(house, ana)
    house.engine.dispose()
    assert backup.restore(house.settings, copy, replace=True, now=clock.now()).reapplied >= 1
    back = open_house(house.settings)
    with reading(back.engine) as session:
        left = {one: make.the_person(session, one) for one in (ana, cem)}
    assert (left[ana].state, left[cem].state) == ("erased", "active")
    assert left[cem].wrapped_key
    back.engine.dispose()


@pytest.mark.parametrize("copied", ["before they registered", "before they confirmed"])
def test_std_h11_what_they_wrote_as_a_visitor_does_not_come_back_with_a_copy(
    house: House, tmp_path: Path, copied: str
) -> None:
    """The copy has the message and does not know whose mailbox it came from; the line of the erasure does."""
    now = clock.now()

    def write(session, email):  # type: ignore[no-untyped-def]
        contact.ask(
            session, house.ring, address=addresses.parse(email), name="", subject=rules.SUBJECTS["question"],
            text=f"From {email}", locale="en", now=now,
        )  # fmt: skip

    def register(session):  # type: ignore[no-untyped-def]
        wanted = [make.an_answer(at=now)]
        return make.register(session, house.ring, "ana@example.org", wanted, attest=False, now=now)

    for email in ("ana@example.org", "bea@example.org"):
        make.act(house, lambda session, email=email: write(session, email))
    if copied == "before they confirmed":
        make.act(house, register)
    copy = tmp_path / "copies" / "before"
    backup.backup(house, copy)
    if copied == "before they registered":
        make.act(house, register)
    make.act(
        house, lambda session: make.press(session, house.ring, make.buttons(session)[-1], now=clock.now())
    )
    with reading(house.engine) as session:
        [person_id] = session.exec(select(Person.public_id)).all()
    erase(house, person_id)
    assert wrote(house) == ["From bea@example.org"]
    house.engine.dispose()
    backup.restore(house.settings, copy, replace=True, now=clock.now())
    back = open_house(house.settings)
    assert wrote(back) == ["From bea@example.org"]
    back.engine.dispose()


def test_a_message_that_staff_erased_does_not_come_back_with_a_copy(house: House, tmp_path: Path) -> None:
    """Whose it was nobody knows; the line of the erasure names the message."""
    now = clock.now()

    def write(session, email):  # type: ignore[no-untyped-def]
        return contact.ask(
            session, house.ring, address=addresses.parse(email), name="", subject=rules.SUBJECTS["question"],
            text=f"From {email}", locale="en", now=now,
        ).public_id  # fmt: skip

    def gone(session, public_id):  # type: ignore[no-untyped-def]
        erasure.erase_message(session, house.ring, public_id, how="staff", now=now, by="staff:s_test")

    one, _ = (
        make.act(house, lambda session, email=email: write(session, email))
        for email in ("ana@example.org", "bea@example.org")
    )
    copy = tmp_path / "copies" / "before"
    backup.backup(house, copy)
    later = make.act(house, lambda session: write(session, "cem@example.org"))
    for public_id in (one, later):
        perform_now(house, lambda session, public_id=public_id: gone(session, public_id))
    assert wrote(house) == ["From bea@example.org"]
    house.engine.dispose()
    done = backup.restore(house.settings, copy, replace=True, now=clock.now())
    assert (done.reapplied, done.left) == (1, 0)
    back = open_house(house.settings)
    assert wrote(back) == ["From bea@example.org"]
    back.engine.dispose()


def wrote(house: House) -> list[str]:
    """What lies there from the contact form."""
    with reading(house.engine) as session:
        return [queries.asked(house.ring, row)["text"] for row in session.exec(select(ContactRequest))]


def test_the_clock_cuts_off_what_it_has_forgotten_too(house: House) -> None:
    """An attribute past its days, which lies there in clear; somebody was erased before, and the log cut then."""
    if not is_sqlite(house.engine):
        return  # its log is the server's own
    now, word = clock.now(), b"harpsichord-9917"
    [bea] = marked.sign_up(house, 1, now=now)
    erase(house, bea.person_id)
    jobs.tidy(house, now)
    with transaction(house.engine) as session:
        make.a_person(
            session, house.ring, "ana@example.org", attributes={"instrument": word.decode()}, now=now
        )
    with house.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(FULL)")
    place = Path(str(house.engine.url.database))
    files = (place, place.with_name(place.name + "-wal"))
    assert any(word in file.read_bytes() for file in files)
    later = now + timedelta(days=1_200)
    jobs.forget(house, later)
    jobs.tidy(house, later)
    assert not [file.name for file in files if file.exists() and word in file.read_bytes()]
