"""The key ring's file and what its keys close (H80, standards K6)."""

import json
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from service.kit import sealing
from service.kit.signing import KeyFileRefused, Keyring, load_or_make


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
    assert new.newest == 2
    assert new.derive("link") != old.derive("link")


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
