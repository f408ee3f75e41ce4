"""What goes wrong around a rotation: processes killed in its midst, rings that differ between machines, a ring that is too old
for its database, files that cannot be replaced, and rings that processes have in memory."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy.engine import Engine
from sqlmodel import col, update

from scheduler import jobs
from service.db.session import reading, transaction
from service.domain.ledger import queries as ledger
from service.domain.people import queries as people
from service.domain.people.tables import Person
from service.kit import clock, keyfile, signing
from service.kit.signing import Key, KeyFileRefused, Keyring
from service.ops import backup, doctor, drill, ring, ring_copies, ring_fits
from service.ops.house import House
from tests.ops.test_ops_backup import _postgres_tools  # noqa: F401 - a fixture that is always there
from tests.ops.test_ring import BY, Place, everybody, head, installed, masters, opens, sign_up, sign_up_one


@pytest.fixture
def place(engine: Engine, database_url: str, tmp_path: Path) -> Place:
    return installed(engine, database_url, tmp_path)


def acts(place: Place) -> list[str]:
    with reading(place.house.engine) as session:
        return [one.kind.removeprefix("ring.") for one in ledger.of_kinds(session, ring_fits.KINDS)]


def elsewhere(place: Place, name: str = "elsewhere") -> Place:
    """A second machine on the same database, with a copy of the key file as it is now."""
    settings = place.house.settings.model_copy(update={"secret_key_file": place.away / name / "secret.key"})
    keyfile.replace(settings.key_file, place.file)
    live = keyfile.Live(settings.key_file, signing.load(settings.key_file))
    return Place(House(settings, place.house.engine, live), place.away / f"{name}-backups")


# --- killed in the midst ---

# Run in a process of its own, which kills itself at a step of the operating system's: as the finished draft is about to take the
# file's place (1), and as the directory is about to be made durable (2), which is before the entry's commit.
KILLED = """
import os, signal, sys
from service.cli.main import app
at, seen = sys.argv.pop(1), []
def hook(event, said):
    if event == "os.rename" and str(said[1]).endswith("secret.key"):
        seen.append(event)
        if at == "before":
            os.kill(os.getpid(), signal.SIGKILL)
    if event == "open" and seen:
        os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(hook)
app()
"""


def killed(place: Place, at: str, *words: str) -> None:
    settings = place.house.settings
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("BIDDEN_")},
        "BIDDEN_DATA_DIR": str(settings.data_dir),
        "BIDDEN_DATABASE_URL": settings.database,
        "BIDDEN_SMTP_URL": "",
    }
    command = [sys.executable, "-c", KILLED, at, "ring", *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL, done.stdout + done.stderr
    place.house.look()


STEPS = (
    ("new", "master"),
    ("use", "master"),
    ("retire", "master", "1", "--copies-gone"),
    ("retire", "signing", "1", "--handed-on"),
)


@pytest.mark.parametrize("at", ["before", "after"])
def test_rel_f34_whatever_step_is_killed_the_ring_is_whole_and_goes_on(place: Place, at: str) -> None:
    """Each step is killed once, then done again where the file says that it was not done. Nothing of anybody is lost, the ring
    fits the database throughout, and no draft with keys in it stays."""
    sign_up(place, 5)
    place.rotate("signing")
    head(place.house)
    for words in STEPS:
        if words[0] == "use":
            place.back_up("-".join((*words, "kept")))
        if words[:2] == ("retire", "master"):
            assert ring.rewrap(place.house, now=clock.now()).left == {}
        before = place.file.marks(), place.file.used()
        killed(place, at, *words)
        assert opens(place.house, place.file) == 5
        with reading(place.house.engine) as session:
            assert ring_fits.standing(session, place.file) is None, words
        changed = (place.file.marks(), place.file.used()) != before
        assert changed == (at == "after") or words[0] == "retire", words
        if at == "before":
            again(place, *words)
        jobs.tend_ring(place.house, clock.now())
    assert place.file.used() == {**signing_defaults(), "master": 2, "signing": 2}
    assert list(place.file.wrap_keys) == [2]
    with reading(place.house.engine) as session:
        last = ring_fits.last_said(session)
    assert last is not None
    assert last.body["holds"] == place.file.marks(), "the ledger has been told of the ring as it is"
    file = place.house.settings.key_file
    for draft in file.parent.glob(".secret.key.*"):
        assert draft.stat().st_mode & 0o777 == 0o400
        os.utime(draft, (0, 0))  # killed long ago
    ring.new(place.house, "session", now=clock.now(), by=BY)
    left = [one.name for one in file.parent.iterdir() if "secret.key" in one.name]
    assert left == ["secret.key"], "a draft with keys in it would outlive their end"


def signing_defaults() -> dict[str, int]:
    return dict.fromkeys((*signing.ROTATED, *signing.FIXED), 1)


def again(place: Place, *words: str) -> None:
    act, kind = words[:2]
    if act == "retire":
        place.retire(kind, 1, copies_gone=True, handed_on=True)
    else:
        getattr(ring, act)(place.house, kind, now=clock.now(), by=BY)


def test_a_number_never_comes_back_though_its_entry_was_lost(place: Place) -> None:
    """Killed between the file and the entry, the ledger does not know that the key was made; a backup may."""
    made = Key("master", 2, signing.WAITING, b"w" * 32)
    keyfile.replace(
        place.house.settings.key_file, Keyring({}, place.file.installation, (*place.file.split().keys, made))
    )
    place.house.look()
    kept = place.back_up("kept")
    place.retire("master", 2)
    assert ring.new(place.house, "master", now=clock.now(), by=BY).id == 3
    with reading(place.house.engine) as session:
        assert ring_fits.standing(session, place.file) is None
    assert signing.load(kept).of("master")[2].secret == b"w" * 32


# --- rings that are too old ---


def test_a_ring_from_before_a_master_is_older(place: Place, tmp_path: Path) -> None:
    """With it whoever signed up since could not be read, and whoever comes would be wrapped by the former one."""
    older = place.back_up("older")
    place.rotate("master")
    waits = place.away / "master-2"  # from between `new` and `use`
    sign_up(place)
    copy = place.away / "copy"
    backup.backup(place.house, copy)
    for file in (older, waits):
        with reading(place.house.engine) as session:
            assert ring_fits.standing(session, signing.load(file)) == "older", file
        with pytest.raises(ring_fits.RingOlder):
            ring_fits.refuse_unfit(House(place.house.settings, place.house.engine, signing.load(file)))
        with pytest.raises(ring_fits.RingOlder):
            drill.check_fits(signing.load(file), copy)
    kept = place.house.settings.key_file.read_bytes()
    place.house.settings.key_file.unlink()
    for file in (older, waits):
        with pytest.raises(ring_fits.RingOlder):
            ring_copies.restore(place.house.settings, file, replace=True)
    keyfile.replace(place.house.settings.key_file, signing.load(older))
    place.house.look()
    assert place.house.ring.in_use("master").id == 2, "what runs does not go back"
    place.house.settings.key_file.chmod(0o600)
    place.house.settings.key_file.write_bytes(kept)
    place.house.settings.key_file.chmod(0o400)
    place.house.look()
    assert opens(place.house, place.house.ring) == 3


def test_a_machine_with_an_older_file_changes_nothing(place: Place) -> None:
    """What it would say of its own ring would hide from the ledger what the other's has, and it would wrap everybody back."""
    here, there = place, elsewhere(place)
    here.rotate("link")
    here.rotate("master")
    sign_up(here)
    told, file = acts(here), there.file.marks()
    for act in (
        lambda: ring.new(there.house, "session", now=clock.now(), by=BY),
        lambda: there.back_up("older"),
        lambda: ring.rewrap(there.house, now=clock.now()),
        lambda: there.retire("session", 1),
    ):
        with pytest.raises(ring_fits.RingOlder):
            act()
    jobs.tend_ring(there.house, clock.now())
    assert (acts(here), there.file.marks()) == (told, file)
    assert masters(here.house) == {2: 3}
    assert not (there.away / "older").exists()
    assert there.file.used() == signing_defaults()


def test_a_machine_that_has_not_the_new_master_wraps_nobody_back(place: Place) -> None:
    """Its file is from between `new` and `use`: it can open everybody, and has another in use."""
    sign_up(place)
    ring.new(place.house, "master", now=clock.now(), by=BY)
    place.back_up("master-2")
    there = elsewhere(place)
    ring.use(place.house, "master", now=clock.now(), by=BY)
    ring.rewrap(place.house, now=clock.now())
    jobs.tend_ring(there.house, clock.now())
    assert masters(place.house) == {2: 3}


def test_whoever_is_wrapped_by_a_master_that_is_gone_is_told_of(place: Place) -> None:
    """A machine that had not the changed file signed them up after the master was ended here."""
    sign_up(place)
    there = elsewhere(place)
    place.rotate("master")
    ring.rewrap(place.house, now=clock.now())
    kept = place.back_up("both")
    place.retire("master", 1, copies_gone=True)
    sign_up_one(there)
    fresh = House(place.house.settings, place.house.engine, place.file)
    with reading(fresh.engine) as session:
        assert people.unreadable(session, fresh.ring) == {1: 1}
    fact = doctor.persons(fresh)
    assert not fact.ok
    assert "1" in fact.says
    assert "ring restore" in fact.fix
    ring_copies.restore(place.house.settings, kept, replace=False)
    place.house.look()
    jobs.tend_ring(place.house, clock.now())
    assert masters(place.house) == {2: 4}


# --- what processes have in memory ---


def test_a_signing_key_that_was_never_used_can_be_ended_and_processes_go_on_reading(place: Place) -> None:
    before = keyfile.Live(place.house.settings.key_file, place.file)
    assert before.ring is not None
    ring.new(place.house, "signing", now=clock.now(), by=BY)
    assert sorted(before.ring.checkpoint_keys) == [1, 2]
    place.retire("signing", 2)
    place.rotate("link")
    assert before.ring.in_use("link").id == 2, "it took the file"
    assert sorted(before.ring.checkpoint_keys) == [1]


def test_a_master_kept_in_memory_is_not_said_to_be_in_the_ring(place: Place) -> None:
    """The clock of a process that had it says in the ledger what the file holds, not what it remembers."""
    sign_up(place)
    place.rotate("master")
    ring.rewrap(place.house, now=clock.now())
    place.retire("master", 1, copies_gone=True)
    told = acts(place)
    assert 1 in place.house.ring.wrap_keys, "it is remembered"
    for _ in range(2):
        jobs.tend_ring(place.house, clock.now())
    assert acts(place) == told
    with reading(place.house.engine) as session:
        last = ring_fits.last_said(session)
    assert last is not None
    assert list(last.body["holds"]["master"]) == ["2"]


def test_the_clock_wraps_anew_who_came_by_a_master_it_remembers(place: Place) -> None:
    """Somebody signed up in a transaction that had begun with the former one."""
    sign_up(place)
    with_former = place.house.ring
    place.rotate("master")
    ring.rewrap(place.house, now=clock.now())
    place.retire("master", 1, copies_gone=True)
    late = House(place.house.settings, place.house.engine, with_former)
    sign_up_one(Place(late, place.away))
    assert masters(place.house) == {1: 1, 2: 3}
    jobs.tend_ring(place.house, clock.now())
    assert masters(place.house) == {2: 4}


def test_looking_at_the_ring_asks_for_no_file(place: Place) -> None:
    """A sender looks at it for every batch in the midst of its event loop, where a slow disk would hold up every connection."""
    found = place.house.ring
    assert vars(place.house)["ring"] is found, "an attribute, and nothing that is computed"
    more = Key("link", 2, "waiting", b"n" * 32)
    keyfile.replace(
        place.house.settings.key_file, Keyring({}, found.installation, (*found.split().keys, more))
    )
    assert place.house.ring is found
    assert list(place.house.look().link_keys) == [1, 2]
    assert list(place.house.ring.link_keys) == [1, 2]


# --- files ---


def test_a_file_whose_mode_alone_was_mended_is_taken_up(place: Place) -> None:
    """`chmod` is what the refusal says to do, and changes neither content nor date."""
    path = place.house.settings.key_file
    live = keyfile.Live(path, place.file)
    later = Keyring(
        {}, place.file.installation, (*place.file.split().keys, Key("link", 2, "waiting", b"n" * 32))
    )
    keyfile.replace(path, later)
    path.chmod(0o444)
    assert list(live.ring.link_keys) == [1]
    path.chmod(0o400)
    assert list(live.ring.link_keys) == [1, 2]


def test_a_key_file_that_is_a_link_is_replaced_where_it_points(place: Place, tmp_path: Path) -> None:
    path, disk = place.house.settings.key_file, tmp_path / "disk" / "ring"
    disk.parent.mkdir()
    path.rename(disk)
    path.symlink_to(disk)
    ring.new(place.house, "link", now=clock.now(), by=BY)
    assert path.is_symlink()
    assert 2 in signing.load(disk).link_keys


def test_a_key_file_that_cannot_be_replaced_changes_nothing_and_says_so(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A single file mounted into a container can be written and not replaced."""
    before = place.house.settings.key_file.read_bytes()

    def refused(*_: object) -> None:
        raise OSError(16, "Device or resource busy")

    monkeypatch.setattr(Path, "replace", refused)
    with pytest.raises(keyfile.KeyFileNotReplaced):
        ring.new(place.house, "link", now=clock.now(), by=BY)
    with pytest.raises(keyfile.KeyFileNotReplaced):
        place.back_up("kept")
    monkeypatch.undo()
    assert place.house.settings.key_file.read_bytes() == before
    assert acts(place) == []
    assert [one.name for one in place.house.settings.key_file.parent.glob(".secret.key*")] == []
    assert list(place.away.iterdir()) == [], "an empty backup would be taken for one"


def test_a_backup_goes_to_a_stick_that_knows_no_hard_links(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    kept = place.back_up("kept")
    monkeypatch.undo()
    assert signing.load(kept).marks() == place.file.marks()
    assert [one.name for one in kept.parent.iterdir()] == ["kept"]


# --- nothing says a key ---


def test_nothing_that_is_printed_holds_a_key(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    """Rings are in the frames of errors and in what tests and debuggers print."""
    ring.new(place.house, "link", now=clock.now(), by=BY)
    place.back_up("kept")
    ring.use(place.house, "link", now=clock.now(), by=BY)
    path = place.house.settings.key_file
    path.chmod(0o600)
    path.write_text(path.read_text()[:-9])
    path.chmod(0o400)
    place.house.look()
    with pytest.raises(KeyFileRefused) as refused:
        signing.load(path)
    unparted = Keyring({1: b"k" * 32}, "i")
    said = [
        repr(place.house.ring),
        repr(place.house.ring.keys),
        repr(unparted),
        caplog.text,
        repr(refused.value),
    ]
    with reading(place.house.engine) as session:
        said += [one.entry for one in ledger.of_kinds(session, ring_fits.KINDS)]
    secrets = [key.secret for key in (*place.house.ring.keys, *unparted.keys)] + [b"k" * 32]
    for text in said:
        assert not [one for one in secrets if one.hex() in text or repr(one)[2:-1] in text]


@pytest.mark.parametrize(
    "text",
    ['{"installation": "i", "keys": ["a"]}', "[]", '{"version": 2, "installation": "i", "keys": {"a": 1}}', "[" * 100_000,
     '{"installation": "i", "keys": [{"id": 1e999, "secret": "00"}]}'],
)  # fmt: skip
def test_rel_h80_every_shape_of_a_damaged_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "secret.key"
    path.write_text(text)
    path.chmod(0o400)
    with pytest.raises(KeyFileRefused):
        signing.load(path)


def test_the_keys_of_noes_and_links_cannot_be_taken_out_of_a_ring_by_any_way(place: Place) -> None:
    """By no command, and by no file put in the ring's place: what runs does not take it, what starts refuses it."""
    place.rotate("link")
    whole = place.file
    with reading(place.house.engine) as session:
        last = ring_fits.last_said(session)
    assert last is not None
    for kind in (*signing.FIXED, signing.LINK):
        for number in whole.of(kind):
            with pytest.raises(
                (
                    ring.LookupKeyStays,
                    ring.MessageKeyStays,
                    ring.HouseKeyStays,
                    ring.LinksLiveForEver,
                    ring.KeyInUse,
                )
            ):
                place.retire(kind, number, copies_gone=True, handed_on=True)
            row = whole.of(kind)[number]
            if row.state == signing.IN_USE:
                changed = tuple(
                    Key(kind, number, one.state, b"x" * 32) if one is row else one for one in whole.keys
                )
            else:
                changed = tuple(one for one in whole.keys if one is not row)
            other = Keyring({}, whole.installation, changed)
            assert ring_fits.compare(other, last.body, None) in ("older", "foreign")
            keyfile.replace(place.house.settings.key_file, other)
            place.house.look()
            assert place.house.ring.marks() == whole.marks()
            keyfile.replace(place.house.settings.key_file, whole)
    assert json.loads(signing.text_of(whole))["version"] == signing.VERSION


def test_rewrapping_where_nothing_is_left_writes_nothing(place: Place) -> None:
    """The clock does it every five minutes as long as a former master is there; it must not hold the database meanwhile."""
    sign_up(place)
    place.rotate("master")
    ring.rewrap(place.house, now=clock.now())
    with transaction(place.house.engine) as session:  # the one who writes, on SQLite
        session.execute(
            update(Person).where(col(Person.id) == everybody(place.house)[0].id).values(locale="en")
        )
        assert ring.rewrap(place.house, now=clock.now()).left == {}
