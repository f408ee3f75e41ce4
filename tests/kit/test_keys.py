"""The key ring's file and what its keys close (H80, standards K6)."""

import json
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from service.kit import keyfile, sealing
from service.kit.signing import Key, KeyFileRefused, Keyring, load, load_or_make, text_of
from tests.stack import until


def test_the_file_is_made_once_and_read_by_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "secret.key"
    ring = load_or_make(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o400
    assert load_or_make(path) == ring
    assert len(ring.secrets[1]) == 32
    assert [one.name for one in path.parent.iterdir()] == ["secret.key"]


def test_processes_starting_together_share_one(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        rings = list(pool.map(lambda _: load_or_make(tmp_path / "secret.key"), range(24)))
    assert len({ring.secrets[1] for ring in rings}) == 1


@pytest.mark.parametrize("mode", [0o444, 0o640, 0o604, 0o666])
def test_rel_h80_a_file_others_can_read_is_refused_with_the_way_to_mend_it(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "secret.key"
    load_or_make(path)
    path.chmod(mode)
    with pytest.raises(KeyFileRefused, match="chmod 0400"):
        load_or_make(path)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{}",
        "[]",
        '{"keys": [], "installation": "i"}',
        '{"keys": [{"id": 0, "secret": "00"}], "installation": "i"}',
    ]
    + [
        json.dumps({"keys": [{"id": n, "secret": s}], "installation": "i"})
        for n, s in ((256, "00" * 32), (1, "00" * 31), (1, "xx"))
    ]
    + [json.dumps({"keys": [{"id": 1, "secret": "00" * 32}]})],
)
def test_rel_h80_a_damaged_file_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "secret.key"
    path.write_text(content)
    path.chmod(0o400)
    with pytest.raises(KeyFileRefused, match="damaged"):
        load_or_make(path)


def test_lookup_and_message_keys_outlive_every_rotation() -> None:
    """Else a no would be forgotten, and a retry would carry another Message-ID."""
    old, new = Keyring({1: b"a" * 32}, "i"), Keyring({1: b"a" * 32, 2: b"b" * 32}, "i")
    assert (old.lookup_key, old.message_key, old.house_key) == (
        new.lookup_key,
        new.message_key,
        new.house_key,
    )
    assert list(new.link_keys) == [2, 1], "the newest signs"
    assert new.link_keys[1] == old.link_keys[1] != new.link_keys[2]


def test_what_is_sealed_opens_at_its_own_place_with_its_own_key_only() -> None:
    key = sealing.new_key()
    closed = sealing.seal(key, b"ana", "a|1")
    assert sealing.unseal(key, closed, "a|1") == b"ana"
    assert sealing.seal(key, b"ana", "a|1") != closed
    for wrong_key, cipher, place in (
        (sealing.new_key(), closed, "a|1"),
        (key, closed, "a|2"),
        (key, closed[:-1] + bytes([closed[-1] ^ 1]), "a|1"),
        (key, closed[:20], "a|1"),
        (key, b"", "a|1"),
        (key, b"\x02" + closed[1:], "a|1"),
        (key, b"\x01", "a|1"),
    ):
        with pytest.raises(sealing.Unsealable):
            sealing.unseal(wrong_key, cipher, place)


# --- when the kinds have parted ---


def test_kinds_that_part_keep_every_key_they_had(tmp_path: Path) -> None:
    old = Keyring({1: b"a" * 32, 3: b"b" * 32}, "i")
    path = tmp_path / "secret.key"
    keyfile.replace(path, old.split())
    new = load(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o400
    assert new.secrets == {}
    for name in ("lookup_key", "message_key", "house_key", "link_keys", "wrap_keys"):
        assert getattr(new, name) == getattr(old, name), name
    assert list(new.link_keys) == [3, 1]
    for purpose in ("me", "flash"):
        assert new.session_keys(purpose) == old.session_keys(purpose)
    assert [key.public_bytes_raw() for key in new.checkpoint_public] == [
        key.public_bytes_raw() for key in old.checkpoint_public
    ]
    assert (list(new.checkpoint_keys), new.marks()) == ([3], old.marks())
    assert (b"a" * 32).hex() not in path.read_text(), "what all of them were derived of is gone"


@pytest.mark.parametrize(
    "harm",
    [
        lambda rows: rows.pop(0),
        lambda rows: rows.append(dict(rows[0])),
        lambda rows: rows[0].update(id=0),
        lambda rows: rows[0].update(id=256),
        lambda rows: rows[0].update(secret="00"),
        lambda rows: rows[0].update(kind="other"),
        lambda rows: rows[0].update(state="lost"),
        lambda rows: rows[0].update(state="former"),
        lambda rows: rows[0].update(state="retired"),
    ],
)
def test_rel_h80_a_damaged_file_of_parted_kinds_is_refused(
    tmp_path: Path, harm: Callable[[list[dict[str, object]]], object]
) -> None:
    path = tmp_path / "secret.key"
    data = json.loads(text_of(Keyring({1: b"a" * 32}, "i").split()))
    harm(data["keys"])
    path.write_text(json.dumps(data))
    path.chmod(0o400)
    with pytest.raises(KeyFileRefused, match="damaged"):
        load(path)


def test_rel_f34_an_idle_process_has_read_a_later_ring_before_the_file_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "secret.key"
    live = keyfile.Live(path, load_or_make(path))
    keyfile.watch(lambda: live.ring)
    more = Key("link", 2, "waiting", b"n" * 32)
    keyfile.replace(path, Keyring({}, live.ring.installation, (*live.ring.split().keys, more)))
    until("it has looked", lambda: 2 in live._ring.link_keys)
    path.unlink()
    assert list(live.ring.link_keys) == [1, 2]


def test_rel_f34_a_running_process_takes_a_later_ring_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "secret.key"
    live = keyfile.Live(path, load_or_make(path))
    first = live.ring
    assert live.ring is first
    more = Key("link", 2, "waiting", b"n" * 32)
    later = Keyring({}, first.installation, (*first.split().keys, more))
    keyfile.replace(path, later)
    assert list(live.ring.link_keys) == [1, 2]
    kept = live.ring
    for harm in (
        path.unlink,
        lambda: path.write_text("not one"),
        lambda: path.chmod(0o644),
        lambda: keyfile.replace(path, Keyring({1: b"o" * 32}, "other")),
        lambda: keyfile.replace(path, Keyring({1: b"o" * 32}, first.installation)),
        lambda: keyfile.replace(path, first),
    ):
        harm()
        assert live.ring is kept
    keyfile.replace(path, later)
    assert live.ring.marks() == kept.marks()
