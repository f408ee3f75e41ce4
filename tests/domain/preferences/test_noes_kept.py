"""P7 under every order of acts: whoever's last own word is no is let through by neither gate until they say yes themselves.

A state machine over the domain's own actions on a real database. `BIDDEN_TEST_MACHINE=500x50` sets examples and steps.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import ExitStack, nullcontext, suppress
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import bindparam
from sqlmodel import Session, col, select, true
from sqlmodel.sql.sqltypes import UTCDateTime

from scheduler import jobs
from service.db.engine import make_engine
from service.db.session import reading, transaction
from service.domain.consent.rules import Step
from service.domain.consent.tables import Confirmation
from service.domain.ledger import queries as entries
from service.domain.links.tables import Undo
from service.domain.mailings import queries as mailing_queries
from service.domain.mailings.tables import Address
from service.domain.people import queries as people
from service.domain.people.tables import Person
from service.domain.policies import actions as policies
from service.domain.policies.rules import PolicyText
from service.domain.preferences import (
    access,
    actions,
    changes,
    projection,
    queries,
    registration,
    restoring,
    rights,
    rules,
)
from service.domain.suppressions import actions as suppressions
from service.domain.topics import actions as topics
from service.domain.topics.rules import WordingText
from service.domain.transfers import judging
from service.kit import addresses, clock
from service.kit.errors import DomainError
from service.kit.signing import Keyring
from service.ops import erasure, imports, restored
from service.ops.house import House
from tests import builders as make
from tests.conftest import NOW, _copied
from tests.domain.transfers import files

SLUGS = ("new-products", "updates")
MAILBOXES = ("ana@example.org", "bea@example.org", "cem@example.org")
mailboxes, slugs = st.sampled_from(MAILBOXES), st.sampled_from(SLUGS)
number = st.integers(0, 7)
answers = st.dictionaries(slugs, st.booleans(), max_size=2)
spans = st.sampled_from([timedelta(seconds=1), timedelta(hours=2), timedelta(days=8), timedelta(days=400)])
WORDS = {"en": WordingText("Newer words", "Now and then", "Send me more of this.")}
Key = tuple[str, str]  # a person's public id or a mailbox's keyed hash, a topic's slug


@cache
def _eligible(topic: rules.TopicFacts) -> Any:
    """The gate's own statement, built once."""
    return queries.eligible(topic, true(), bindparam("now", type_=UTCDateTime()))  # type: ignore[arg-type]


class Noes(RuleBasedStateMachine):
    """What the persons last said themselves stands beside the product, written down by the acts of the machine alone."""

    def __init__(self, database: str, ring: Keyring, request: pytest.FixtureRequest, directory: Path) -> None:
        super().__init__()
        self.ring, self.now = ring, NOW
        self.at = Path(tempfile.mkdtemp(dir=directory))
        self.stack = ExitStack()
        self.url = self.stack.enter_context(_copied(database, request, self.at))
        self.file = self.at / "bidden.db" if database.startswith("sqlite") else None
        self.house = make.a_house(make_engine(self.url), ring, self.at)
        self.no: dict[Key, datetime] = {}
        self.yes: dict[Key, datetime] = {}
        self.only_they: set[tuple[str, str]] = set()  # (keyed hash of a mailbox, cause)
        self.restricted: set[str] = set()
        self.undos: list[tuple[str, datetime]] = []
        self.imports: list[str] = []
        self.copy: Path | None = None
        self.patched = patch.object(clock, "now", lambda: self.now)
        self.patched.start()
        for which, email in enumerate(MAILBOXES):  # who has said yes has a no to say
            self._register(which, email, dict.fromkeys(SLUGS, True), True, True, False)

    def teardown(self) -> None:
        self.patched.stop()
        self.house.engine.dispose()
        self.stack.close()
        shutil.rmtree(self.at, ignore_errors=True)

    # --- what the rules share ---

    def act(self, action: Callable[[Session], Any]) -> Any:
        """One transaction, a second after the last; what the product declines is None. The file outside is kept as doors do."""
        self.now += timedelta(seconds=1)
        done = None
        try:
            with transaction(self.house.engine) as session:
                done = action(session)
        except DomainError:
            done = None
        with reading(self.house.engine) as session:
            restoring.keep(session, self.house.settings.safe)
        return done

    def person(self, session: Session, which: int) -> Person | None:
        rows = session.exec(select(Person).order_by(col(Person.id))).all()
        return rows[which % len(rows)] if rows else None

    def theirs(self, session: Session, person: Person) -> list[str]:
        """The keys under which a person's word is written down: the person and the mailbox where their mail goes."""
        living = people.followed(session, person) or person
        address = session.get(Address, living.address_id) if living.address_id else None
        held = address is not None and address.ended_at is None
        return [living.public_id, *([address.address_hash] if address and held else [])]

    def says_no(self, session: Session, person: Person, chosen: Any) -> None:
        for key in self.theirs(session, person):
            for slug in chosen:
                self.no[key, slug] = self.now

    def says_yes(self, keys: list[str], slug: str, asked: datetime) -> None:
        """A yes of their own counts against noes that are not newer than the question (or the undo) it answers."""
        if all(self.no.get((key, slug), asked) <= asked for key in keys):
            for key in keys:
                self.no.pop((key, slug), None)
                self.yes[key, slug] = self.now

    # --- sites, forms and imports ---

    @rule(
        which=number,
        email=mailboxes,
        said=answers,
        confirmed=st.booleans(),
        attest=st.booleans(),
        old=st.booleans(),
    )
    def registers(
        self, which: int, email: str, said: dict[str, bool], confirmed: bool, attest: bool, old: bool
    ) -> None:
        self._register(which, email, said, confirmed, attest, old)

    def _register(
        self, which: int, email: str, said: dict[str, bool], confirmed: bool, attest: bool, old: bool
    ) -> None:
        agreed = self.now - timedelta(days=3 if old else 0)
        given = [
            make.an_answer(slug, yes, at=agreed, confirmed=confirmed and yes) for slug, yes in said.items()
        ]

        def site(session: Session) -> None:
            done = make.register(
                session,
                self.ring,
                email,
                given,
                now=self.now,
                external_id=str(which % 4),
                source="join" if which == 7 else "shop",
                attest=attest,
                attested=which != 7,
            )
            person = make.the_person(session, done.person_id)
            for one in done.consents:
                if not said.get(one["topic"], True):
                    self.says_no(session, person, [one["topic"]])
                elif one["result"] in ("given", "renewed"):
                    self.yes[person.public_id, one["topic"]] = self.now

        self.act(site)

    @rule(email=mailboxes, which=number, day=st.sampled_from(["2024-01-02", "2026-11-23"]))
    def imports_a_file(self, email: str, which: int, day: str) -> None:
        content = f"email,id,subscribed at\n{email},{which % 4},{day}\n".encode()
        self.now += timedelta(seconds=1)
        source = "shop" if which % 2 else "old-shop"
        try:
            self.imports.append(
                files.imported(self.house, files.job(content, files.GRANT, source=source)).row.public_id
            )
        except DomainError:
            return

    @precondition(lambda self: self.imports)
    @rule()
    def takes_an_import_back(self) -> None:
        self.now += timedelta(seconds=1)
        try:
            imports.take_back(self.house, self.imports.pop(), reason="wrong file", by="cli")
        except DomainError:
            return

    # --- the person ---

    @rule(which=number, slug=st.sampled_from([*SLUGS, None]), how=st.sampled_from(["link", "one_click"]))
    def stops(self, which: int, slug: str | None, how: str) -> None:
        def stop(session: Session) -> None:
            person = self.person(session, which)
            if person is None:
                return
            link = make.a_link(session, person, slug)
            ends = actions.stop if slug else actions.stop_all
            done = ends(session, self.ring, link, how=how, evidence={}, now=self.now)
            self.says_no(session, person, [slug] if slug else SLUGS)
            if done.undo:
                self.undos.append((done.undo, self.now))

        self.act(stop)

    @precondition(lambda self: self.undos)
    @rule(which=number)
    def undoes(self, which: int) -> None:
        value, said = self.undos[which % len(self.undos)]

        def undo(session: Session) -> None:
            before = session.exec(select(Undo)).all()
            unused = {row.value_hash: row.person_id for row in before if row.used_at is None}
            back = actions.undo(session, value, now=self.now)
            rows = session.exec(select(Undo).where(col(Undo.used_at) == self.now)).all()
            for row in rows:
                if row.value_hash in unused:
                    keys = self.theirs(session, session.get_one(Person, row.person_id))
                    for topic in back:
                        self.says_yes(keys, topic.slug, said)

        self.act(undo)

    @rule(which=number)
    def presses_a_button(self, which: int) -> None:
        def press(session: Session) -> None:
            mails = make.buttons(session)
            if not mails:
                return
            link = mails[-1 - which % len(mails)]
            mailing = mailing_queries.by_alias(session, link.mailing)
            assert mailing is not None
            asked = session.get_one(Confirmation, mailing.id)
            mailbox = session.get_one(Address, asked.address_id).address_hash
            done = make.press(session, self.ring, link, now=self.now)
            if done.already:
                return
            for topic in done.topics:
                self.says_yes([mailbox, done.person.public_id], topic.slug, mailing.created_at)
            if done.topics:
                self.only_they.discard((mailbox, "complaint"))

        self.act(press)

    @rule(which=number, slug=slugs, choice=st.sampled_from(["each", "weekly", "off"]), rest=st.booleans())
    def saves_their_page(self, which: int, slug: str, choice: str, rest: bool) -> None:
        def save(session: Session) -> None:
            person = self.person(session, which)
            if person is None or person.state in ("merged", "erased"):
                return
            until = (self.now + timedelta(days=2)).date() if rest else actions.UNCHANGED
            done = actions.save(
                session,
                self.ring,
                person,
                actions.Choices({slug: choice}, break_until=until),
                how="page",
                evidence={},
                now=self.now,
                by=f"person:{person.public_id}",
            )
            if choice == "off" and slug in done.changed:
                self.says_no(session, person, [slug])
            if done.undo:
                self.undos.append((done.undo, self.now))

        self.act(save)

    @rule(which=number, email=mailboxes)
    def changes_their_address(self, which: int, email: str) -> None:
        def change(session: Session) -> None:
            person = self.person(session, which)
            if person is not None and person.state == "active":
                by = f"person:{person.public_id}"
                access.change_email(session, self.ring, person, addresses.parse(email), now=self.now, by=by)

        self.act(change)

    @rule(
        which=number,
        own=st.booleans(),
        what=st.sampled_from(["restrict", "lift", "object", "lift objection"]),
    )
    def uses_a_right(self, which: int, own: bool, what: str) -> None:
        def use(session: Session) -> None:
            person = self.person(session, which)
            if person is None or person.state in ("merged", "erased"):
                return
            by = f"person:{person.public_id}" if own else make.STAFF
            if what == "restrict":
                if rights.restrict(session, person, how="page", now=self.now, by=by) and own:
                    self.restricted.add(person.public_id)
            elif what == "lift":
                if rights.lift_restriction(session, person, how="page", now=self.now, by=by) and own:
                    self.restricted.clear()
            elif what == "object":
                said = changes.consent.Said("page" if own else "staff", "page")
                change = changes.begin(session, self.ring, person, said, now=self.now, by=by)
                rights.object_to_marketing(change)
                self.says_no(session, person, ["new-products"])
                self.only_they |= {(digest, "objection") for digest in rights._mailboxes(session, person)}
            elif own:
                rights.lift_objection(session, person, now=self.now)
                self.only_they -= {(digest, "objection") for digest in rights._mailboxes(session, person)}

        self.act(use)

    # --- staff, topics, policies, time ---

    @rule(which=number)
    def complains(self, which: int) -> None:
        def complain(session: Session) -> None:
            person = self.person(session, which)
            if person is None or not (keys := self.theirs(session, person)[1:]):
                return
            given = {
                "scope": "marketing",
                "cause": "complaint",
                "origin": "report",
                "subject": person.public_id,
            }
            suppressions.add(session, keys[0], **given, now=self.now, by="system")
            self.only_they.add((keys[0], "complaint"))

        self.act(complain)

    @rule(which=number)
    def erases(self, which: int) -> None:
        def erase(session: Session) -> None:
            person = self.person(session, which)
            if which > 5 and person is not None and person.state != "merged":
                erasure.erase(session, self.ring, person, how="staff", now=self.now, by=make.STAFF)

        self.act(erase)

    @rule(slug=slugs, what=st.sampled_from(["retire", "restore", "words", "policy"]))
    def the_topic_or_policy_changes(self, slug: str, what: str) -> None:
        def change(session: Session) -> None:
            given: dict[str, Any] = {"now": self.now, "by": make.STAFF}
            if what == "words":
                topics.publish_wording(session, slug, WORDS, **given)
            elif what == "policy":
                policies.publish(
                    session, slug="privacy", texts={"en": PolicyText("Privacy", "New.")}, **given
                )
            else:
                (topics.retire if what == "retire" else topics.restore)(session, slug, **given)

        self.act(change)

    @rule(span=spans)
    def time_passes(self, span: timedelta) -> None:
        self.now += span

    @precondition(lambda self: self.file is not None)
    @rule()
    def copies_the_database(self) -> None:
        with self.house.engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        self.copy = self.at / "copy.db"
        assert self.file is not None
        shutil.copy(self.file, self.copy)

    @precondition(lambda self: self.copy is not None)
    @rule()
    def the_copy_is_put_back(self) -> None:
        """As at the product's start: the clock notices, and the noes of the file outside are merged."""
        assert self.copy is not None
        assert self.file is not None
        self.now += timedelta(seconds=1)
        jobs.checkpoint(self.house, self.now)
        self.house.engine.dispose()
        for extra in ("-wal", "-shm"):
            self.file.with_name(self.file.name + extra).unlink(missing_ok=True)
        shutil.copy(self.copy, self.file)
        self.house = House(self.house.settings, make_engine(self.url), self.ring)
        with suppress(restored.NothingToMerge):
            restored.merge(self.house, now=self.now)
        self.copy = None
        with reading(
            self.house.engine
        ) as session:  # who is not in the copy is nobody here; the mailboxes keep their noes
            here = set(session.exec(select(Person.public_id)))
        self.restricted &= here
        self.imports.clear()

    # --- what must hold ---

    def _follow_merges(self, session: Session) -> None:
        """Of two registrations of one mailbox the later word holds."""
        for (key, slug), said in list(self.no.items()):
            person = people.by_public_id(session, key) if key.startswith("p_") else None
            if person is None or person.state != "merged":
                continue
            into = people.followed(session, person)
            del self.no[key, slug]
            if into is not None and said > self.yes.get((into.public_id, slug), NOW - timedelta(days=9)):
                self.no[into.public_id, slug] = max(said, self.no.get((into.public_id, slug), said))

    @invariant()
    def nobody_is_let_through_over_their_no(self) -> None:
        with reading(self.house.engine) as session:
            self._follow_merges(session)
            for slug in SLUGS:
                row = make.the_topic(session, slug)
                topic = rules.TopicFacts(row.id or 0, row.mail_class, row.basis, row.state == "active")
                found = session.connection().execute(_eligible(topic), {"now": self.now}).all()
                by_sql = {person_id for _, person_id, *_ in found}
                for person in session.exec(select(Person).where(col(Person.state) != "merged")):
                    pure = rules.decide(
                        queries.standing(session, person, topic), topic=topic, now=self.now
                    ).allowed
                    assert pure == (person.id in by_sql), (
                        f"the gates disagree about {person.public_id} and {slug}"
                    )
                    if not pure:
                        continue
                    keys = self.theirs(session, person)
                    assert not [key for key in keys if (key, slug) in self.no], f"{slug}: a no became a yes"
                    if row.mail_class == "marketing":
                        causes = ("complaint", "objection")
                        assert not [one for key in keys for one in causes if (key, one) in self.only_they]
                    assert person.public_id not in self.restricted

    @invariant()
    def the_ledger_tells_the_same(self) -> None:
        with reading(self.house.engine) as session:
            assert projection.differences(session) == []
            assert entries.verify(session).holds


def play(
    database: str,
    ring: Keyring,
    request: pytest.FixtureRequest,
    directory: Path,
    *,
    examples: int,
    steps: int,
    shrink: bool = True,
) -> None:
    """Let the machine go over copies of a database."""
    size = settings(
        max_examples=examples,
        stateful_step_count=steps,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, *([Phase.shrink] if shrink else [])],
    )
    run_state_machine_as_test(lambda: Noes(database, ring, request, directory), settings=size)


def test_no_order_of_acts_turns_a_no_into_a_yes(
    template: str, ring: Keyring, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    usual = "8x25" if template.startswith("sqlite") else "3x12"
    examples, _, steps = os.environ.get("BIDDEN_TEST_MACHINE", usual).partition("x")
    play(template, ring, request, tmp_path, examples=int(examples), steps=int(steps))


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
    template: str,
    ring: Keyring,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    broken: bool,
) -> None:
    if broken:
        monkeypatch.setattr(actions, "undo", _careless_undo)
    machine = Noes(template, ring, request, tmp_path)
    try:
        machine.stops(which=0, slug="updates", how="link")
        machine.stops(which=0, slug="updates", how="one_click")
        machine.undoes(which=0)
        with pytest.raises(AssertionError, match="a no became a yes") if broken else nullcontext():
            machine.nobody_is_let_through_over_their_no()
    finally:
        machine.teardown()


@pytest.mark.parametrize("broken", [False, True])
def test_an_import_that_grants_over_a_no_is_seen(
    template: str,
    ring: Keyring,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    broken: bool,
) -> None:
    machine = Noes(template, ring, request, tmp_path)
    if broken:
        step = Step("consent.given", "given", "given")
        monkeypatch.setattr(judging, "_said_no", lambda *_: False)
        monkeypatch.setattr(registration._Writer, "_refused_under", lambda *_: set())
        monkeypatch.setattr(registration.consent_rules, "answer", lambda **_: step)
    try:
        machine.stops(which=1, slug="new-products", how="link")
        machine.imports_a_file(email=MAILBOXES[1], which=1, day="2024-01-02")
        with pytest.raises(AssertionError, match="a no became a yes") if broken else nullcontext():
            machine.nobody_is_let_through_over_their_no()
    finally:
        machine.teardown()
