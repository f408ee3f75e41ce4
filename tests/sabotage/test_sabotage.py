"""Each promise broken on purpose: the checker that guards it must turn red. A checker that was never red proves nothing.

The unbroken half of each pair stands in the test that the checker comes from.
"""

import asyncio
import hmac
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import null, text
from sqlalchemy.engine import Engine
from sqlmodel import Session

from scheduler import lease
from service import fence
from service.db.session import reading, transaction
from service.domain.deliveries import queries
from service.domain.links import rules as links
from service.domain.people import erasing as people_erasing
from service.domain.people.tables import Person
from service.domain.preferences import actions as preferences
from service.domain.preferences import projection
from service.domain.preferences import queries as gate
from service.kit import clock, notes
from service.kit.signing import Keyring
from service.mail import dkim
from service.mail.letters import load
from service.mail.message import Assembler
from tests import checks
from tests.domain.ledger import mutant_runs, mutants
from tests.domain.privacy import marked
from tests.house.test_database import GUARDS, GUARDS_POSTGRESQL, standing_guards
from tests.house.test_doors import opens_a_transaction
from tests.mail import oracle, samples
from tests.ops import test_erasure
from tests.scheduler.conftest import Post, Sink, SinkSettings, send_all
from tests.scheduler.test_sender import aimed_withdrawal, departures_after_no

pytestmark = pytest.mark.sabotage


@pytest.fixture
def post(engine: Engine, ring: Any, tmp_path: Any) -> Post:
    return Post(engine, ring, tmp_path)


async def _withdrawn_between_freeze_and_claim(
    post: Post, *, gate_removed: bool, monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    """Who got a mail though they had said no before the claim (the second gate's checker)."""
    async with Sink(SinkSettings(keep=True)) as sink:
        house = post.house(sink.port)
        post.sign_up(4)
        await asyncio.to_thread(post.announce, house)
        link = post.stop_link("u2")
        with transaction(post.engine) as session:
            preferences.stop(session, post.ring, link, how="link", evidence={}, now=clock.now())
        if gate_removed:
            monkeypatch.setattr(gate, "refusal", lambda topic, now: null())
            built_anew = queries._standing.__wrapped__  # not the statement that was built with the gate
            monkeypatch.setattr(queries, "_standing", built_anew)
        await send_all(post, house)
        return [message.rcpt for message in sink.kept if message.rcpt == "u2@example.org"]


@pytest.mark.parametrize("removed", [False, True])
def test_second_gate_removed(post: Post, monkeypatch: pytest.MonkeyPatch, removed: bool) -> None:
    got = asyncio.run(
        _withdrawn_between_freeze_and_claim(post, gate_removed=removed, monkeypatch=monkeypatch)
    )
    assert bool(got) is removed


def test_fence_not_awaited(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    """The door answers without waiting, and the sender looks too seldom: a mail departs after the no was acknowledged."""
    monkeypatch.setattr(fence, "_seen_by_all", lambda engine: None)
    monkeypatch.setattr(lease, "WATCH_EVERY", 20.0)
    acknowledged, dots = asyncio.run(aimed_withdrawal(post))
    assert departures_after_no(acknowledged, dots) == ["u3@example.org"]


def test_a_sender_that_looks_too_seldom_gets_an_honest_answer(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same slow sender with the fence in place: the door does not say that it is settled."""
    monkeypatch.setattr(lease, "WATCH_EVERY", 20.0)
    monkeypatch.setattr(fence, "PATIENCE", 0.3)
    with pytest.raises(AssertionError):  # the test's own `assert done.settled`
        asyncio.run(aimed_withdrawal(post))


@pytest.mark.parametrize("unchecked", [False, True])
def test_mac_unchecked(monkeypatch: pytest.MonkeyPatch, unchecked: bool) -> None:
    keys = {1: b"k" * 32}
    token = links.write(links.Link(links.STOP, 12345, 7, 99, 3), keys)
    if unchecked:
        monkeypatch.setattr(hmac, "compare_digest", lambda a, b: True)
    assert (len(checks.forged_links(token, keys)) > 100) is unchecked


@pytest.mark.parametrize("table", ["ledger_entry", "outcome"])
def test_a_guard_dropped(engine: Engine, table: str) -> None:
    """Seen both by name and by trying what the guard refuses."""
    assert standing_guards(engine) in (GUARDS, GUARDS_POSTGRESQL)
    assert checks.ledger_guards(engine) == []
    with engine.execution_options(write=True).begin() as connection:
        checks.without_guards(connection, table)
    assert standing_guards(engine) not in (GUARDS, GUARDS_POSTGRESQL)
    assert bool(checks.ledger_guards(engine)) is (table == "ledger_entry")


def test_the_ledger_edited(engine: Engine) -> None:
    assert checks.chain(engine) == []
    with engine.execution_options(write=True).begin() as connection:
        checks.without_guards(connection)
        connection.execute(
            text("UPDATE ledger_entry SET entry = replace(entry, 'default', 'another') WHERE seq = 1")
        )
    assert checks.chain(engine) == ["entry 1: hash_differs"]


@pytest.mark.parametrize("unchecked", [False, True])
def test_a_head_accepted_unsigned(
    engine: Engine,
    ring: Keyring,
    now: datetime,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    unchecked: bool,
) -> None:
    """A ledger computed anew with all its heads signed by another key: found by its keys alone."""
    mutant_runs.write(engine, ring, tmp_path, now)
    if unchecked:
        monkeypatch.setattr(notes, "_good", lambda *about: True)
    seeds = [mutants.WAYS.index(mutants.replace_the_key)]
    missed = mutant_runs.missed(engine, ring, tmp_path, seeds)
    assert [("ours" in one, "None" in one) for one in missed] == ([(True, True)] if unchecked else [])


@pytest.mark.parametrize("past", [False, True])
def test_projection_written_past_the_ledger(post: Post, past: bool) -> None:
    post.sign_up(3)
    if past:
        with post.engine.execution_options(write=True).begin() as connection:
            connection.execute(text("UPDATE preference SET state = 'given' WHERE state <> 'given'"))
            connection.execute(
                text(
                    "UPDATE preference SET state = 'withdrawn' WHERE person_id = (SELECT min(person_id) FROM preference)"
                )
            )
    with reading(post.engine) as session:
        assert bool(projection.differences(session)) is past


@pytest.mark.parametrize("forgotten", [False, True])
def test_a_signer_without_oversigning(monkeypatch: pytest.MonkeyPatch, forgotten: bool) -> None:
    """A second List-Unsubscribe put in on the way would then be as good as signed."""
    if forgotten:
        monkeypatch.setattr(dkim, "OVERSIGNED", frozenset())
    sign = dkim.Signer(oracle.KEY, at=oracle.AT)
    message = Assembler(samples.facts(), load(samples.built()), sign=sign).assemble(samples.recipient()).data
    assert oracle.verifies(message)
    passed = oracle.added_copies_that_pass(message)
    assert bool(passed) is forgotten
    assert ({"Subject", "List-Unsubscribe", "List-Unsubscribe-Post"} <= set(passed)) is forgotten


@pytest.mark.parametrize("uncovered", [False, True])
def test_a_signature_that_leaves_out_the_one_click_field(
    monkeypatch: pytest.MonkeyPatch, uncovered: bool
) -> None:
    if uncovered:
        fewer = [name for name in dkim.SIGNED if name != "list-unsubscribe-post"]
        monkeypatch.setattr(dkim, "SIGNED", tuple(fewer))
    sign = dkim.Signer(oracle.KEY, at=oracle.AT)
    message = Assembler(samples.facts(), load(samples.built()), sign=sign).assemble(samples.recipient()).data
    assert ("list-unsubscribe-post" in oracle.tags(message)["h"].split(":")) is not uncovered
    assert ("List-Unsubscribe-Post" in oracle.added_copies_that_pass(message)) is uncovered


def test_a_door_past_the_fence() -> None:
    """The house test's own eye: a transaction opened at a door is seen."""
    assert opens_a_transaction(
        "def route():\n    with transaction(engine) as session:\n        session.add(1)\n"
    )
    assert not opens_a_transaction("async def route():\n    await fence.perform(house, act)\n")


@pytest.mark.parametrize("kept", [False, True])
def test_an_erasure_that_keeps_the_key(post: Post, monkeypatch: pytest.MonkeyPatch, kept: bool) -> None:
    """Everything is emptied, and the key that opens yesterday's pages and the ledger's sealed parts stays where it was."""
    if kept:
        emptied = people_erasing.empty

        def forgetful(session: Session, ring: Any, person: Person, *, now: Any) -> set[str]:
            key, hashes = person.wrapped_key, emptied(session, ring, person, now=now)
            person.wrapped_key = key
            return hashes

        monkeypatch.setattr(people_erasing, "empty", forgetful)
    house = post.house(25)
    gone, other = marked.sign_up(house, 2, now=clock.now())
    test_erasure.erase(house, gone.person_id)
    test_erasure.rewritten(house)
    assert test_erasure.left_in_files(house, [gone], [other]) == (int(kept), 1)
