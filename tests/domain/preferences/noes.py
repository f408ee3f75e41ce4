"""The state machine behind P7: whoever's last own word is no is let through by neither gate until they say yes themselves.

Its acts are the domain's own on a real database; what the persons said stands beside it, written down by the acts alone. Every
example begins from the same rows in one database of the machine's own. Called by `test_noes_kept`.
"""

import io
import json
import random
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from sqlalchemy import bindparam, event, text
from sqlmodel import Session, SQLModel, col, select, true
from sqlmodel.sql.sqltypes import UTCDateTime

import verify_ledger
from scheduler import jobs
from service.db.engine import is_sqlite, make_engine
from service.db.session import reading, transaction
from service.domain.brands import actions as brands
from service.domain.consent.tables import Confirmation
from service.domain.deliveries import claims
from service.domain.deliveries import queries as delivery_queries
from service.domain.deliveries.rules import Result
from service.domain.ledger import actions as ledger
from service.domain.ledger import checkpoints
from service.domain.ledger import queries as entries
from service.domain.links.tables import Undo
from service.domain.mailings import queries as mailing_queries
from service.domain.mailings.tables import Address
from service.domain.people import erasing
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
    reasking,
    restoring,
    rights,
    rules,
)
from service.domain.preferences.registration import Registration, register_many
from service.domain.preferences.tables import Preference
from service.domain.reports import evidence, permitted
from service.domain.senders import actions as senders
from service.domain.suppressions.tables import Suppression
from service.domain.topics import actions as topics
from service.domain.topics import queries as topic_queries
from service.domain.topics.rules import WordingText
from service.domain.topics.tables import Topic, Wording
from service.kit import addresses, clock
from service.kit.errors import DomainError
from service.kit.signing import Keyring
from service.ops import erasure, imports, restored
from service.ops.house import House
from tests import builders as make
from tests import checks
from tests.conftest import NOW
from tests.domain.transfers import files

SLUGS = ("new-products", "updates", "offers")  # about the last nobody has been asked at first
MAILBOXES = ("ana@example.org", "bea@example.org", "cem@example.org")
STEP = timedelta(minutes=1)  # between two acts: a press within less is the one before (docs/adr/0025)
WORDS = {"en": WordingText("Newer words", "Now and then", "Send me more of this.")}
OWN = ("complaint", "objection")  # what only the person takes back, whatever topic
NOES = {"unsubscribed": "withdrawal", "blocklisted": "objection", "complained": "complaint"}  # of a file
# Or not in clear, or (a dead mailbox) perhaps of one that they have left.
NOT_IN_LEDGER = ("unconfirmed", "no_address", "law_wants_a_yes", "bounced")
OF_OLD = replace(files.GRANT, topic="offers", basis=rules.LEGACY)
Key = tuple[str, str]  # a person's public id or a mailbox's keyed hash, a topic's slug


class No(NamedTuple):
    """When they last said it, by which two registrations that become one are weighed, and when the product last heard it, which
    goes before every older question."""

    said: datetime
    heard: datetime


mailboxes, slugs, number = st.sampled_from(MAILBOXES), st.sampled_from(SLUGS), st.integers(0, 7)
answers = st.dictionaries(slugs, st.booleans(), min_size=1, max_size=2)
told = st.tuples(number, st.integers(0, 5), answers, st.booleans(), st.booleans())


class Place:
    """One database for all examples of a machine, filled anew for each with the rows that three registrations have left."""

    def __init__(self, url: str, ring: Keyring, directory: Path) -> None:
        self.engine, self.ring = make_engine(url), ring
        self.safe = directory / "safe"
        self.house = make.a_house(self.engine, ring, directory, safe_dir=self.safe)
        if is_sqlite(self.engine):  # nobody takes the power away from it
            event.listen(self.engine, "connect", lambda raw, _: raw.execute("PRAGMA synchronous=OFF"))
        with transaction(self.engine) as session:
            make.a_topic(session, "offers", now=NOW)
            for which, email in enumerate(MAILBOXES):  # who has said yes has a no to say
                given = [make.an_answer(slug, at=NOW, confirmed=True) for slug in SLUGS[:2]]
                make.register(session, ring, email, given, now=NOW, external_id=str(which))
        self.held = ExitStack()
        self.first = self.copied()

    def begin(self) -> House:
        """The rows and the files outside as at first."""
        shutil.rmtree(self.safe, ignore_errors=True)
        self.put_back(self.first)
        return self.house

    def close(self) -> None:
        self.engine.dispose()
        self.held.close()

    def copied(self) -> Any:
        """All that is in the database now."""
        if is_sqlite(self.engine):
            copy = self.held.enter_context(closing(sqlite3.connect(":memory:")))
            with self.engine.connect() as connection:
                _driver(connection).backup(copy)
            return copy
        with self.engine.connect() as connection:
            return {
                table: [dict(row) for row in connection.execute(table.select()).mappings()]
                for table in SQLModel.metadata.sorted_tables
            }

    def put_back(self, copy: Any) -> None:
        """Whatever came since is gone, the ledger's entries too, as it is when somebody puts an older database in its place."""
        if is_sqlite(self.engine):
            with self.engine.connect() as connection:
                copy.backup(_driver(connection))
            return
        guarded = ("ledger_entry", "outcome", "preference")  # as `pg_restore --disable-triggers` does
        with self.engine.begin() as connection:
            for name in guarded:
                checks.without_guards(connection, name)
            for table in reversed(SQLModel.metadata.sorted_tables):
                connection.execute(table.delete())
            for table, rows in copy.items():
                if rows:  # in one statement: some refer to others of their table
                    connection.execute(table.insert().values(rows))
            for name in guarded:
                connection.execute(text(f"ALTER TABLE {name} ENABLE TRIGGER USER"))


def _driver(connection: Any) -> sqlite3.Connection:
    raw = connection.connection.driver_connection
    assert isinstance(raw, sqlite3.Connection)
    return raw


def _all(table: Any, *columns: str) -> Any:
    return select(*(table.__table__.c[name] for name in columns)) if columns else select(table.__table__)


_PERSONS, _SAID = _all(Person), _all(Preference)
_BOXES = _all(Address, "id", "address_hash", "attested", "confirmed_at", "ended_at")
_STOPS = _all(Suppression, "address_hash", "scope", "topic_id", "cause").where(
    col(Suppression.lifted_at).is_(None)
)
_TOPICS = select(Topic).where(col(Topic.slug).in_(SLUGS))


@cache
def _eligible(topic: rules.TopicFacts) -> Any:
    """The gate's own statement, built once."""
    return queries.eligible(topic, true(), bindparam("now", type_=UTCDateTime()))  # type: ignore[arg-type]


class Noes(RuleBasedStateMachine):
    """What the persons last said themselves stands beside the product, written down by the acts of the machine alone."""

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.place, self.ring, self.now = place, place.ring, NOW
        self.house = place.begin()
        self.no: dict[Key, dict[str, No]] = {}  # by whom, a public id
        self.yes: dict[Key, datetime] = {}
        self.only_they: set[tuple[str, str]] = set()  # (public id or keyed hash, cause)
        self.dead: set[str] = set()  # mailboxes whose server said that there is none
        self.restricted: set[str] = set()
        self.undos: list[tuple[str, datetime]] = []
        self.imports: list[str] = []
        self.copy: Any = None
        self.seen: Any = None  # the ledger's end and the time at which the gates were looked at last
        self.judged: dict[Any, bool] = {}  # what the pure gate said of rows that are as they were
        self.patched = patch.object(clock, "now", lambda: self.now)
        self.patched.start()
        with reading(self.house.engine) as session:
            for public_id in session.exec(select(Person.public_id)):
                self.yes |= {(public_id, slug): NOW for slug in SLUGS[:2]}

    def teardown(self) -> None:
        """The whole once more, nothing taken from an earlier look."""
        try:
            self.judged.clear()
            self.look()
            self.the_ledger_tells_the_same()
            self.evidence_says_what_the_gate_says()
        finally:
            self.patched.stop()

    # --- what the rules share ---

    def act(self, action: Callable[[Session], Any]) -> Any:
        """One transaction, a minute after the last that wrote; what the product declines is None. The file outside is kept as doors
        do."""
        self.now += STEP
        done, taken, wrote = None, False, 0
        with suppress(DomainError), transaction(self.house.engine) as session:
            done = action(session)
            taken, wrote = session.info.get("taken", False), len(ledger.appended(session))
        if taken:
            with reading(self.house.engine) as session:
                restoring.keep(session, self.house.settings.safe)
        if not wrote:
            self.now -= STEP
        return done

    def person(self, session: Session, which: int) -> Person | None:
        rows = session.exec(select(Person.id).order_by(col(Person.id))).all()
        return session.get_one(Person, rows[which % len(rows)]) if rows else None

    def living(self, session: Session, which: int) -> Person | None:
        person = self.person(session, which)
        return person if person is not None and person.state not in ("merged", "erased") else None

    def mailbox(self, session: Session, person: Person) -> str | None:
        """The keyed hash of where their mail goes."""
        address = session.get(Address, person.address_id) if person.address_id else None
        return address.address_hash if address is not None and address.ended_at is None else None

    def theirs(self, session: Session, person: Person) -> list[str]:
        """The keys under which a person's word is written down: the person and the mailbox where their mail goes."""
        living = people.followed(session, person) or person
        held = self.mailbox(session, living)
        return [living.public_id, *([held] if held else [])]

    def says_no(self, keys: Sequence[str], chosen: Sequence[str], at: datetime | None = None) -> None:
        """`at`: when they said it, where it is not now and stands already; heard again, it goes before older questions all the same."""
        for key in keys:
            for slug in chosen:
                said = self.no.setdefault((key, slug), {})
                before = said.get(keys[0], No(at or self.now, self.now)).said
                said[keys[0]] = No(max(before, at or self.now), self.now)

    def says_yes(self, keys: list[str], slug: str, asked: datetime) -> None:
        """A yes of their own counts against noes that are not newer than the question (or the undo) it answers; what they said
        in mailboxes they had before, they have taken back, too."""
        if any(no.heard > asked for key in keys for no in self.no.get((key, slug), {}).values()):
            return
        for key in keys:
            self.no.pop((key, slug), None)
            self.yes[key, slug] = self.now
        for (_, about), said in self.no.items():
            if about == slug:
                said.pop(keys[0], None)

    # --- sites, forms and imports ---

    @rule(people=st.lists(told, min_size=1, max_size=4), attest=st.booleans(), join=st.integers(0, 5))
    def registers(self, people: list[Any], attest: bool, join: int) -> None:
        """One call of a site for several people, or of our own form for one."""
        join_form = join == 0
        people = people[:1] if join_form else people

        def site(session: Session) -> None:
            given = [self._told(one, attested=not join_form) for one in people]
            done = register_many(
                session,
                self.ring,
                "join" if join_form else "shop",
                given,
                attest=attest and not join_form,
                topics=None,
                now=self.now,
                by=make.BY,
            )
            for (which, _, said, _, old), answer in zip(people, done, strict=True):
                if isinstance(answer, DomainError):
                    continue
                person = make.the_person(session, answer.person_id)
                once = [one[0] % 4 for one in people].count(which % 4) == 1  # else they may have moved since
                for one in answer.consents:
                    if not said.get(one["topic"], True):
                        keys = self.theirs(session, person)[: None if once else 1]
                        stands = one["result"] == "unchanged"
                        self.says_no(keys, [one["topic"]], self._dated(old) if stands else None)
                    elif one["result"] in ("given", "renewed"):
                        self.yes[person.public_id, one["topic"]] = self.now

        self.act(site)

    def _told(self, one: Any, *, attested: bool) -> Registration:
        which, at, said, confirmed, old = one
        email = MAILBOXES[at if at < 3 else which % 3]  # as often as not the one they have
        agreed = self._dated(old)
        given = [
            make.an_answer(slug, yes, at=agreed, confirmed=confirmed and yes)
            | {"evidence": {"at": agreed.isoformat()}}
            for slug, yes in said.items()
        ]
        return Registration(str(which % 4), email, consents=given, attested=attested)

    def _dated(self, old: bool) -> datetime:
        """When a site says that something was said."""
        return self.now - timedelta(days=3 if old else 0)

    @rule(
        email=mailboxes,
        which=number,
        day=st.sampled_from(["2024-01-02", "2026-11-23"]),
        word=st.sampled_from(["yes", "yes", "confirmed", *NOES]),
        old=st.booleans(),
    )
    def imports_a_file(self, email: str, which: int, day: str, word: str, old: bool = False) -> None:
        """Of people who said yes elsewhere, with or without the trail that makes a button needless, or no; or of whom no more is known
        than that they registered when that meant agreeing."""
        trail = day if word == "confirmed" else ""
        content = f"email,id,subscribed at,confirmed at,status\n{email},{which % 4},{day},{trail},{word}\n"
        source = "shop" if which % 2 else "old-shop"
        grant = OF_OLD if old and word == "yes" else files.GRANT
        job = files.job(content.encode(), grant, source=source, attested=bool(trail))
        self.now += STEP
        try:
            row = files.begun(self.house, job)
            self.imports.append(imports.run(self.house, job, row, by="cli").public_id)
        except DomainError:
            return
        if word in NOES:
            self._file_says_no(make.address_hash(self.ring, email), word)

    def _file_says_no(self, mailbox: str, word: str) -> None:
        """In the mailbox, and for whoever holds it confirmed."""
        with reading(self.house.engine) as session:
            held = select(Person.public_id).join(Address, col(Address.id) == col(Person.address_id))
            held = held.where(col(Address.address_hash) == mailbox, col(Address.confirmed_at).is_not(None))
            bound = session.exec(held.where(col(Address.ended_at).is_(None))).all()
        for key in (mailbox, *bound):
            if word == "unsubscribed":
                said = self.no.setdefault(
                    (key, "new-products"), {}
                )  # without a date: what stands was said when it was
                by = "file" if key == mailbox else key
                said[by] = No(said[by].said if by in said else self.now, self.now)
            else:
                self.only_they.add((key, NOES[word]))

    @precondition(lambda self: self.imports)
    @rule()
    def takes_an_import_back(self) -> None:
        self.now += STEP
        with suppress(DomainError):
            imports.take_back(self.house, self.imports.pop(), reason="wrong file", by="cli")

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
            every = session.exec(select(Topic.slug).where(col(Topic.mail_class) != "service")).all()
            keys = self.theirs(session, person)
            self.says_no(keys, [slug] if slug else every)
            for mailbox in keys[1:]:  # one mailbox is one person: as late a word of whoever else is there
                for other in changes.living_at(session, mailbox):
                    self.says_no([other.public_id], [slug] if slug else every)
            if done.undo:
                self.undos.append((done.undo, self.now))

        self.act(stop)

    @precondition(lambda self: self.undos)
    @rule(which=number)
    def undoes(self, which: int) -> None:
        value, said = self.undos[-1 - which % len(self.undos)]

        def undo(session: Session) -> None:
            unused = set(session.exec(select(Undo.value_hash).where(col(Undo.used_at).is_(None))))
            back = actions.undo(session, value, now=self.now)
            for row in session.exec(select(Undo).where(col(Undo.used_at) == self.now)):
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
                self.says_yes([done.person.public_id, mailbox], topic.slug, mailing.created_at)
            if done.topics:
                self.only_they -= {(mailbox, "complaint"), (done.person.public_id, "complaint")}
            self.dead.discard(mailbox)

        self.act(press)

    @rule(
        which=number,
        slug=slugs,
        choice=st.sampled_from(["each", "off"]),
        rest=st.booleans(),
        api=st.booleans(),
    )
    def saves_their_page(self, which: int, slug: str, choice: str, rest: bool, api: bool) -> None:
        """They do, or a site does for them."""

        def save(session: Session) -> None:
            person = self.living(session, which)
            if person is None:
                return
            until = (self.now + timedelta(days=2)).date() if rest else actions.UNCHANGED
            done = actions.save(
                session,
                self.ring,
                person,
                actions.Choices({slug: choice}, break_until=until),
                how="api" if api else "page",
                evidence={},
                now=self.now,
                by=make.BY if api else f"person:{person.public_id}",
            )
            if choice == "off" and slug in done.changed:
                self.says_no(self.theirs(session, person), [slug])
            if done.undo:
                self.undos.append((done.undo, self.now))

        self.act(save)

    @rule(which=number, email=mailboxes)
    def changes_their_address(self, which: int, email: str) -> None:
        def change(session: Session) -> None:
            person = self.living(session, which)
            if person is not None:
                by = f"person:{person.public_id}"
                access.change_email(session, self.ring, person, addresses.parse(email), now=self.now, by=by)

        self.act(change)

    @rule(which=number, what=st.sampled_from(["restrict", "lift", "object", "lift objection"]))
    def uses_a_right(self, which: int, what: str) -> None:
        self._right(which, what, own=True)

    @rule(which=number, what=st.sampled_from(["restrict", "lift", "object"]))
    def staff_say_a_no_for_somebody_or_lift_it(self, which: int, what: str) -> None:
        self._right(which, what, own=False)

    def _right(self, which: int, what: str, *, own: bool) -> None:
        def use(session: Session) -> None:
            person = self.living(session, which)
            if person is None:
                return
            by = f"person:{person.public_id}" if own else make.STAFF
            keys = set(self.theirs(session, person))  # the mailbox where their mail goes, and none they typed
            if what == "restrict":
                asked = rights.PERSON if own else rights.CONTROLLER
                if rights.restrict(session, person, how="page", asked=asked, now=self.now, by=by) and own:
                    self.restricted.add(person.public_id)
            elif what == "lift":
                if (
                    rights.lift_restriction(session, person, how="page", told=True, now=self.now, by=by)
                    and own
                ):
                    self.restricted.discard(person.public_id)
            elif what == "object":
                said = changes.consent.Said("page" if own else "staff", "page")
                rights.object_to_marketing(session, self.ring, person, said, now=self.now, by=by)
                marketing = select(Topic.slug).where(col(Topic.mail_class) == "marketing")
                self.says_no(self.theirs(session, person), session.exec(marketing).all())
                self.only_they |= {(key, "objection") for key in keys}
            elif rights.lift_objection(session, person, now=self.now):
                at = select(Person.public_id).join(Address, col(Address.id) == col(Person.address_id))
                keys |= set(
                    session.exec(at.where(col(Address.address_hash).in_(keys)))
                )  # one mailbox is one person
                self.only_they -= {(key, "objection") for key in keys}

        self.act(use)

    @rule(which=st.integers(0, 30))
    def erases(self, which: int) -> None:
        """Rarely: whoever is erased says nothing more."""

        def erase(session: Session) -> None:
            person = self.person(session, which)
            if which > 26 and person is not None and person.state != "merged":
                erasure.erase(session, self.ring, person, how="staff", now=self.now, by=make.STAFF)

        self.act(erase)

    # --- mail, topics, policies, time ---

    @rule()
    def a_letter_bounces(self) -> None:
        """The next confirmation that is due goes to a mailbox whose server says that there is none."""

        def send(session: Session) -> None:
            name, boot = f"s{self.now:%d%H%M%S}", clock.boot_id()
            lease = senders.begin(session, name, boot_id=boot, seen_seq=0, now=self.now)
            found = claims.claim(session, self.ring, lease.id or 0, now=self.now, limit=1, system=True)
            senders.end(session, name, now=self.now)
            for claimed in found:
                going = [one for one in claimed.members if one.refusal is None]
                results = [
                    Result(one.pos, one.attempt, "bounced", "no_mailbox", 550, "5.1.1", suppress=True)
                    for one in going
                ]
                chance, waits = random.Random(1), self.house.waits
                claims.record(session, claimed, results, waits=waits, now=self.now, chance=chance)
            self.dead |= set(
                session.exec(
                    select(Suppression.address_hash).where(
                        col(Suppression.cause) == "hard_bounce", col(Suppression.since_at) == self.now
                    )
                )
            )

        self.act(send)

    @rule(
        slug=slugs,
        what=st.sampled_from(["retire", "restore", "words", "more words", "private", "no button", "policy"]),
    )
    def a_topic_or_the_policy_changes(self, slug: str, what: str) -> None:
        def change(session: Session) -> None:
            given: dict[str, Any] = {"now": self.now, "by": make.STAFF}
            if what == "words":
                topics.publish_wording(session, slug, WORDS, **given)
            elif what == "more words":
                brands.set_fields(session, "default", {"postal_address": "Mill Lane 1"}, **given)
                reasking.publish(session, slug, self._more_words(session, slug), material=True, **given)
                reasking.step(session, now=self.now)
            elif what == "policy":
                soon, texts = self.now + timedelta(days=1), {"en": PolicyText("Privacy", "New.")}
                policies.publish(session, slug="privacy", texts=texts, effective_at=soon, **given)
            elif what in ("retire", "restore"):
                (topics.retire if what == "retire" else topics.restore)(session, slug, **given)
            elif what == "private":
                topics.change(session, slug, visibility="private", **given)
            else:
                topics.change(session, slug, double_opt_in=False, **given)

        self.act(change)

    def _more_words(self, session: Session, slug: str) -> dict[str, WordingText]:
        """Other words than the present ones, in each of their languages."""
        present = topic_queries.current_wordings(session, make.the_topic(session, slug).id or 0)
        text = f"Send me still more of this, as of {self.now:%d %H:%M:%S}."
        return {code: WordingText("Newer words", "Now and then", text) for code in present}

    @rule(
        span=st.sampled_from(
            [timedelta(minutes=20), timedelta(hours=25), timedelta(days=8), timedelta(days=400)]
        )
    )
    def time_passes(self, span: timedelta) -> None:
        """In a long time mail that nobody sent ends by itself, and the clock takes away what is old."""
        self.now += span
        if span > timedelta(days=30):
            for job in (jobs.expire, jobs.settle, jobs.forget, jobs.keep_safe):
                job(self.house, self.now)

    @rule()
    def copies_the_database(self) -> None:
        self.copy = self.place.copied()

    @precondition(lambda self: self.copy is not None)
    @rule()
    def the_copy_is_put_back(self) -> None:
        """As at the product's start: the clock notices, and the noes of the file outside are merged."""
        self.now += STEP
        jobs.checkpoint(self.house, self.now)
        self.the_ledger_tells_the_same()
        self.place.put_back(self.copy)
        self.house, self.copy, self.seen = (
            House(self.house.settings, self.house.engine, self.ring),
            None,
            None,
        )
        self.judged.clear()
        with suppress(restored.NothingToMerge):
            restored.merge(self.house, now=self.now)
        with reading(
            self.house.engine
        ) as session:  # who is not in it is nobody here; their mailboxes keep the noes
            self.restricted &= set(session.exec(select(Person.public_id)))
        self.imports.clear()
        self.the_ledger_tells_the_same()

    # --- what must hold ---

    @invariant()
    def nobody_is_let_through_over_their_no(self) -> None:
        """Looked at where the ledger's end or the time has moved."""
        with reading(self.house.engine) as session:
            moved = self.seen != (self.now, entries.tail(session))
        if moved:
            self.look()

    def look(self) -> None:
        """Every person and topic through both gates; the pure one anew for those whose rows are not as they were."""
        with reading(self.house.engine) as session:
            connection = session.connection()
            self.seen = self.now, entries.tail(session)
            persons = {row.id: row for row in connection.execute(_PERSONS)}
            self._follow_merges(persons)
            boxes = {row.id: row for row in connection.execute(_BOXES)}
            said = {(row.person_id, row.topic_id): row for row in connection.execute(_SAID)}
            stops: dict[str, list[Any]] = {}
            for row in connection.execute(_STOPS):
                stops.setdefault(row.address_hash, []).append(tuple(row))
            for topic in session.exec(_TOPICS):
                active, since = topic.state == "active", topic.since_version
                facts = rules.TopicFacts(
                    topic.id or 0, topic.mail_class, topic.basis, active, since_version=since
                )
                found = connection.execute(_eligible(facts), {"now": self.now})
                by_sql = {person_id for _, person_id, *_ in found}
                for one, person in persons.items():
                    if person.state != "merged":
                        box, preference = boxes.get(person.address_id), said.get((one, facts.id))
                        timed = preference and (preference.break_until or preference.valid_until)
                        stopped = tuple(stops.get(box.address_hash, ())) if box else ()
                        rows = (facts, person, box, preference, stopped, self.now if timed else None)
                        assert self._pure(session, rows) == (one in by_sql), (
                            f"the gates disagree about {person.public_id} and {topic.slug}"
                        )
                    if one in by_sql:
                        self._may(person, boxes[person.address_id].address_hash, topic)
                        if since:
                            self._covered(session, said[one, facts.id], topic)

    def _pure(self, session: Session, rows: Any) -> bool:
        """What the pure gate says of these rows, which are all that it reads."""
        if rows not in self.judged:
            standing = queries.standing(session, session.get_one(Person, rows[1].id), rows[0])
            self.judged[rows] = rules.decide(standing, topic=rows[0], now=self.now).allowed
        return self.judged[rows]

    def _may(self, person: Any, mailbox: str, topic: Topic) -> None:
        """Both gates let them through: nothing of what they said speaks against it."""
        keys = [person.public_id, mailbox]
        assert not [key for key in keys if self.no.get((key, topic.slug))], f"{topic.slug}: a no became a yes"
        if topic.mail_class == "marketing":
            mine = [cause for key in keys for cause in OWN if (key, cause) in self.only_they]
            assert not mine, f"{topic.slug}: the {mine[0]} became a yes"
        assert person.public_id not in self.restricted, "a restriction was lifted by others"
        assert mailbox not in self.dead, "a mailbox that is none is written to"

    def _covered(self, session: Session, preference: Any, topic: Topic) -> None:
        """The entry that permits it names words that promise as much, whatever the table says."""
        warrant = entries.entry(session, preference.warrant_seq)
        assert warrant is not None
        wording = session.exec(
            select(Wording.version).where(col(Wording.public_id) == warrant.body.get("wording"))
        ).one_or_none()
        assert (wording or 0) >= topic.since_version, (
            f"{topic.slug}: a yes to older words became one to newer"
        )

    def _follow_merges(self, persons: dict[int, Any]) -> None:
        """Of two registrations of one mailbox the later word holds; what binds the one binds whoever is left."""
        for person in persons.values():
            into = person
            while into.merged_into:
                into = persons[into.merged_into]
            if into is not person:
                self._merged(person.public_id, into.public_id)

    def _merged(self, was: str, into: str) -> None:
        for slug in SLUGS:
            said = max(self.no.pop((was, slug), {}).values(), default=None)
            if said is not None and said.said > self.yes.get((into, slug), NOW - timedelta(days=9)):
                mine = self.no.setdefault((into, slug), {})
                mine[into] = max(said, mine.get(into, said))
        for by in self.no.values():
            if was in by:
                by[into] = max(by.pop(was), by.get(into, No(NOW, NOW)))
        for cause in OWN:
            if (was, cause) in self.only_they:
                self.only_they = self.only_they - {(was, cause)} | {(into, cause)}
        if was in self.restricted:
            self.restricted = self.restricted - {was} | {into}

    def the_ledger_tells_the_same(self) -> None:
        """The table is what the ledger, read from its first entry, makes of it."""
        with reading(self.house.engine) as session:
            assert projection.differences(session) == []
            assert entries.verify(session).holds

    def evidence_says_what_the_gate_says(self) -> None:
        """Whether what somebody said permits mail now, by the ledger alone: what the gate refuses is permitted there for a reason only
        that the ledger does not show, and what it lets through is. verify_ledger.py finds the same in each one's evidence file."""
        with reading(self.house.engine) as session:
            living = session.exec(select(Person).where(col(Person.state) != "merged")).all()
            for person in living:
                family = [one.public_id for one in erasing.with_merged(session, person)]
                then = permitted.ByThen(session, family, until=self.now)
                for said, stops in then.stood(person.public_id):
                    if then.topic(said["topic"]) is None:  # made after the copy that was put back
                        assert stops
                        continue
                    by_gate = self._by_gate(session, person, topic_queries.by_slug(session, said["topic"]))
                    assert stops is None or not by_gate.allowed, f"evidence says {stops}, the gate yes"
                    assert stops or by_gate.allowed or by_gate.reason in NOT_IN_LEDGER, (
                        f"evidence permits what the gate calls {by_gate.reason}"
                    )
        self._evidence_holds([one.public_id for one in living])

    def _by_gate(self, session: Session, person: Person, topic: Topic) -> rules.Decision:
        facts = delivery_queries.topic_facts(topic, topic.since_version)
        return rules.decide(queries.standing(session, person, facts), topic=facts, now=self.now)

    def _evidence_holds(self, public_ids: Sequence[str]) -> None:
        with transaction(self.house.engine) as session:
            checkpoints.sign(session, self.ring, now=self.now)
            keys = verify_ledger.read_keys([*checkpoints.keys(self.ring)])
            for person in [make.the_person(session, one) for one in public_ids]:
                file = evidence.of_person(session, self.ring, person, on=self.now, now=self.now)
                found = verify_ledger.check(io.BytesIO(json.dumps(file).encode()), keys)
                assert found.holds or "proof" not in file, f"{found.fault}: {found.why}"
