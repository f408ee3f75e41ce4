"""Rotating the keys of the ring: what each kind does to what was closed or signed before, what is refused, and what of a former
master can still be found (standards K5, K6; P5)."""

import json
import subprocess
import sys
import threading
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy.engine import Engine
from sqlmodel import select

from scheduler import jobs
from service.config import Settings
from service.db.session import reading, transaction
from service.domain.brands import actions as brands
from service.domain.brands import queries as brand_queries
from service.domain.ledger import bundles, checkpoints
from service.domain.ledger import queries as ledger
from service.domain.links import rules as links
from service.domain.people import queries as people
from service.domain.people import wrapping
from service.domain.people.tables import Person
from service.kit import clock, keyfile, sealing, signing
from service.kit.errors import DomainError
from service.kit.signing import KeyFileRefused, Keyring
from service.mail import dkim
from service.ops import backup, drill, erasure, ring, ring_copies, ring_fits
from service.ops.house import House, open_house
from service.web import deps
from tests import builders as make
from tests.domain.privacy import marked
from tests.ops.test_erasure import rewritten
from tests.ops.test_ops_backup import _postgres_tools  # noqa: F401 - a fixture that is always there

BY = "cli"
ROOT = Path(__file__).parents[2]


@dataclass
class Place:
    """An installation whose ring is a file, and a place for backups that is not beside its data."""

    house: House
    away: Path

    def back_up(self, name: str) -> Path:
        file = self.away / name
        ring_copies.back_up(self.house, file, now=clock.now(), by=BY)
        return file

    def rotate(self, kind: str) -> int:
        """The whole way from `new` to `use`."""
        made = ring.new(self.house, kind, now=clock.now(), by=BY)
        self.back_up(f"{kind}-{made.id}")
        assert ring.use(self.house, kind, now=clock.now(), by=BY).id == made.id
        return made.id

    def retire(self, kind: str, number: int, **said: bool) -> None:
        ring.retire(self.house, kind, number, now=clock.now(), by=BY, **said)

    @property
    def file(self) -> Keyring:
        """The ring as a process that starts now would read it."""
        return signing.load(self.house.settings.key_file)


def installed(engine: Engine, database_url: str, tmp_path: Path) -> Place:
    """An installation on this database, with a key file of its own."""
    settings = Settings(
        data_dir=tmp_path / "data", database_url=database_url, smtp_url="", public_url="http://127.0.0.1:9"
    )
    live = keyfile.Live(settings.key_file, signing.load_or_make(settings.key_file))
    return Place(House(settings, engine, live), tmp_path / "away")


@pytest.fixture
def place(engine: Engine, database_url: str, tmp_path: Path) -> Place:
    return installed(engine, database_url, tmp_path)


def everybody(house: House) -> list[Person]:
    with reading(house.engine) as session:
        return list(session.exec(select(Person).order_by(Person.id)))


def sign_up(place: Place, number: int = 3) -> list[marked.Marked]:
    return marked.sign_up(place.house, number, now=clock.now())


def opens(house: House, with_ring: Keyring) -> int:
    """How many persons' addresses a ring opens."""
    found = 0
    with reading(house.engine) as session:
        for person in session.exec(select(Person)):
            try:
                found += people.address_of(session, with_ring, person) is not None
            except sealing.Unsealable:
                continue
    return found


def masters(house: House) -> dict[int, int]:
    with reading(house.engine) as session:
        return people.masters(session)


def head(house: House) -> str:
    """A signed head over what is there now."""
    with transaction(house.engine) as session:
        checkpoints.sign(session, house.ring, now=clock.now())
    with reading(house.engine) as session:
        note = checkpoints.latest_note(session)
        checkpoints.write_out(session, house.settings.safe)
    assert note is not None
    return note


# --- each kind ---


def test_std_k6_a_master_is_followed_and_ended_while_its_people_stay_readable(place: Place) -> None:
    sign_up(place, 450)
    assert place.rotate("master") == 2
    later = sign_up_one(place)
    assert later.wrapped_key is not None
    assert later.wrapped_key[0] == 2, "whoever comes now is wrapped by the new one"
    assert opens(place.house, place.file) == 451
    assert ring.rewrap(place.house, now=clock.now()).left == {}
    assert masters(place.house) == {2: 451}
    place.retire("master", 1, copies_gone=True)
    assert list(place.file.wrap_keys) == [2]
    assert opens(place.house, place.file) == 451
    with reading(place.house.engine) as session:
        acts = [one.kind for one in ledger.of_kinds(session, ring_fits.KINDS)]
        texts = " ".join(one.entry for one in ledger.of_kinds(session, ring_fits.KINDS))
    assert acts == ["ring.key_made", "ring.backed_up", "ring.key_used", "ring.rewrapped", "ring.key_retired"]
    held = [key.secret.hex() for key in place.file.keys] + [key.secret.hex() for key in place.house.ring.keys]
    assert not [secret for secret in held if secret and secret in texts], "no key stands in the ledger"


def sign_up_one(place: Place) -> Person:
    with transaction(place.house.engine) as session:
        public_id = make.register(session, place.house.ring, "late@example.org", now=clock.now()).person_id
    with reading(place.house.engine) as session:
        return make.the_person(session, public_id)


def test_p5_a_link_key_is_followed_and_never_ended(place: Place) -> None:
    link = links.Link(links.STOP, 7, 8, 9, 10)
    old = links.write(link, place.house.ring.link_keys)
    assert place.rotate("link") == 2
    new = links.write(link, place.house.ring.link_keys)
    assert new != old
    for token in (old, new):
        assert links.read(token, place.file.link_keys, purpose=links.STOP) == link
    with pytest.raises(ring.LinksLiveForEver):
        place.retire("link", 1, copies_gone=True, handed_on=True)
    assert place.file.link_keys == place.house.ring.link_keys


def test_p4_a_signing_key_is_introduced_by_the_one_before(place: Place, tmp_path: Path) -> None:
    """Heads bear both signatures meanwhile, so that whoever knows the former key alone sees the entry that names the new one
    under its own signature; who has nothing but the database can make neither."""
    first = next(iter(checkpoints.keys(place.house.ring)))
    before = head(place.house)
    place.rotate("signing")
    with pytest.raises(ring.NoHeadYet):
        place.retire("signing", 1, handed_on=True)
    both = head(place.house)
    assert (before.count("\n— "), both.count("\n— ")) == (1, 2)
    with pytest.raises(ring.NotHandedOn):
        place.retire("signing", 1)
    with reading(place.house.engine) as session:
        made = next(one for one in ledger.of_kinds(session, ("ring.key_made",)))
        assert made.body["public"] == list(checkpoints.keys(place.house.ring))[::-1]
        proof = bundles.proof(session, [made.seq], place.house.ring)
    assert checked(tmp_path, proof, first) == 0, "the former key vouches for the entry that names the new one"
    place.retire("signing", 1, handed_on=True)
    row = place.file.of("signing")[1]
    assert (row.secret, len(row.public)) == (b"", 32)
    with transaction(place.house.engine) as session:
        brands.set_fields(session, "default", {"title": "Other"}, now=clock.now(), by=BY)
    alone = head(place.house)
    assert alone.count("\n— ") == 1
    for known in (place.house.ring, place.file):
        with reading(place.house.engine) as session:
            assert checkpoints.verify(session, place.house.settings.safe, known).holds
    assert first in checkpoints.keys(place.file)


def checked(directory: Path, proof: object, key: str) -> int:
    """What verify_ledger.py says of a proof to somebody who has this key alone."""
    file = directory / "proof.json"
    file.write_text(json.dumps(proof))
    command = [sys.executable, str(ROOT / "verify_ledger.py"), str(file), "--key", key]
    return subprocess.run(command, capture_output=True, check=False).returncode


def test_a_sign_in_outlives_the_key_of_sessions_until_that_is_ended(place: Place) -> None:
    now = clock.now()
    cookie = deps.signed(place.house.ring, "me", {"p": "1"}, now=now, valid_for=timedelta(minutes=30))
    place.rotate("session")
    newer = deps.signed(place.house.ring, "me", {"p": "1"}, now=now, valid_for=timedelta(minutes=30))
    assert deps.unsigned(place.file, "me", cookie, now=now) == deps.unsigned(place.file, "me", newer, now=now)
    place.retire("session", 1)
    assert deps.unsigned(place.file, "me", cookie, now=now) is None
    assert deps.unsigned(place.file, "me", newer, now=now) is not None


def test_dkim_keys_and_what_the_house_sealed_open_after_every_rotation(place: Place) -> None:
    now = clock.now()
    with transaction(place.house.engine) as session:
        ours = place.house.ring
        row = brands.new_dkim_key(session, ours, "default", private=dkim.new_private_key(), now=now, by=BY)
        brands.use_dkim_key(session, "default", row.selector, now=now, by=BY)
    for kind in signing.ROTATED:
        place.rotate(kind)
    with reading(place.house.engine) as session:
        assert (
            brand_queries.signing_key(session, place.file, brand_queries.default_brand(session)) is not None
        )
    assert (ours.lookup_key, ours.message_key, ours.house_key) == (
        place.file.lookup_key,
        place.file.message_key,
        place.file.house_key,
    )


# --- what is refused ---


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        ("lookup", ring.LookupKeyStays),
        ("message", ring.MessageKeyStays),
        ("house", ring.HouseKeyStays),
        ("dkim", ring.DkimKeysElsewhere),
        ("other", ring.KindUnknown),
    ],
)
def test_what_is_never_replaced_is_refused_with_its_reason(
    place: Place, kind: str, wrong: type[DomainError]
) -> None:
    before = place.house.settings.key_file.read_bytes()
    for act in (ring.new, ring.use):
        with pytest.raises(wrong):
            act(place.house, kind, now=clock.now(), by=BY)
    with pytest.raises(wrong):
        place.retire(kind, 1)
    assert place.house.settings.key_file.read_bytes() == before


def test_a_key_is_used_only_once_a_backup_has_it(place: Place) -> None:
    with pytest.raises(ring.NothingWaits):
        ring.use(place.house, "link", now=clock.now(), by=BY)
    place.back_up("before")
    ring.new(place.house, "link", now=clock.now(), by=BY)
    with pytest.raises(ring.KeyNotBackedUp):
        ring.use(place.house, "link", now=clock.now(), by=BY)
    with pytest.raises(ring.KeyWaits):
        ring.new(place.house, "link", now=clock.now(), by=BY)
    assert list(place.house.ring.link_keys) == [1, 2], "it waits: the former one signs"
    place.back_up("after")
    ring.use(place.house, "link", now=clock.now(), by=BY)
    assert list(place.house.ring.link_keys) == [2, 1]


def test_a_master_is_ended_only_when_nothing_needs_it(place: Place) -> None:
    sign_up(place)
    with pytest.raises(ring.KeyInUse):
        place.retire("master", 1, copies_gone=True)
    place.rotate("master")
    with pytest.raises(ring.RingKeyUnknown):
        place.retire("master", 3, copies_gone=True)
    with pytest.raises(ring.KeysRemain) as refused:
        place.retire("master", 1, copies_gone=True)
    assert refused.value.detail.startswith("3 persons' keys")
    ring.rewrap(place.house, now=clock.now())
    with pytest.raises(ring.CopiesNeedIt) as refused:
        place.retire("master", 1)
    assert "made before 20" in str(refused.value.fix)
    assert 1 in place.file.wrap_keys


def test_sabotage_a_rewrapping_that_skips_people_is_not_believed(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Broken on purpose: every other person is passed over. The promise that a master goes only when nobody needs it must not rest
    on what the rewrapping says of itself."""
    sign_up(place, 7)
    place.rotate("master")
    whole = wrapping.wrap

    def skipping(with_ring: Keyring, alias: int, key: bytes) -> bytes:
        if alias % 2:
            raise sealing.Unsealable("passed over")
        return whole(with_ring, alias, key)

    monkeypatch.setattr(wrapping, "wrap", skipping)
    passed = sum(one.alias % 2 for one in everybody(place.house))
    assert ring.rewrap(place.house, now=clock.now()).left == ({1: passed} if passed else {})
    if passed:
        with pytest.raises(ring.KeysRemain):
            place.retire("master", 1, copies_gone=True)
    monkeypatch.undo()
    assert ring.rewrap(place.house, now=clock.now()).left == {}
    place.retire("master", 1, copies_gone=True)
    assert opens(place.house, place.file) == 7


# --- beside others ---


def test_std_k5_somebody_erased_meanwhile_stays_erased(place: Place) -> None:
    """An erasure is under way while keys are wrapped anew: it must not come back with what is written."""
    gone, *_ = sign_up(place, 4)
    place.rotate("master")
    at_work = threading.Thread(target=lambda: ring.rewrap(place.house, now=clock.now()))
    with transaction(place.house.engine) as session:
        person = make.the_person(session, gone.person_id)
        erasure.erase(session, place.house.ring, person, how="staff", now=clock.now(), by=BY)
        session.flush()
        at_work.start()
        at_work.join(1)  # it passes over that row, or waits for us: both must end alike
    at_work.join()
    ring.rewrap(place.house, now=clock.now())
    with reading(place.house.engine) as session:
        assert make.the_person(session, gone.person_id).wrapped_key is None
    assert masters(place.house) == {2: 3}


def test_a_process_goes_on_with_a_master_it_had(place: Place) -> None:
    """A batch was read before the keys were wrapped anew, and is opened after the master is gone."""
    sign_up(place, 2)
    read_before = everybody(place.house)
    place.rotate("master")
    ring.rewrap(place.house, now=clock.now())
    place.retire("master", 1, copies_gone=True)
    for person in read_before:
        assert len(people.person_key(place.house.ring, person)) == 32
        with pytest.raises(sealing.Unsealable):
            people.person_key(place.file, person)


def test_the_clock_wraps_anew_and_notes_a_ring_that_was_changed_by_other_means(place: Place) -> None:
    sign_up(place)
    jobs.tend_ring(place.house, clock.now())
    place.rotate("master")
    jobs.tend_ring(place.house, clock.now())
    assert masters(place.house) == {2: 3}
    more = signing.Key("link", 2, "waiting", b"w" * 32)
    keyfile.replace(
        place.house.settings.key_file, Keyring({}, place.file.installation, (*place.file.keys, more))
    )
    for _ in range(2):
        jobs.tend_ring(place.house, clock.now())
    with reading(place.house.engine) as session:
        acts = [one.kind.removeprefix("ring.") for one in ledger.of_kinds(session, ring_fits.KINDS)]
    assert acts == ["key_made", "backed_up", "key_used", "rewrapped", "noted"]


def test_std_k5_the_former_wrapping_is_gone_from_the_files(place: Place) -> None:
    """Whoever gets hold of the former master and of the database's files opens nobody's key, once they are tidied as
    docs/operations.md says."""
    people_here = sign_up(place, 40)
    former = place.house.ring
    aliases = [one.alias for one in people_here]
    assert len(marked.opened_by(marked.data_files(place.house), former, aliases)) == 40
    place.rotate("master")
    ring.rewrap(place.house, now=clock.now())
    rewritten(place.house)
    assert marked.opened_by(marked.data_files(place.house), former, aliases) == set()
    place.retire("master", 1, copies_gone=True)
    assert len(marked.opened_by(marked.data_files(place.house), place.file, aliases)) == 40


# --- copies ---


def test_a_copy_from_before_is_read_with_a_backup_of_the_ring_from_then(place: Place) -> None:
    """The whole way back: the copy needs a master that is gone; the ring's old backup brings it; what comes back is wrapped anew."""
    sign_up(place, 5)
    old_ring = place.back_up("old-ring")
    copy = place.away / "old.copy"
    backup.backup(place.house, copy)
    place.rotate("link")
    place.rotate("master")
    drill.check_fits(place.file, copy)
    ring.rewrap(place.house, now=clock.now())
    place.retire("master", 1, copies_gone=True)
    token = links.write(links.Link(links.STOP, 1), place.house.ring.link_keys)
    with pytest.raises(drill.MasterMissing):
        drill.check_fits(place.file, copy)
    assert not {fact.name: fact for fact in drill.examine(place.file, copy)}["persons"].ok

    ring_copies.restore(place.house.settings, old_ring, replace=False)
    assert sorted(place.file.wrap_keys) == [1, 2], "added, and nothing else taken back"
    assert links.read(token, place.file.link_keys, purpose=links.STOP)
    drill.check_fits(place.file, copy)
    place.house.engine.dispose()
    backup.restore(place.house.settings, copy, replace=True, now=clock.now())
    again = open_house(place.house.settings)
    assert opens(again, again.ring) == 5
    jobs.tend_ring(again, clock.now())
    assert masters(again) == {2: 5}
    again.engine.dispose()


def test_the_drill_tries_everything_and_starts_nothing(place: Place) -> None:
    now = clock.now()
    sign_up(place, 30)
    mailed = links.write(links.Link(links.WHY, 5, 6, 7, 8), place.house.ring.link_keys)
    with transaction(place.house.engine) as session:
        brands.new_dkim_key(
            session, place.house.ring, "default", private=dkim.new_private_key(), now=now, by=BY
        )
    head(place.house)
    for kind in signing.ROTATED:
        place.rotate(kind)
    file, copy = place.back_up("ring"), place.away / "copy"
    head(place.house)
    backup.backup(place.house, copy)
    before = copy.read_bytes()
    told = {
        f"https://mail.example.org/why/{mailed}",
        links.write(links.Link(links.STOP, 5), place.file.link_keys),
    }
    facts = drill.examine(signing.load(file), copy, sorted(told))
    assert [fact.name for fact in facts if not fact.ok] == []
    numbers = {fact.name: fact.value for fact in facts}
    assert (numbers["persons"], numbers["addresses"], numbers["links"]) == (30, 30, 2)
    assert (numbers["signed heads"], numbers["DKIM keys"]) == (2, 1)
    assert copy.read_bytes() == before
    assert {one.name for one in copy.parent.iterdir()} == {
        "copy",
        "ring",
        *(f"{k}-2" for k in signing.ROTATED),
    }


def test_a_ring_that_is_older_or_another_is_told_apart(place: Place, tmp_path: Path) -> None:
    sign_up(place)
    head(place.house)
    older = place.back_up("older")
    place.rotate("link")
    copy = place.away / "copy"
    backup.backup(place.house, copy)
    other = tmp_path / "other" / "secret.key"
    signing.load_or_make(other)
    for file, wrong, word in (
        (older, ring_fits.RingOlder, "older"),
        (other, ring_fits.RingForeign, "foreign"),
    ):
        with reading(place.house.engine) as session:
            assert ring_fits.standing(session, signing.load(file)) == word
        with pytest.raises(wrong):
            drill.check_fits(signing.load(file), copy)
        assert not drill.examine(signing.load(file), copy)[0].ok
        with pytest.raises(wrong):
            ring_fits.refuse_unfit(House(place.house.settings, place.house.engine, signing.load(file)))
    facts = {fact.name: fact for fact in drill.examine(signing.load(other), copy, ["/u/aaaa"])}
    assert [name for name, fact in facts.items() if fact.ok] == ["DKIM keys"], "there are none"
    with pytest.raises(ring_fits.RingForeign):
        ring_copies.restore(place.house.settings, other, replace=True)
    place.house.settings.key_file.unlink()
    with pytest.raises(ring_fits.RingOlder):
        ring_copies.restore(place.house.settings, older, replace=False)


def test_a_missing_ring_is_never_made_anew_beside_what_needs_it(place: Place) -> None:
    """A new one would open nothing and forget every no (P7)."""
    sign_up(place)
    kept = place.back_up("kept")
    place.house.settings.key_file.unlink()
    with pytest.raises(KeyFileRefused, match="ring restore"):
        open_house(place.house.settings)
    assert not place.house.settings.key_file.exists()
    ring_copies.restore(place.house.settings, kept, replace=False)
    again = open_house(place.house.settings)
    assert opens(again, again.ring) == 3
    again.engine.dispose()


def test_a_backup_lies_elsewhere_and_harms_nothing(place: Place) -> None:
    with pytest.raises(ring_copies.BackupBesideDatabase):
        ring_copies.back_up(place.house, place.house.settings.data_dir / "copy", now=clock.now(), by=BY)
    kept = place.back_up("kept")
    assert kept.stat().st_mode & 0o777 == 0o400
    with pytest.raises(backup.CopyThere):
        place.back_up("kept")
    with pytest.raises(ring_copies.RingBackupMissing):
        ring_copies.restore(place.house.settings, place.away / "none", replace=False)
    place.house.settings.key_file.chmod(0o600)
    place.house.settings.key_file.write_text("damaged")
    place.house.settings.key_file.chmod(0o400)
    with pytest.raises(ring_copies.RingThere):
        ring_copies.restore(place.house.settings, kept, replace=False)
    ring_copies.restore(place.house.settings, kept, replace=True)
    assert place.file.marks() == place.house.ring.marks()
