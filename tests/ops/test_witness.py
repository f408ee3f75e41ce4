"""The witness remembers: a smaller head, another past and a strange key are refused, and its memory stays as it was."""

import json
from pathlib import Path

import pytest
from sqlalchemy import delete
from sqlmodel import col

from scheduler import jobs
from service.db.session import transaction
from service.domain.brands import actions as brands
from service.domain.ledger import checkpoints
from service.domain.ledger.tables import Checkpoint, LedgerEntry
from service.kit import clock, merkle, notes
from service.kit.errors import DomainError
from service.kit.signing import Keyring
from service.ops import witness
from service.ops.house import House
from tests import checks


def _more(house: House, cap: int) -> None:
    with transaction(house.engine) as session:
        brands.set_setting(session, "weekly_cap", cap, now=clock.now(), by="cli")
    jobs.checkpoint(house, clock.now())


def _key(house: House) -> list[str]:
    return list(checkpoints.keys(house.ring))


def test_it_follows_a_ledger_that_grows(house: House, tmp_path: Path) -> None:
    state = tmp_path / "seen.json"
    with pytest.raises(witness.NothingSigned):
        witness.watch(state, witness.from_house(house), _key(house))
    _more(house, 2)
    first = witness.watch(state, witness.from_house(house), _key(house))
    assert first.came is None
    assert witness.watch(state, witness.from_house(house), []).came == 0, "the key is remembered"
    _more(house, 3)
    _more(house, 4)
    assert witness.watch(state, witness.from_house(house), []).came == 2


def test_it_trusts_no_key_that_it_was_not_given(house: House, tmp_path: Path) -> None:
    _more(house, 2)
    state = tmp_path / "seen.json"
    for keys in ([], ["nonsense"], [_key(house)[0] + "x"]):
        with pytest.raises(witness.KeyMissing):
            witness.watch(state, witness.from_house(house), keys)
    other = Keyring({1: b"o" * 32}, house.ring.installation)
    with pytest.raises(witness.HeadBadlySigned):
        witness.watch(state, witness.from_house(house), list(checkpoints.keys(other)))
    assert not state.exists()


def test_it_refuses_a_smaller_head_and_keeps_its_memory(house: House, tmp_path: Path) -> None:
    state = tmp_path / "seen.json"
    _more(house, 2)
    _more(house, 3)
    seen = witness.watch(state, witness.from_house(house), _key(house))
    kept = state.read_bytes()
    with transaction(house.engine) as session:
        session.execute(delete(Checkpoint).where(col(Checkpoint.size) == seen.head.size))
    with pytest.raises(witness.HeadSmaller):
        witness.watch(state, witness.from_house(house), [])
    assert state.read_bytes() == kept


@pytest.mark.parametrize("larger", [False, True])
def test_it_refuses_another_past_even_rightly_signed(house: House, tmp_path: Path, larger: bool) -> None:
    """Database, files outside and key in one hand: cut off, written another way, signed again."""
    state = tmp_path / "seen.json"
    _more(house, 2)
    seen = witness.watch(state, witness.from_house(house), _key(house))
    with transaction(house.engine) as session:
        checks.without_guards(session.connection())
        session.execute(delete(LedgerEntry).where(col(LedgerEntry.seq) == seen.head.size))
        session.execute(delete(Checkpoint))
    (house.settings.safe / checkpoints.NAME).unlink()
    _more(house, 5)
    if larger:
        _more(house, 6)
    kept = state.read_bytes()
    with pytest.raises(witness.HeadInconsistent):
        witness.watch(state, witness.from_house(house), [])
    assert state.read_bytes() == kept


def test_it_refuses_proofs_that_are_none(house: House, tmp_path: Path) -> None:
    state = tmp_path / "seen.json"
    _more(house, 2)
    witness.watch(state, witness.from_house(house), _key(house))
    _more(house, 3)
    honest = witness.from_house(house)
    for spoil in (lambda path: [], lambda path: [*path, "a" * 64], lambda path: path[1:], lambda path: ["x"]):
        with pytest.raises(witness.HeadInconsistent):
            witness.watch(state, lambda since, spoil=spoil: (honest(since)[0], spoil(honest(since)[1])), [])
    assert witness.watch(state, honest, []).came == 1


def test_another_installation_under_the_same_key_is_another(house: House, tmp_path: Path) -> None:
    state = tmp_path / "seen.json"
    _more(house, 2)
    witness.watch(state, witness.from_house(house), _key(house))
    private = house.ring.checkpoint_keys[1]
    name = "bidden/another"
    note = notes.signed(notes.Head(name, 10**6, merkle.EMPTY, 1), private)
    with pytest.raises((witness.HeadInconsistent, witness.HeadBadlySigned)):
        witness.watch(
            state, lambda since: (note, []), [*_key(house), notes.written(name, private.public_key())]
        )


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", json.dumps({"note": 5}), json.dumps({"keys": []}), "\0", "[" * 10**5,
     '{"note": "x", "keys": 5}', '{"note": "x", "keys": [5]}', '{"note": "x", "keys": null}', '{"note": "x", "keys": [[]]}']
)  # fmt: skip
def test_a_memory_that_is_none_is_said(house: House, tmp_path: Path, text: str) -> None:
    state = tmp_path / "seen.json"
    state.write_text(text)
    with pytest.raises(witness.StateUnreadable):
        witness.watch(state, witness.from_house(house), [])
    with pytest.raises(DomainError):
        witness.watch(state, witness.from_house(house), _key(house))


@pytest.mark.parametrize(
    "url",
    ["http://example.org", "ftp://example.org", "file:///etc/passwd", "", "https:///x",
     "http://localhost.example.org", "http://127.example.org", "http://localhost@example.org", "http://127.0.0.1:80@example.org"]
)  # fmt: skip
def test_it_asks_over_https_only(url: str) -> None:
    with pytest.raises(witness.SourceAway):
        witness.from_url(url, "")
