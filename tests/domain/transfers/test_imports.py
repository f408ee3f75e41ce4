"""Imports on real databases: what is given, what no import may give, running twice, running on, and taking back."""

import csv
import json
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import Engine
from sqlmodel import Session, col, select

from service import fence
from service.db.session import reading, transaction
from service.domain.consent.tables import Consent
from service.domain.ledger import queries as ledger
from service.domain.ledger.rules import open_part
from service.domain.mailings.tables import Address, Mailing
from service.domain.people import queries as people
from service.domain.people.tables import Identity, Person
from service.domain.preferences import projection, restoring, rights
from service.domain.preferences import queries as preferences
from service.domain.preferences import rules as gate
from service.domain.preferences.actions import Choices, save, stop
from service.domain.suppressions import actions as suppressions
from service.domain.suppressions.tables import Suppression
from service.domain.transfers import actions, queries, rules, sources
from service.domain.transfers.preparing import prepare
from service.domain.transfers.rows import Row
from service.domain.transfers.tables import Import
from service.kit import addresses, clock
from service.kit.signing import Keyring
from service.ops import exports, imports
from service.ops.house import House
from tests import builders as make
from tests.domain.transfers import files


@pytest.fixture
def house(engine: Engine, ring: Keyring, tmp_path: Path) -> House:
    return make.a_house(engine, ring, tmp_path)


def person_of(house: House, session: Session, email: str) -> Person:
    found = people.by_address(session, house.ring, addresses.parse(email))
    assert found, email
    return found[0]


def states(house: House, email: str = "ana@example.org", slug: str = "new-products") -> list[str]:
    """What stands for a topic, of every person with that address."""
    with reading(house.engine) as session:
        found = people.by_address(session, house.ring, addresses.parse(email))
        return [make.the_state(session, person, slug) for person in found]


def entries(house: House, kind: str) -> list[ledger.Seen]:
    with reading(house.engine) as session:
        return list(ledger.page(session, after=None, limit=200, kind=kind).rows)


def holds(house: House) -> None:
    """The projection is what the ledger says."""
    with reading(house.engine) as session:
        assert projection.differences(session) == []


def test_a_mailchimp_export_with_its_trail_gives_and_confirms(house: House) -> None:
    done = files.imported(house, files.job(files.MAILCHIMP, files.GRANT, source="mailchimp", attested=True))
    assert done.counts == {"new": 2, "given": {"new-products:given": 1, "new-products:requested": 1}}
    assert done.examined.counts.as_json() == done.row.counts
    assert states(house, "ana@example.org") == ["given"]
    assert states(house, "ben@example.org") == ["requested"]
    with reading(house.engine) as session:
        ana = person_of(house, session, "ana@example.org")
        address = session.get_one(Address, ana.address_id)
        assert address.confirmed_at is not None
        assert people.attributes(session, ana.id or 0) == {"member_rating": ["4"], "tags": ["Blog", "VIP"]}
        topic = make.the_topic(session)
        facts = gate.TopicFacts(topic.id or 0, topic.mail_class, topic.basis)
        standing = preferences.standing(session, ana, facts)
        assert gate.decide(standing, topic=facts, now=clock.now()).allowed
        assert session.exec(select(Mailing)).all() == []  # an import mails nobody by itself
    holds(house)


def test_std_h4_every_entry_carries_the_import_and_its_proof(house: House) -> None:
    done = files.imported(house, files.job(files.MAILCHIMP, files.GRANT, source="mailchimp", attested=True))
    [given] = entries(house, "consent.given")
    assert given.body["import"] == done.row.public_id
    assert (given.body["method"], given.body["source"]) == ("import", files.GRANT.said)
    assert given.body["wording_sha256"] == files.GRANT.text_sha256
    assert "wording" not in given.body  # nobody saw words of ours
    assert "policy" not in given.body
    assert all(one.body["import"] == done.row.public_id for one in entries(house, "person.registered"))
    with reading(house.engine) as session:
        ana = person_of(house, session, "ana@example.org")
        key = people.person_key(house.ring, ana)
        said = open_part(key, given.body["evidence"], subject=ana.public_id, kind="consent.given")
        record = session.exec(select(Consent).where(col(Consent.person_id) == ana.id)).one()
    assert said["at"] == "2020-02-03T04:05:06+00:00"
    assert said["ip"] == said["confirmed"]["ip"] == "192.0.2.0/24"  # as much as staff have set
    assert (record.wording_id, record.policy_version_id, record.source) == (None, None, files.GRANT.said)
    [started] = entries(house, "import.started")
    assert started.body["plan"]["grants"][0]["text"] == files.WORDS
    assert started.body["file_sha256"] == done.row.file_sha256
    assert entries(house, "import.ended")[0].body["counts"] == done.row.counts


def test_a_listmonk_export_keeps_its_noes_as_hashes_alone(house: House) -> None:
    done = files.imported(house, files.job(files.LISTMONK, files.DATED, source="listmonk"))
    assert done.counts["new"] == 1
    assert done.counts["noes"] == {"no": 1, "stopped": 1}
    with reading(house.engine) as session:
        for email in ("ben@example.org", "cem@example.org"):
            assert people.by_address(session, house.ring, addresses.parse(email)) == []
        kept = {
            (row.address_hash, row.scope, row.cause, row.origin) for row in session.exec(select(Suppression))
        }
    assert kept == {
        (make.address_hash(house.ring, "ben@example.org"), "topic", "withdrawal", done.row.public_id),
        (make.address_hash(house.ring, "cem@example.org"), "all", "objection", done.row.public_id),
    }


def test_people_without_proof_are_registered_with_no_consent(house: House) -> None:
    done = files.imported(house, files.job(files.simple("ana@example.org")))
    assert done.counts == {"new": 1}
    assert states(house) == ["unknown"]


def test_our_own_wording_is_named(house: House) -> None:
    grant = rules.Grant("new-products", "old shop", wording="new-products-v1-en")
    files.imported(house, files.job(files.simple("ana@example.org"), grant))
    [asked] = entries(house, "consent.requested")
    assert asked.body["wording"] == "new-products-v1-en"


def _bought(days: int, basis: str = "implied_purchase") -> rules.Grant:
    on = (clock.now() - timedelta(days=days)).date().isoformat()
    return rules.Grant("new-products", "order list", on=on, basis=basis)


def _customers(blank: int = 0) -> bytes:
    """A file without a date of its own; blank lines make it another file."""
    return b"email\nana@example.org\n" + b"\n" * blank


def test_a_purchase_is_taken_over_with_its_end(house: House) -> None:
    job = files.job(_customers(), _bought(30), attested=True)
    assert files.imported(house, job).counts["given"] == {"new-products:given": 1}
    holds(house)
    with reading(house.engine) as session:
        topic = make.the_topic(session)
        row = preferences.of_person(session, person_of(house, session, "ana@example.org").id or 0)[
            topic.id or 0
        ]
    assert (row.state, row.basis) == ("given", "implied_purchase")
    assert row.valid_until is not None
    assert timedelta(days=690) < row.valid_until - clock.now() < timedelta(days=702)
    again = files.imported(house, files.job(_customers(1), _bought(40), attested=True))
    assert again.counts == {"unchanged": 1}
    later = files.imported(house, files.job(_customers(2), _bought(2), attested=True))
    assert later.counts["changed"] == 1
    holds(house)


def test_a_purchase_too_long_ago_is_a_bad_row_and_one_nobody_vouches_for_no_plan(house: House) -> None:
    job = files.job(_customers(), _bought(800), attested=True)
    assert files.imported(house, job).counts["refused"] == {"implied_over": 1}
    with pytest.raises(rules.ProofMissing) as wrong:
        files.imported(house, files.job(_customers(), _bought(3)))
    assert wrong.value.field == "attested"


def test_registering_meant_agreeing_is_a_label_that_sends_nothing_before_they_confirm(house: House) -> None:
    grant = rules.Grant("new-products", "old terms", text="Registering means agreeing.", basis=rules.LEGACY)
    job = files.job(files.simple("ana@example.org"), grant)
    assert files.imported(house, job).counts["given"] == {"new-products:given": 1}
    with reading(house.engine) as session:
        ana, topic = person_of(house, session, "ana@example.org"), make.the_topic(session)
        facts = gate.TopicFacts(topic.id or 0, topic.mail_class, topic.basis)
        standing = preferences.standing(session, ana, facts)
    assert standing.basis == rules.LEGACY
    assert gate.decide(standing, topic=facts, now=clock.now()).reason == "legacy_unconfirmed"
    holds(house)
    again = files.imported(house, files.job(files.simple("ana@example.org", more=[""]), grant, status="yes"))
    assert again.counts == {"unchanged": 1}
    files.imported(house, files.job(files.simple("ana@example.org"), files.GRANT, mail=True))
    with transaction(house.engine) as session:
        [button] = make.buttons(session)
        make.press(session, house.ring, button, now=clock.now())
    with reading(house.engine) as session:
        ana = person_of(house, session, "ana@example.org")
        standing = preferences.standing(session, ana, facts)
    assert (standing.basis, gate.decide(standing, topic=facts, now=clock.now()).allowed) == ("consent", True)


def test_asked_for_by_mail_only_when_the_plan_says_so(house: House) -> None:
    job = files.job(files.simple("ana@example.org"), files.GRANT, mail=True)
    files.imported(house, job)
    with transaction(house.engine) as session:
        [button] = make.buttons(session)
        make.press(session, house.ring, button, now=clock.now())
    assert states(house) == ["given"]


# --- P7: a no stays a no ---


def withdraw(session: Session, house: House, email: str) -> None:
    link = make.a_link(session, person_of(house, session, email))
    stop(session, house.ring, link, how="link", evidence={}, now=clock.now())


ATTESTED = b"email,optin time,confirmed at,ip\nana@example.org,2026-11-20 10:00,2026-11-20 10:05,192.0.2.1\n"
FULL = {"email": "email", "optin time": "agreed_at", "confirmed at": "confirmed_at", "ip": "confirmed_ip"}


def attested(source: str = "old-shop", **plan: Any) -> imports.Job:
    """The strongest claim there is: a yes with a whole trail, vouched for."""
    return files.job(ATTESTED, files.GRANT, source=source, columns=FULL, attested=True, mail=True, **plan)


@pytest.mark.parametrize("source", ["shop", "elsewhere"])
@pytest.mark.parametrize("how", ["withdrawn", "refused", "invalidated"])
def test_p7_no_import_turns_a_no_into_a_yes(house: House, ring: Keyring, source: str, how: str) -> None:
    """Neither under the id it was said under nor under another, however well the yes is attested."""
    at = clock.now() - timedelta(days=100)
    with transaction(house.engine) as session:
        if how == "refused":
            make.register(session, ring, consents=[make.an_answer(given=False, at=at)], now=at)
        else:
            make.a_person(session, ring, now=at, yes=["new-products"])
    if how == "withdrawn":
        with transaction(house.engine) as session:
            withdraw(session, house, "ana@example.org")
    if how == "invalidated":
        with transaction(house.engine) as session:
            from service.domain.consent.actions import Said
            from service.domain.preferences import changes

            ana, topic = person_of(house, session, "ana@example.org"), make.the_topic(session)
            change = changes.begin(
                session, ring, ana, Said("admin_on_request"), now=clock.now(), by=make.STAFF
            )
            preference = change.preference(topic)
            assert preference is not None
            changes.move(change, topic, preference, "consent.invalidated", "invalidated")
    reason = "skipped_invalidated" if how == "invalidated" else "skipped_withdrawn"
    done = files.imported(house, attested(source, status="yes"))
    assert done.counts["skipped"] == {reason: 1}
    assert done.examined.counts.skipped == {reason: 1}
    assert states(house) == [how]
    with reading(house.engine) as session:
        assert make.buttons(session) == []
    holds(house)


@pytest.mark.parametrize(
    ("scope", "cause", "reason"),
    [
        ("all", "erasure", "skipped_erased"),
        ("marketing", "complaint", "skipped_complained"),
        ("all", "objection", "skipped_do_not_mail"),
        ("all", "legal", "skipped_do_not_mail"),
        ("all", "hard_bounce", "skipped_bounced"),
        ("marketing", "withdrawal", "skipped_withdrawn"),
        ("all", "withdrawal", "skipped_withdrawn"),
        ("topic", "withdrawal", "skipped_withdrawn"),
    ],
)
def test_p7_the_do_not_mail_list_in_any_scope_that_fits(
    house: House, ring: Keyring, scope: str, cause: str, reason: str
) -> None:
    with transaction(house.engine) as session:
        topic_id = make.the_topic(session).id if scope == "topic" else None
        suppressions.add(
            session,
            make.address_hash(ring, "Ana@EXAMPLE.org"),
            scope=scope,
            cause=cause,
            origin="test",
            subject=None,
            topic_id=topic_id,
            now=clock.now(),
            by=make.STAFF,
        )
    done = files.imported(house, attested())
    assert done.counts["skipped"] == {reason: 1}
    with reading(house.engine) as session:
        assert people.by_address(session, ring, addresses.parse("ana@example.org")) == []


def test_p7_a_no_to_another_topic_stops_only_that_topic(house: House, ring: Keyring) -> None:
    at = clock.now() - timedelta(days=100)
    with transaction(house.engine) as session:
        make.a_person(session, ring, now=at, yes=["new-products"])
        withdraw(session, house, "ana@example.org")
    updates = rules.Grant("updates", "old shop", text="Tell me.")
    done = files.imported(
        house, files.job(ATTESTED, files.GRANT, updates, columns=FULL, attested=True, source="shop")
    )
    assert states(house)[0] == "withdrawn"
    assert states(house, slug="updates")[0] == "given"
    assert done.counts["left_out"] == {"kept_no:new-products": 1}


@pytest.mark.parametrize("state", ["restricted", "erased"])
def test_p7_restricted_and_erased_people_are_left_alone(house: House, ring: Keyring, state: str) -> None:
    with transaction(house.engine) as session:
        ana = make.a_person(session, ring, now=clock.now(), external_id="ana@example.org")
        ana.state = state
        session.add(ana)
    columns = {**FULL, "email": "email"}
    done = files.imported(
        house, files.job(ATTESTED, files.GRANT, columns=columns, attested=True, source="shop")
    )
    assert done.counts["skipped"] == {f"skipped_{state}": 1}


def test_p7_within_one_file_the_no_wins_in_either_order(house: House) -> None:
    head, yes, no = "email,subscribed at,status", "{},2024-01-02,subscribed", "{},,unsubscribed"
    lines = [head, yes.format("a@example.org"), no.format("A@example.org")]
    lines += [no.format("b@example.org"), yes.format("b@example.org")]
    files.imported(house, files.job("\n".join([*lines, ""]).encode(), files.GRANT))
    assert states(house, "a@example.org") == ["refused"]
    with reading(house.engine) as session:
        assert people.by_address(session, house.ring, addresses.parse("b@example.org")) == []


def test_a_no_in_the_file_ends_a_yes_that_stands_for_every_registration(house: House, ring: Keyring) -> None:
    with transaction(house.engine) as session:
        make.a_person(session, ring, now=clock.now(), yes=["new-products", "updates"])
    content = b"email,status\nana@example.org,unsubscribed\n"
    done = files.imported(house, files.job(content))
    assert done.counts["noes"] == {"no": 1}
    assert states(house) == ["withdrawn"]
    assert states(house, slug="updates") == ["withdrawn"]
    assert restoring_file(house).count(b"consent.withdrawn") == 2  # on the second path, too
    holds(house)
    assert files.imported(house, files.job(content + b"\n")).counts == {"unchanged": 1}


def restoring_file(house: House) -> bytes:
    with reading(house.engine) as session:
        restoring.keep(session, house.settings.safe)
    return b"".join(path.read_bytes() for path in house.settings.safe.rglob("*") if path.is_file())


def test_a_dated_no_does_not_end_a_later_yes(house: House, ring: Keyring) -> None:
    with transaction(house.engine) as session:
        make.a_person(session, ring, now=clock.now(), yes=["new-products"])
    done = files.imported(house, files.job(b"email,unsubscribed at\nana@example.org,2020-01-01\n"))
    assert done.counts["skipped"] == {"skipped_later_yes": 1}
    assert states(house) == ["given"]


@pytest.mark.parametrize(
    ("row", "void"), [("email,status\nana@example.org,unsubscribed\n", True),
                      ("email,unsubscribed at\nana@example.org,2020-01-01\n", False)]
)  # fmt: skip
def test_rel_h39_a_no_in_the_file_goes_before_a_button_that_was_mailed_earlier(
    house: House, ring: Keyring, row: str, void: bool
) -> None:
    """A no without a date is one of today. Whoever is asked anew after an older one answers for themselves."""
    with transaction(house.engine) as session:
        ana = make.a_person(session, ring, now=clock.now() - timedelta(hours=2), yes=["updates"])
        choice, by = Choices({"new-products": "each"}), f"person:{ana.public_id}"
        at = clock.now() - timedelta(hours=1)
        save(session, ring, ana, choice, how="page", evidence={}, now=at, by=by)
    files.imported(house, files.job(row.encode()))
    with (
        pytest.raises(gate.GrantNeedsNewConfirmation) if void else nullcontext(),
        transaction(house.engine) as session,
    ):
        make.press(session, ring, make.buttons(session)[-1], now=clock.now())
    assert states(house) == ["unknown" if void else "given"]
    holds(house)


def test_an_import_changes_no_address_and_renews_nothing(house: House, ring: Keyring) -> None:
    with transaction(house.engine) as session:
        make.a_person(
            session, ring, now=clock.now(), yes=["new-products"], external_id="7", source="old-shop"
        )
    content = b"email,id,subscribed at\neve@example.org,7,2024-01-01\n"
    assert files.imported(house, files.job(content, files.GRANT)).counts == {
        "skipped": {"skipped_address_differs": 1}
    }
    content = content.replace(b"eve@", b"ana@")
    assert files.imported(house, files.job(content, files.GRANT)).counts == {"unchanged": 1}
    assert entries(house, "consent.renewed") == []


# --- again, onward, back ---


def test_the_same_file_under_the_same_plan_is_the_same_import(house: House) -> None:
    job = files.job(files.simple("ana@example.org"), files.GRANT)
    first = files.imported(house, job)
    with reading(house.engine) as session:
        before = ledger.tail(session)
    second = files.imported(house, job)
    assert second.row.public_id == first.row.public_id
    with reading(house.engine) as session:
        assert ledger.tail(session) == before
        assert len(queries.newest(session)) == 1


def test_the_same_people_in_another_file_change_nothing(house: House) -> None:
    files.imported(house, files.job(files.MAILCHIMP, files.GRANT, attested=True))
    with reading(house.engine) as session:
        before = ledger.tail(session)[0]
    again = files.imported(house, files.job(files.MAILCHIMP + b"\n", files.GRANT, attested=True))
    assert again.counts == {"unchanged": 2}
    assert again.examined.counts.as_json() == again.row.counts
    with reading(house.engine) as session:
        assert ledger.tail(session)[0] == before + 2  # that it started, that it ended


def test_a_changed_person_is_changed_and_foretold(house: House) -> None:
    content = b"email,id,first name\nana@example.org,7,Ana\nben@example.org,8,Ben\n"
    files.imported(house, files.job(content))
    again = files.imported(house, files.job(content.replace(b"Ben", b"Benno")))
    assert again.counts == {"changed": 1, "unchanged": 1}
    assert again.examined.counts.as_json() == again.row.counts


def test_a_chunk_is_never_taken_over_twice(house: House) -> None:
    job = files.job(files.simple("ana@example.org", "ben@example.org"), files.GRANT)
    row = files.begun(house, job)
    assert row.id is not None
    import_id = row.id
    with job.open() as stream:
        told = [one for _, one in job.rows(stream, now=clock.now())]
    part = [prepare(house.ring, job.plan, one, keep_ip="truncated") for one in told if isinstance(one, Row)]

    def take(session: Session) -> Import:
        return actions.take_chunk(session, house.ring, import_id, 0, part, now=clock.now(), by="cli")

    fence.perform_now(house, take)
    with pytest.raises(rules.ImportMoved):
        fence.perform_now(house, take)


def test_going_on_after_an_end_in_the_middle(house: House) -> None:
    content = files.simple(*(f"p{n}@example.org" for n in range(450)))
    job = files.job(content, files.GRANT)
    row = files.begun(house, job, rows=450)

    class Cut(Exception):
        pass

    def cut(done: int, _: int) -> None:
        if done >= 100:
            raise Cut

    with pytest.raises(Cut):
        imports.run(house, job, row, by="cli", told=cut)
    with reading(house.engine) as session:
        row = queries.by_public_id(session, row.public_id)
    assert 0 < row.rows_done < 450
    row = imports.run(house, job, row, by="cli")
    assert (row.state, row.rows_done, row.counts["new"]) == ("done", 450, 450)
    with reading(house.engine) as session:
        assert len(session.exec(select(Identity)).all()) == 450
    holds(house)


def test_what_one_gave_that_ended_in_the_middle_is_taken_back_and_it_goes_on_no_more(
    house: House, ring: Keyring
) -> None:
    job = files.job(files.MAILCHIMP, files.GRANT, attested=True)
    row = files.begun(house, job, rows=2)
    with job.open() as stream:
        told = [one for _, one in job.rows(stream, now=clock.now())]
    [first] = [prepare(ring, job.plan, one, keep_ip=None) for one in told[:1] if isinstance(one, Row)]

    def take(session: Session) -> Import:
        return actions.take_chunk(session, ring, row.id or 0, 0, [first], now=clock.now(), by="cli")

    fence.perform_now(house, take)
    with pytest.raises(rules.ImportNotDone):  # somebody is at work on it
        imports.take_back(house, row.public_id, reason="wrong file", by="cli")
    assert states(house) == ["given"]
    with transaction(house.engine) as session:
        queries.by_public_id(session, row.public_id).beat_at = clock.now() - timedelta(minutes=1)
    back = imports.take_back(house, row.public_id, reason="wrong file", by="cli")
    assert (back.state, back.taken_back, states(house)) == ("taken_back", 1, ["invalidated"])
    with pytest.raises(rules.ImportMoved):  # its process wakes up after all
        imports.run(house, job, row, by="cli")
    holds(house)


def test_rows_that_cannot_be_taken_over_are_counted_and_harm_no_other(house: House) -> None:
    content = files.simple("ana@example.org", "b@", "ben@example.org", more=["x@example.org,soon", "y,z,q,r"])
    done = files.imported(house, files.job(content, files.GRANT))
    assert done.counts["new"] == 2
    assert done.counts["refused"] == {"address_syntax": 1, "date_unclear": 1, "cells_too_many": 1}
    assert [fault.row for fault in done.examined.faults] == [2, 4, 5]


def test_a_wording_that_is_not_there_is_found_before_anything_is_written(house: House) -> None:
    content = b"email,subscribed at,new-products wording\nana@example.org,2024-01-01,new-products-v9-en\n"
    examined = imports.dry_run(house, files.job(content, rules.Grant("new-products", "x")), now=clock.now())
    assert examined.counts.refused == {"wording_unknown": 1}


def test_mended_cells_take_the_place_of_the_files(house: House) -> None:
    job = files.job(files.simple("ana@", "ben@example.org"), files.GRANT)
    mended = imports.Job(job.open, job.file, job.plan, {1: {"email": "ana@example.org"}})
    assert files.imported(house, mended).counts["new"] == 2


def test_what_an_import_gave_is_taken_back_and_nothing_else(house: House, ring: Keyring) -> None:
    content = files.MAILCHIMP.replace(
        b"ben@example.org,Ben,,2,,,", b'ben@example.org,Ben,,2,"2020-05-05 05:05:05",,'
    )
    content = content.replace(b'"2020-05-05 05:05:05",,,,,', b'"2020-05-05 05:05:05",192.0.2.9,,,,')
    with transaction(house.engine) as session:
        make.a_person(session, ring, "old@example.org", now=clock.now())
    done = files.imported(house, files.job(content, files.GRANT, attested=True))
    assert done.counts["given"] == {"new-products:given": 2}
    with transaction(house.engine) as session:
        withdraw(session, house, "ben@example.org")
    row = imports.take_back(house, done.row.public_id, reason="the words were others", by=make.STAFF)
    assert (row.state, row.taken_back) == ("taken_back", 1)
    assert states(house, "ana@example.org") == ["invalidated"]
    assert states(house, "ben@example.org") == ["withdrawn"]
    assert states(house, "old@example.org") == ["given"]
    [entry] = entries(house, "consent.invalidated")
    assert (entry.body["import"], entry.actor) == (row.public_id, make.STAFF)
    assert entries(house, "import.revoked")[0].body["reason"] == "the words were others"
    holds(house)
    again = imports.take_back(house, row.public_id, reason="once more", by=make.STAFF)
    assert again.taken_back == 1
    assert len(entries(house, "import.revoked")) == 1


def test_taking_back_more_than_one_chunk_takes_every_topic(house: House) -> None:
    lines = [f"p{n}@example.org,2020-01-01,2020-01-02,192.0.2.1" for n in range(230)]
    content = "\n".join(["email,optin time,confirmed at,ip", *lines, ""]).encode()
    updates = rules.Grant("updates", "old shop", text="Tell me.")
    job = files.job(content, files.GRANT, updates, columns=FULL, attested=True)
    done = files.imported(house, job)
    row = imports.take_back(house, done.row.public_id, reason="wrong file", by="cli")
    assert row.taken_back == 460
    assert len(entries(house, "consent.invalidated")) == 200  # a page of them
    holds(house)


def test_taking_back_needs_a_reason_and_an_end(house: House) -> None:
    row = files.begun(house, files.job(files.simple("ana@example.org"), files.GRANT))
    with pytest.raises(rules.ReasonMissing):
        imports.take_back(house, row.public_id, reason=" ", by="cli")
    with pytest.raises(rules.ImportNotDone):
        imports.take_back(house, row.public_id, reason="why", by="cli")
    with pytest.raises(rules.ImportUnknown):
        imports.take_back(house, "i_0", reason="why", by="cli")


# --- out, and in again ---


def exported(house: House, form: str = "csv") -> bytes:

    def note(session: Session) -> None:
        actions.note_export(session, reason="moving", form=form, now=clock.now(), by="cli")

    fence.perform_now(house, note)
    return "".join(text for text, _ in exports.parts(house, form=form, by="cli")).encode()


def test_std_k8_an_export_says_who_why_and_whose(house: House, ring: Keyring) -> None:
    with transaction(house.engine) as session:
        ana = make.a_person(session, ring, now=clock.now(), profile={"first_name": "=1+1", "company": "'=x"})
        public_id = ana.public_id
    content = exported(house)
    assert b"'=1+1" in content
    [noted] = entries(house, "people.exported")
    assert (noted.body, noted.actor) == ({"reason": "moving", "form": "csv"}, "cli")
    [listed] = entries(house, "people.listed")
    assert listed.body == {"people": [public_id], "export": True}
    [line] = [json.loads(line) for line in exported(house, "ndjson").splitlines()]
    assert (line["person"], line["first name"], line["new-products state"]) == (public_id, "=1+1", "given")
    with pytest.raises(rules.ReasonMissing), transaction(house.engine) as session:
        actions.note_export(session, reason=" ", form="csv", now=clock.now(), by="cli")


@pytest.mark.parametrize("form", ["csv", "ndjson"])
def test_std_h12_who_is_restricted_is_in_no_export(house: House, ring: Keyring, form: str) -> None:
    """GDPR 18(2): their data is kept and nothing else; the export knows how many it leaves out."""
    with transaction(house.engine) as session:
        ana = make.a_person(session, ring, now=clock.now())
        ben = make.a_person(session, ring, "ben@example.org", now=clock.now())
        rights.restrict(session, ana, how="me", now=clock.now(), by=f"person:{ana.public_id}")
    content = exported(house, form)
    assert (b"ben@example.org" in content, b"ana@example.org" in content) == (True, False)
    [listed] = entries(house, "people.listed")
    assert listed.body["people"] == [ben.public_id]
    with reading(house.engine) as session:
        assert queries.going_out(session) == (1, 1)


def test_an_export_comes_back_elsewhere_with_its_noes(house: House, ring: Keyring) -> None:
    """Round trip: all that is known of a person, and both a yes and a no, by the export's own header."""
    with transaction(house.engine) as session:
        profile = {"first_name": "=Ana", "last_name": "K\u00f6v", "company": "'+x"}
        make.a_person(session, ring, now=clock.now(), profile=profile, locale="de", zone="Europe/Vienna")
        withdraw(session, house, "ana@example.org")
        make.a_person(session, ring, "ben@example.org", now=clock.now())
    content = exported(house)
    here = files.job(content, source="other")
    assert imports.dry_run(house, here, now=clock.now()).counts.skipped == {"skipped_known": 2}
    elsewhere = content.replace(b"ana@", b"ada@").replace(b"ben@", b"bea@").replace(b"p_", b"x_")
    grants = [rules.Grant(slug, "our other installation") for slug in ("new-products", "updates")]
    job = files.job(elsewhere, *grants, source="other")
    assert sources.system_of(job.file.columns) == "bidden"
    done = files.imported(house, job)
    assert done.counts["new"] == 2
    assert states(house, "ada@example.org") == ["unknown"]
    assert states(house, "ada@example.org", "updates") == ["requested"]
    assert states(house, "bea@example.org") == ["requested"]
    with reading(house.engine) as session:
        ada = person_of(house, session, "ada@example.org")
        assert people.profiles(session, ring, ada)[-1].profile["first_name"] == "=Ana"
        assert (ada.locale, ada.zone) == ("de", "Europe/Vienna")
        stopped = session.exec(select(Suppression)).all()
    assert [(row.scope, row.cause) for row in stopped] == [("topic", "withdrawal")]
    asked = [one for one in entries(house, "consent.requested") if one.body["topic"] == "updates"]
    assert {one.body["wording"] for one in asked} == {"updates-v1-en", "updates-v1-de"}


def test_rel_h64_bad_rows_can_be_written_mended_and_read_again(house: House) -> None:
    job = files.job(files.simple("ana@", "=b@example.org"), files.GRANT)
    parts = [exports.bad_rows_header(job.file.columns)]
    imports.dry_run(
        house,
        job,
        now=clock.now(),
        bad=lambda record, faults: parts.append(exports.bad_row(record, 2, faults)),
    )
    bad = "".join(parts).encode()
    facts = imports.look_at(lambda: BytesIO(bad))
    assert facts.columns == ("email", "subscribed at", exports.WRONG)
    assert b"one e-mail address" in bad
    assert (
        files.imported(house, files.job(bad.replace(b"ana@,", b"ana@example.org,"), files.GRANT)).counts[
            "new"
        ]
        == 1
    )


def test_a_bad_row_of_too_many_cells_comes_with_all_of_them() -> None:
    given = files.job(b"email,first name\nana@example.org,Kov,Ana\n")
    with given.open() as stream:
        [(record, faults)] = given.rows(stream, now=clock.now())
    assert isinstance(faults, list)
    assert [one.code for one in faults] == ["cells_too_many"]
    [cells] = csv.reader([exports.bad_row(record, 2, faults)])
    assert [*cells[:2], *cells[3:]] == ["ana@example.org", "Kov", "Ana"]
    assert cells[2].startswith("Row 1, line 2.")


def test_instants_are_read_as_utc() -> None:
    assert rules.instant("2026-01-01 00:00", "iso", datetime(2026, 2, 1, tzinfo=UTC)).tzinfo is UTC


def test_an_id_twice_in_one_file_changes_no_address(house: House) -> None:
    content = b"id,email,subscribed at\n7,ana@example.org,2024-01-02\n7,ben@example.org,2024-01-02\n"
    done = files.imported(house, files.job(content, files.GRANT))
    assert done.counts["skipped"] == {"skipped_address_differs": 1}
    with reading(house.engine) as session:
        assert person_of(house, session, "ana@example.org").pending_address_id is None
        assert people.by_address(session, house.ring, addresses.parse("ben@example.org")) == []
