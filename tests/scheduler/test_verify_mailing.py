"""The verifier of a mailing: a real one holds, and whatever is changed in it, or was not permitted, is named."""

import asyncio
import json
import random
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import String, cast, null, text

import verify_ledger
import verify_mailing
from scheduler import jobs
from service.db.session import reading, transaction
from service.domain.announcements import actions as announcements
from service.domain.consent.actions import Said
from service.domain.deliveries import queries
from service.domain.ledger import bundles, checkpoints
from service.domain.people import queries as people
from service.domain.people.tables import Person
from service.domain.preferences import actions as preferences
from service.domain.preferences import rights
from service.domain.preferences.intake import Transfer, look_up
from service.domain.preferences.registration import Registered, Registration, register_many
from service.domain.reports import outcomes
from service.kit import clock
from tests.faults.sink import Settings as SinkSettings
from tests.faults.sink import Sink
from tests.scheduler.conftest import Post, send_all
from tests.scheduler.test_unknown import _between, _due_now

PEOPLE = 1_000
Row = dict[str, Any]


def say_no(post: Post, who: str) -> None:
    """Through the link in a mail."""
    link = post.stop_link(who)
    with transaction(post.engine) as session:
        preferences.stop(session, post.ring, link, how="link", evidence={}, now=clock.now())


def sent(post: Post, people: int, script: dict[int, str] | None = None, noes: int = 0) -> str:
    """A mailing to so many, some of whom say no after its audience was closed; refused and put off by a script."""
    post.sign_up(people)
    announcement = post.announce(post.house(9))
    for number in random.Random(4).sample(range(people), noes):
        say_no(post, f"u{number}")

    async def run() -> None:
        async with Sink(SinkSettings(fault=(script or {}).get)) as sink:
            await asyncio.wait_for(send_all(post, post.house(sink.port, connections=4)), 60)

    asyncio.run(run())
    return announcement


def written(post: Post, announcement: str, directory: Path) -> tuple[Path, Path, list[str]]:
    """The two files and the public keys, as the commands write them."""
    house = post.house(9)
    with transaction(post.engine) as session:
        checkpoints.sign(session, post.ring, now=clock.now())
    with reading(post.engine) as session:
        mailing = outcomes.find(session, announcement)
        rows, bundle = directory / "outcomes.jsonl", directory / "bundle.jsonl"
        rows.write_text("".join(outcomes.lines(session, post.ring, mailing)))
        bundle.write_text("".join(bundles.lines(session, house.settings.safe, post.ring)))
    return rows, bundle, list(checkpoints.keys(post.ring))


def checked(rows: Path, bundle: Path, keys: list[str]) -> verify_mailing.Report:
    return verify_mailing.check(str(rows), str(bundle), verify_ledger.read_keys(keys))


def test_a_thousand_mails_were_permitted_each(post: Post, tmp_path: Path) -> None:
    """With noes, refusals and second tries among them; and with one grant taken out of the ledger it holds no more."""
    script = (
        dict.fromkeys(range(10, 40), "rcpt:450") | dict.fromkeys(range(50, 60), "dot:550") | {70: "drop:dot"}
    )
    announcement = sent(post, PEOPLE + 30, script, noes=12)
    rows, bundle, keys = written(post, announcement, tmp_path)
    found = checked(rows, bundle, keys)
    assert found.holds, (found.fault, found.position)
    assert found.permitted >= PEOPLE
    assert found.outcomes >= PEOPLE + 60
    assert verify_mailing.in_words(found).startswith("The mailing holds: ")

    lines = bundle.read_text().splitlines(keepends=True)
    grants = [n for n, line in enumerate(lines) if '"kind": "consent.given"' in line]
    bundle.write_text("".join(line for n, line in enumerate(lines) if n != grants[len(grants) // 2]))
    assert checked(rows, bundle, keys).fault == "missing"


@pytest.fixture
def small(post: Post, tmp_path: Path) -> tuple[Path, Path, list[str]]:
    return written(post, sent(post, 12, {3: "rcpt:450", 5: "dot:550"}, noes=2), tmp_path)


def change(rows: list[Row], n: int, **values: Any) -> None:
    rows[n] |= values


BROKEN: dict[str, tuple[str, Callable[[list[Row]], Any]]] = {
    "another state": ("seal_differs", lambda rows: change(rows, 2, state="skipped", reason="withdrawn")),
    "another reason": ("seal_differs", lambda rows: change(rows, 2, reason="x")),
    "another warrant": ("seal_differs", lambda rows: change(rows, 2, warrant=rows[3]["warrant"])),
    "another message": ("seal_differs", lambda rows: change(rows, 2, message_id="<x@example.org>")),
    "one is gone": ("outcome_missing", lambda rows: rows.pop(2)),
    "one more": ("not_sealed", lambda rows: rows.append(rows[-1] | {"pos": 99})),
    "a try more": ("not_sealed", lambda rows: rows.append(rows[-1] | {"attempt": 9})),
    "twice": ("unreadable", lambda rows: rows.append(rows[-1])),
    "no number": ("unreadable", lambda rows: change(rows, 0, pos="1")),
}


def test_whatever_is_changed_is_named(small: tuple[Path, Path, list[str]]) -> None:
    rows, bundle, keys = small
    assert checked(rows, bundle, keys).holds
    head, *lines = map(json.loads, rows.read_text().splitlines())
    for name, (word, spoil) in BROKEN.items():
        told = [dict(line["outcome"]) for line in lines]
        spoil(told)
        rows.write_text(
            "".join(json.dumps(one) + "\n" for one in (head, *({"outcome": row} for row in told)))
        )
        assert checked(rows, bundle, keys).fault == word, name


def test_a_mail_to_somebody_else_is_seen(small: tuple[Path, Path, list[str]]) -> None:
    """The seal knows nobody's id; the warrant does."""
    rows, bundle, keys = small
    head, *lines = map(json.loads, rows.read_text().splitlines())
    who = next(line["outcome"] for line in lines if line["outcome"]["state"] == "sent")
    who["person"] = "p_somebody"
    rows.write_text("".join(json.dumps(one) + "\n" for one in (head, *lines)))
    found = checked(rows, bundle, keys)
    assert (found.fault, found.position) == ("not_permitted", who["pos"])


@pytest.fixture
def no_second_gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Sabotage: at the claim everybody is let through."""
    with monkeypatch.context() as patch:
        patch.setattr(queries.preferences, "refusal", lambda *given: cast(null(), String))
        queries._standing.cache_clear()
        yield
    queries._standing.cache_clear()


def test_a_gate_that_lets_a_no_through_is_seen(post: Post, tmp_path: Path, no_second_gate: None) -> None:
    """What the sender then does is on record and sealed, and that is no proof of permission."""
    found = checked(*written(post, sent(post, 6, noes=1), tmp_path))
    assert (found.fault, found.holds) == ("not_permitted", False)


def _known(post: Post, basis: str, *, years: int) -> None:
    """Somebody of whom an import said something so long ago, with that label."""
    then = clock.now() - timedelta(days=366 * years)
    at = (then - timedelta(days=3)).isoformat()
    said = {"topic": "new-products", "given": True, "source": "list", "evidence": {"at": at}}
    said |= {"confirmed": {"at": at, "method": "list"}}
    one = Registration("old", "old@example.org", "en", None, None, {"country": "us"}, [said], attested=False)
    with transaction(post.engine) as session:
        facts = look_up(session, then, Transfer("i_1", False, {"new-products": basis}))
        told = {"attest": True, "topics": None, "now": then, "by": "cli", "facts": facts}
        [answer] = register_many(session, post.ring, "old", [one], **told)  # type: ignore[arg-type]
        assert isinstance(answer, Registered)


@pytest.mark.parametrize(("basis", "years"), [("legacy_registration", 1), ("implied_purchase", 3)])
def test_a_gate_that_takes_a_label_or_what_is_over_for_a_yes_is_seen(
    post: Post, tmp_path: Path, no_second_gate: None, basis: str, years: int
) -> None:
    _known(post, basis, years=years)
    found = checked(*written(post, sent(post, 3), tmp_path))
    assert (found.fault, found.holds) == ("not_permitted", False)


def test_what_a_purchase_permits_in_its_time_holds(post: Post, tmp_path: Path) -> None:
    _known(post, "implied_purchase", years=1)
    found = checked(*written(post, sent(post, 3), tmp_path))
    assert (found.holds, found.permitted) == (True, 4)


def test_whom_a_cancelled_mailing_left_out_is_sealed_too(post: Post, tmp_path: Path) -> None:
    post.sign_up(30)
    announcement, now = post.announce(post.house(9)), clock.now()
    with transaction(post.engine) as session:
        announcements.cancel(session, announcement, now=now, by="cli")
    jobs.settle(post.house(9), now)
    rows, bundle, keys = written(post, announcement, tmp_path)
    found = checked(rows, bundle, keys)
    assert (found.holds, found.outcomes, found.permitted) == (True, 30, 0)
    rows.write_text(rows.read_text().replace('"cancelled"', '"expired"', 1))
    assert checked(rows, bundle, keys).fault == "seal_differs"


def test_a_no_taken_back_permits_what_comes_after(post: Post, tmp_path: Path) -> None:
    """The warrant is the old yes, and the entry that brings it back says so."""
    post.sign_up(2)
    link = post.stop_link("u1")
    with transaction(post.engine) as session:
        stopped = preferences.stop(session, post.ring, link, how="link", evidence={}, now=clock.now())
    with transaction(post.engine) as session:
        assert stopped.undo is not None
        assert preferences.undo(session, stopped.undo, now=clock.now())
    announcement = sent(post, 1)
    found = checked(*written(post, announcement, tmp_path))
    assert (found.holds, found.permitted) == (True, 3)


def _laid(post: Post, who: str, what: str) -> None:
    """What lies over somebody whatever they agreed to: they are restricted, barred by law, or objected to advertising."""
    with transaction(post.engine) as session:
        identity = people.identity(session, "site", who)
        assert identity is not None
        person, now = session.get_one(Person, identity.person_id), clock.now()
        by = f"person:{person.public_id}"
        if what == "restricted":
            rights.restrict(session, person, how="me", now=now, by=by)
        elif what == "lifted":
            rights.lift_restriction(session, person, how="me", now=now, by=by)
        elif what == "barred":
            rights.bar(session, person, reason="an order", now=now, by="staff:s_1")
        else:
            rights.object_to_marketing(session, post.ring, person, Said("objection", "me"), now=now, by=by)


def _posted(post: Post, start: Callable[[Any], str]) -> str:
    """Something begun, and sent to the end."""
    begun = start(post.house(9))

    async def run() -> None:
        async with Sink(SinkSettings()) as sink:
            await asyncio.wait_for(send_all(post, post.house(sink.port)), 60)

    asyncio.run(run())
    return begun


@pytest.mark.parametrize("what", ["restricted", "barred"])
def test_a_gate_that_lets_the_restricted_or_the_barred_through_is_seen(
    post: Post, tmp_path: Path, no_second_gate: None, what: str
) -> None:
    def begun(house: Any) -> str:
        announcement = post.announce(house)
        _laid(post, "u1", what)
        return announcement

    post.sign_up(3)
    found = checked(*written(post, _posted(post, begun), tmp_path))
    assert (found.fault, found.holds) == ("not_permitted", False)


def test_who_used_their_data_again_and_who_wants_no_advertising_get_what_the_gate_lets_through(
    post: Post, tmp_path: Path
) -> None:
    """An announcement after the lifting; and an important notice, which an objection to advertising does not stop."""
    post.sign_up(3)
    for what in ("restricted", "lifted"):
        _laid(post, "u0", what)
    _laid(post, "u1", "objected")
    _laid(post, "u2", "restricted")
    found = checked(*written(post, _posted(post, post.announce), tmp_path))
    assert (found.holds, found.permitted) == (True, 1), found
    found = checked(*written(post, _posted(post, post.warn), tmp_path))
    assert (found.holds, found.permitted) == (True, 2), found


def test_who_moved_to_a_mailbox_that_a_site_has_had_confirmed_waits_for_no_button(
    post: Post, tmp_path: Path
) -> None:
    """Their mails go to the new one at once, and are permitted."""
    post.sign_up(2)
    at = clock.now().isoformat()
    said = {"topic": "new-products", "given": True, "source": "shop", "evidence": {"at": at}}
    said |= {"confirmed": {"at": at, "method": "own mail"}}
    moved = Registration("u1", "u1@example.com", "en", None, None, None, [said])
    told: dict[str, Any] = {"attest": True, "topics": None, "now": clock.now(), "by": "cli"}
    with transaction(post.engine) as session:
        [answer] = register_many(session, post.ring, "site", [moved], **told)
        assert isinstance(answer, Registered)
    found = checked(*written(post, _posted(post, post.announce), tmp_path))
    assert (found.holds, found.permitted) == (True, 2), found


@pytest.mark.parametrize("what", ["withdrawn", "restricted", "cancelled"])
def test_a_doubt_that_outlives_a_no_is_no_breach(post: Post, tmp_path: Path, what: str) -> None:
    """Nobody knows whether the first try arrived; the second did not leave, and says so by its reason or its seal."""

    def act(house: Any, announcement: str) -> None:
        if what == "restricted":
            _laid(post, "u0", "restricted")
        else:
            say_no(post, "u0")
        if what == "cancelled":
            with transaction(post.engine) as session:
                announcements.cancel(session, announcement, now=clock.now(), by="cli")
            while jobs.settle(house, clock.now()):
                pass
            with post.engine.begin() as connection:
                connection.execute(text("UPDATE batch SET state = 'closed' WHERE state = 'open'"))
        else:
            _due_now(post)

    rows, bundle, keys = written(post, asyncio.run(_between(post, act)), tmp_path)
    found = checked(rows, bundle, keys)
    assert (found.holds, found.outcomes, found.permitted) == (True, 2, 1), found
