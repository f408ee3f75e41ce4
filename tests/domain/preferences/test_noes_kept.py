"""P7 under every order of acts, and the machine that plays them (`noes`) made to turn red.

`BIDDEN_TEST_MACHINE=500x50` sets how many examples of how many steps are played.
"""

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from sqlmodel import Session, col, select

import verify_ledger
from service.domain.consent.actions import Said
from service.domain.consent.rules import Step
from service.domain.links.tables import Undo
from service.domain.mailings.tables import Address
from service.domain.people.tables import Person
from service.domain.preferences import actions, changes, chunks, queries, registration, rules
from service.domain.preferences.tables import Preference
from service.domain.privacy import periods, retention
from service.domain.reports import permitted
from service.domain.suppressions import actions as suppressions
from service.domain.topics import queries as topics
from service.domain.transfers import judging
from service.kit.signing import Keyring
from service.ops import erasure
from tests.domain.preferences.noes import MAILBOXES, Noes, Place

# In the suite; an act costs three times as much on PostgreSQL, and its rows are put back one table after the other.
USUAL = {"sqlite": "100x30", "postgresql": "12x30"}


@pytest.fixture
def place(database_url: str, ring: Keyring, tmp_path: Path) -> Iterator[Place]:
    made = Place(database_url, ring, tmp_path)
    yield made
    made.close()


def play(place: Place, *phases: Phase) -> None:
    """Let the machine go over the database, always in the same way."""
    usual = USUAL[place.engine.dialect.name]
    examples, _, steps = os.environ.get("BIDDEN_TEST_MACHINE", usual).partition("x")
    size = settings(
        max_examples=int(examples),
        stateful_step_count=int(steps),
        derandomize=True,
        database=None,
        deadline=None,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
        phases=phases,
    )
    run_state_machine_as_test(lambda: Noes(place), settings=size)


def test_no_order_of_acts_turns_a_no_into_a_yes(place: Place) -> None:
    play(place, Phase.generate, Phase.shrink)


# --- the machine itself turns red ---


def _careless_undo(session: Session, value: str, **given: Any) -> Any:
    """Undo as it would be if it asked nobody what was said since."""
    row = session.get(Undo, hashlib.sha256(value.encode()).hexdigest())
    if row is not None:
        standing = queries.of_person(session, row.person_id)
        row.before = [{**was, "left": standing[was["topic"]].last_seq} for was in row.before]
    return _UNDO(session, value, **given)


_UNDO = actions.undo


@pytest.mark.parametrize("broken", [False, True])
def test_an_undo_that_goes_over_a_newer_no_is_seen(
    place: Place, monkeypatch: pytest.MonkeyPatch, broken: bool
) -> None:
    if broken:
        monkeypatch.setattr(actions, "undo", _careless_undo)
    machine = Noes(place)
    machine.stops(which=0, slug="updates", how="link")
    machine.stops(which=0, slug="updates", how="one_click")
    machine.undoes(which=0)
    with pytest.raises(AssertionError, match="a no became a yes") if broken else nullcontext():
        machine.teardown()


def _forgetful_label(self: chunks.Chunk, person_id: int, topic_id: int) -> tuple[str, datetime | None]:
    """What stands, as it would be if an old registration counted as nothing said, whatever was said to it since."""
    row = self.present.get((person_id, topic_id))
    return ("unknown", None) if row and row.basis == rules.LEGACY else _STATE(self, person_id, topic_id)


_STATE = chunks.Chunk.state


@pytest.mark.parametrize("broken", [False, True])
def test_a_no_to_an_old_registration_that_counts_for_nothing_is_seen(
    place: Place, monkeypatch: pytest.MonkeyPatch, broken: bool
) -> None:
    if broken:
        monkeypatch.setattr(chunks.Chunk, "state", _forgetful_label)
    machine = Noes(place)
    machine.imports_a_file(email=MAILBOXES[1], which=1, day="2024-01-02", word="yes", old=True)
    machine.stops(which=1, slug="offers", how="one_click")
    for _ in range(2):
        machine.registers(people=[(1, 1, {"offers": True}, True, True)], attest=True, join=1)
    with pytest.raises(AssertionError, match="a no became a yes") if broken else nullcontext():
        machine.teardown()


def _thorough_purge(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is there for a month is forgotten, with all that was ever said by them."""
    forget = erasure.forget

    def nobody_left(session: Session, ring: Keyring, person: Person, *, now: datetime) -> None:
        forget(session, ring, person, now=now)
        for table, owner in ((Preference, Preference.person_id), (Address, Address.owner_id)):
            for row in session.exec(select(table).where(col(owner) == person.id)).all():
                if isinstance(row, Address):
                    row.address_hash = ""
                else:
                    session.delete(row)

    def careless(since: datetime, now: datetime) -> Any:
        return Person, (col(Person.state) == "active") & (col(Person.created_at) <= since)

    monkeypatch.setattr(erasure, "forget", nobody_left)
    monkeypatch.setitem(retention._PAST, periods.UNCONFIRMED, careless)


@pytest.mark.sabotage
@pytest.mark.parametrize("broken", [False, True])
def test_a_purge_that_forgets_a_no_is_seen(
    place: Place, monkeypatch: pytest.MonkeyPatch, broken: bool
) -> None:
    if broken:
        _thorough_purge(monkeypatch)
    machine = Noes(place)
    machine.stops(which=0, slug="updates", how="link")
    machine.time_passes(span=timedelta(days=400))
    machine.registers(people=[(3, 0, {"updates": True}, True, False)], attest=True, join=1)
    with pytest.raises(AssertionError, match="a no became a yes") if broken else nullcontext():
        machine.teardown()


def _granting_import(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sites and imports whose yes goes over a no."""
    answer = registration.consent_rules.answer

    def careless(*, given: bool, **told: Any) -> Step:
        return Step("consent.given", "given", "given") if given else answer(given=given, **told)

    monkeypatch.setattr(judging, "_said_no", lambda *_: False)
    monkeypatch.setattr(chunks.Chunk, "_refused_under", lambda *_: set())
    monkeypatch.setattr(registration.consent_rules, "answer", careless)


@pytest.mark.parametrize("broken", [False, True])
def test_an_import_that_grants_over_a_no_is_seen(
    place: Place, monkeypatch: pytest.MonkeyPatch, broken: bool
) -> None:
    if broken:
        _granting_import(monkeypatch)
    machine = Noes(place)
    machine.stops(which=1, slug="new-products", how="link")
    machine.imports_a_file(email=MAILBOXES[1], which=1, day="2024-01-02", word="yes")
    with pytest.raises(AssertionError, match="a no became a yes") if broken else nullcontext():
        machine.teardown()


def _yes_taking_merge(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two persons who turn out to be one, and the yes of the one goes over the no of the other."""

    def careless(
        session: Session, ring: Keyring, merged: Person, into: Person, *, now: datetime, by: str
    ) -> None:
        change = changes.Change(session, into, None, Said("merge", merged.public_id), now, by)
        for topic_id, was in queries.of_person(session, merged.id or 0).items():
            present = change.preference(topics.by_id(session, topic_id))
            if present and present.state in rules.NOES and was.state in rules.PERMITTING:
                topic = topics.by_id(session, topic_id)
                changes.move(change, topic, present, "consent.given", "given")

    monkeypatch.setattr(changes, "carry_over", careless)
    monkeypatch.setattr(registration, "carry_over", careless)


@pytest.mark.parametrize("broken", [False, True])
def test_a_yes_to_older_words_taken_for_one_to_newer_is_seen(
    place: Place, monkeypatch: pytest.MonkeyPatch, broken: bool
) -> None:
    machine = Noes(place)
    if broken:
        monkeypatch.setattr(chunks, "wording_version", lambda *_: 99)
    machine.a_topic_or_the_policy_changes(slug="updates", what="more words")
    machine.registers(people=[(4, 0, {"offers": True, "updates": True}, True, False)], attest=True, join=1)
    machine.a_topic_or_the_policy_changes(slug="updates", what="more words")
    with pytest.raises(AssertionError, match="a yes to older words") if broken else nullcontext():
        machine.look()
    machine.patched.stop()


@pytest.mark.sabotage
@pytest.mark.parametrize("broken", ["", "product", "checker"])
def test_evidence_that_calls_an_objection_permitted_is_seen(
    place: Place, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    """What a site told after it: a yes, which does not count against it."""
    if broken == "product":
        monkeypatch.setattr(permitted.ByThen, "_barred", lambda *_: None)
    if broken == "checker":
        monkeypatch.setattr(verify_ledger.Stops, "over", lambda *_: False)
    machine = Noes(place)
    machine.act(lambda session: _objected(session, machine.now))
    said = {"": nullcontext(), "product": _red("evidence permits what"), "checker": _red("retold_differs")}
    with said[broken]:
        machine.evidence_says_what_the_gate_says()
    machine.patched.stop()


def _red(what: str) -> Any:
    return pytest.raises(AssertionError, match=what)


def _objected(session: Session, now: datetime) -> None:
    """An objection that lies over a mailbox in which a yes stands, as it does where somebody moves to it with theirs."""
    person = session.exec(select(Person)).first()
    address = session.get_one(Address, person.address_id if person else None)
    suppressions.add(
        session, address.address_hash, scope="marketing", cause="objection", origin="moved",
        subject=person.public_id if person else None, now=now, by="person",
    )  # fmt: skip


@pytest.mark.sabotage
@pytest.mark.parametrize("template", ["sqlite"], indirect=True)
@pytest.mark.parametrize("broken", [_granting_import, _yes_taking_merge])
def test_the_machine_finds_who_turns_a_no_into_a_yes(
    place: Place, monkeypatch: pytest.MonkeyPatch, broken: Callable[[pytest.MonkeyPatch], None]
) -> None:
    """Within the size that it plays in the suite, and by what it wrote down itself."""
    broken(monkeypatch)
    monkeypatch.setattr(Noes, "evidence_says_what_the_gate_says", lambda _: None)
    with pytest.raises(AssertionError, match="a no became a yes"):
        play(place, Phase.generate)
