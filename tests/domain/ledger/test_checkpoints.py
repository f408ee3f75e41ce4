"""Signed heads: what is kept of the tree leads to them, they are written outside, and a database is held against them (P4)."""

import json
from datetime import datetime
from pathlib import Path

import pytest
from sqlalchemy import delete, event, text, update
from sqlalchemy.engine import Engine
from sqlmodel import Session, col

from service.db.session import reading, transaction
from service.domain.ledger import actions, bundles, checkpoints, queries, tree
from service.domain.ledger.tables import Checkpoint, LedgerEntry, LedgerNode
from service.kit import merkle, notes
from service.kit.signing import Keyring
from tests import checks

OTHER = Keyring({1: b"o" * 32}, "0011223344556677")


def fill(engine: Engine, now: datetime, count: int) -> None:
    with transaction(engine) as session:
        for n in range(count):
            actions.append(session, "note.made", subject=f"s{n}", body={"n": n}, by="system", now=now)


def grow(engine: Engine) -> int:
    """Keep every subtree there is; how many."""
    kept = 0
    while True:
        with reading(engine) as session:
            rows = tree.unkept(session)
        if not rows:
            return kept
        with transaction(engine) as session:
            tree.keep(session, rows)
        kept += len(rows)


def sign(engine: Engine, ring: Keyring, now: datetime) -> notes.Head | None:
    grow(engine)
    with transaction(engine) as session:
        return checkpoints.sign(session, ring, now=now)


def leaves(session: Session) -> list[str]:
    return [one.hash for one, _ in queries.stored(session)]


def test_what_is_kept_of_seventy_thousand_leads_to_the_same_heads_and_proofs(
    engine: Engine, now: datetime
) -> None:
    with reading(engine) as session:
        seeded = queries.tail(session)[0]
    for _ in range(14):
        fill(engine, now, 5_000)
    size = seeded + 70_000
    assert grow(engine) == size // 256 + 1
    assert grow(engine) == 0
    with reading(engine) as session:
        hashes, node = leaves(session), tree.Tree(session).node
        head = merkle.root(hashes)
        assert node(0, size) == head
        for smaller in (1, 255, 256, 257, 65_535, 65_536, 65_537, size - 1):
            assert node(0, smaller) == merkle.root(hashes[:smaller])
            path = merkle.consistency_path(smaller, size, node)
            assert merkle.consistent(smaller, size, node(0, smaller), head, path)
        for index in (0, 255, 256, 65_535, 65_536, size - 1):
            assert merkle.includes(hashes[index], index, size, merkle.inclusion_path(index, size, node), head)
        asked: list[str] = []
        event.listen(engine, "before_cursor_execute", lambda *about: asked.append(about[2]))
        merkle.inclusion_path(40_000, size, tree.Tree(session).node)
    assert 0 < len(asked) <= 10, "a few hundred hashes in a few questions"


def test_a_head_is_signed_once_and_says_what_the_entries_say(
    engine: Engine, ring: Keyring, now: datetime, tmp_path: Path
) -> None:
    fill(engine, now, 10)
    head = sign(engine, ring, now)
    assert head is not None
    with reading(engine) as session:
        assert head.root == merkle.root(leaves(session))
        assert head.size == queries.tail(session)[0]
        assert checkpoints.latest(session, ring) == head
    assert sign(engine, ring, now) is None
    with reading(engine) as session:
        assert checkpoints.write_out(session, tmp_path) == 1
        assert checkpoints.write_out(session, tmp_path) == 0
        assert checkpoints.verify(session, tmp_path, ring).holds
        assert checkpoints.standing(session, tmp_path, ring).reason is None
    lines = [json.loads(line) for line in (tmp_path / checkpoints.NAME).read_text().splitlines()]
    assert [line["size"] for line in lines] == [head.size]
    assert (tmp_path / checkpoints.NAME).stat().st_mode & 0o077 == 0


def test_nothing_is_signed_over_a_tree_that_is_another(engine: Engine, ring: Keyring, now: datetime) -> None:
    fill(engine, now, 600)
    sign(engine, ring, now)
    with transaction(engine) as session:
        session.execute(update(LedgerNode).where(col(LedgerNode.place) == 1).values(hash="a" * 64))
    fill(engine, now, 1)
    with pytest.raises(checkpoints.TreeDiffers):
        sign(engine, ring, now)


@pytest.mark.parametrize("place", [0, 1])
def test_verify_finds_a_kept_subtree_that_lies(
    engine: Engine, ring: Keyring, now: datetime, tmp_path: Path, place: int
) -> None:
    fill(engine, now, 600)
    sign(engine, ring, now)
    with transaction(engine) as session:
        session.execute(update(LedgerNode).where(col(LedgerNode.place) == place).values(hash="a" * 64))
    with reading(engine) as session:
        verdict = checkpoints.verify(session, tmp_path, ring)
    assert (verdict.fault, verdict.position) == ("node_differs", place * 256 + 1)


def test_a_head_of_another_key_file_is_none(
    engine: Engine, ring: Keyring, now: datetime, tmp_path: Path
) -> None:
    fill(engine, now, 3)
    head = sign(engine, OTHER, now)
    assert head is not None
    with reading(engine) as session:
        verdict = checkpoints.verify(session, tmp_path, ring)
        assert (verdict.fault, verdict.position) == ("badly_signed", head.size)
        with pytest.raises(checkpoints.TreeDiffers):
            checkpoints.latest(session, ring)


def test_an_old_head_holds_after_the_key_file_got_a_new_key(
    engine: Engine, ring: Keyring, now: datetime, tmp_path: Path
) -> None:
    fill(engine, now, 3)
    sign(engine, ring, now)
    rotated = Keyring({**ring.secrets, 2: b"n" * 32}, ring.installation)
    fill(engine, now, 3)
    assert sign(engine, rotated, now) is not None
    with reading(engine) as session:
        checkpoints.write_out(session, tmp_path)
        assert checkpoints.verify(session, tmp_path, rotated).holds
        assert checkpoints.verify(session, tmp_path, ring).fault == "badly_signed"
    assert len(checkpoints.keys(rotated)) == 2


def _cut(engine: Engine, above: int) -> None:
    """Take entries off the end, as only somebody with the database in hand can."""
    with transaction(engine) as session:
        checks.without_guards(session.connection())
        session.execute(delete(LedgerEntry).where(col(LedgerEntry.seq) > above))


def test_a_database_behind_what_was_signed_outside_is_told(
    engine: Engine, ring: Keyring, now: datetime, tmp_path: Path
) -> None:
    fill(engine, now, 15)
    fill(engine, now, 5)
    head = sign(engine, ring, now)
    assert head is not None
    with reading(engine) as session:
        checkpoints.write_out(session, tmp_path)
    _cut(engine, head.size - 5)
    with transaction(engine) as session:
        session.execute(delete(Checkpoint))
    with reading(engine) as session:
        assert checkpoints.standing(session, tmp_path, ring) == checkpoints.Standing(
            "behind", head.size - 5, head.size
        )
        verdict = checkpoints.verify(session, tmp_path, ring)
    assert (verdict.fault, verdict.position) == ("cut_off", head.size - 4)
    fill(engine, now, 5)
    with reading(engine) as session:
        assert checkpoints.standing(session, tmp_path, ring).reason is None, "the same entries again"
    _cut(engine, head.size - 5)
    with transaction(engine) as session:
        for _ in range(7):
            actions.append(session, "note.made", subject="x", body={}, by="system", now=now)
    with reading(engine) as session:
        assert checkpoints.standing(session, tmp_path, ring).reason == "differs"


@pytest.mark.parametrize(
    "line", [b"{}\n", b"[1]\n", b'{"size": 3, "note": 5}\n', b"nonsense\n", b'{"size": 1}\n']
)
def test_a_damaged_file_outside_is_told(
    engine: Engine, ring: Keyring, now: datetime, tmp_path: Path, line: bytes
) -> None:
    fill(engine, now, 3)
    (tmp_path / checkpoints.NAME).write_bytes(line)
    with reading(engine) as session:
        assert checkpoints.standing(session, tmp_path, ring).reason == "unreadable"
        assert checkpoints.verify(session, tmp_path, ring).fault == "badly_signed"


def test_a_torn_last_line_never_counted(engine: Engine, ring: Keyring, now: datetime, tmp_path: Path) -> None:
    fill(engine, now, 3)
    sign(engine, ring, now)
    with reading(engine) as session:
        checkpoints.write_out(session, tmp_path)
        whole = (tmp_path / checkpoints.NAME).read_bytes()
        (tmp_path / checkpoints.NAME).write_bytes(whole + whole[: len(whole) // 2])
        assert checkpoints.standing(session, tmp_path, ring).reason is None
        assert checkpoints.write_out(session, tmp_path) == 0
    assert (tmp_path / checkpoints.NAME).read_bytes() == whole


def test_proofs_of_entries(engine: Engine, ring: Keyring, now: datetime) -> None:
    fill(engine, now, 300)
    with reading(engine) as session, pytest.raises(bundles.NotSignedYet):
        bundles.proof(session, [1], ring)
    head = sign(engine, ring, now)
    assert head is not None
    with reading(engine) as session:
        found = bundles.proof(session, [2, head.size], ring)
        assert notes.opened(found["checkpoint"], checkpoints.keys(ring)) == head
        for seq, one in zip([2, head.size], found["entries"], strict=True):
            leaf = queries.entry(session, seq)
            assert leaf is not None
            assert one["text"] == leaf.entry
            assert merkle.includes(leaf.hash, seq - 1, head.size, one["path"], head.root)
        with pytest.raises(bundles.EntryUnknown):
            bundles.proof(session, [head.size + 1], ring)
    fill(engine, now, 1)
    with reading(engine) as session, pytest.raises(bundles.NotSignedYet):
        bundles.proof(session, [head.size + 1], ring)


def test_two_clocks_sign_one_head(engine: Engine, ring: Keyring, now: datetime) -> None:
    """Both have seen that nothing is signed yet; the second finds the first one's."""
    fill(engine, now, 300)
    with reading(engine) as one, reading(engine) as other:
        assert [row.place for row in tree.unkept(one)] == [row.place for row in tree.unkept(other)] != []
        rows = tree.unkept(one)
    for _ in range(2):
        with transaction(engine) as session:
            tree.keep(session, rows)
    assert sign(engine, ring, now) is not None
    assert sign(engine, ring, now) is None
    with reading(engine) as session:
        assert session.execute(text("SELECT count(*) FROM checkpoint")).scalar() == 1
