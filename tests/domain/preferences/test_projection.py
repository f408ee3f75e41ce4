"""The table of preferences is what the ledger says, whatever happens in whatever order; and only a person makes a yes of a no (P7)."""

import contextlib
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test
from sqlalchemy import select, update
from sqlalchemy.engine import Engine
from sqlmodel import Session, col

from service.domain.links import rules as links
from service.domain.mailings.tables import Address
from service.domain.people.tables import Person
from service.domain.preferences import access, actions, projection
from service.domain.preferences.actions import UNCHANGED, Choices
from service.domain.preferences.rules import NOES, PERMITTING, GrantNeedsNewConfirmation, NotRefusable
from service.domain.preferences.tables import Preference
from service.domain.suppressions import actions as suppressions
from service.domain.topics.tables import Topic
from service.kit import addresses
from service.kit.signing import Keyring
from tests import builders as make
from tests.conftest import NOW

MAILBOXES = ("ana@example.org", "bea@example.org", "cem@example.org")
TOPICS = st.sampled_from(["new-products", "updates", "important-notices"])
CHOOSABLE = st.sampled_from(["new-products", "updates"])
Standing = dict[tuple[int, int], tuple[str, str | None]]  # person, topic → state, mailbox


def _settle(session: Session) -> None:
    """What closing a transaction does, all but the commit: the ledger's rows are written."""
    session.flush()
    for last in session.info.pop("at_end", []):
        last(session)


class Choosing(RuleBasedStateMachine):
    """Sites, readers and servers, each saying whatever they may, one after the other, in one transaction that is rolled back."""

    engine: Engine
    ring: Keyring

    def __init__(self) -> None:
        super().__init__()
        self.session = Session(self.engine.execution_options(write=True), expire_on_commit=False)
        self.now = NOW
        self.people: list[Person] = []
        self.undos: list[str] = []
        self.external = 0

    def teardown(self) -> None:
        self.session.rollback()
        self.session.close()

    def _do(self, action: Callable[[], Any], *, own: bool = False) -> Any:
        """One action, then the promises. `own`: the person themself pressed a button or took a stop back."""
        self.now += timedelta(minutes=3)
        before = self._standing()
        answer = None
        with contextlib.suppress(links.LinkExpired, GrantNeedsNewConfirmation, NotRefusable):
            answer = action()
        _settle(self.session)
        assert projection.differences(self.session) == []
        after = self._standing()
        if not own:
            self._no_stays_no(before, after)
        return answer

    def _standing(self) -> Standing:
        statement = (
            select(Preference.person_id, Preference.topic_id, Preference.state, Address.address_hash)  # type: ignore[call-overload]
            .join(Person, col(Person.id) == col(Preference.person_id))
            .outerjoin(Address, col(Address.id) == col(Person.address_id))
        )
        return {
            (p, t): (state, digest) for p, t, state, digest in self.session.connection().execute(statement)
        }

    def _no_stays_no(self, before: Standing, after: Standing) -> None:
        refused = {
            (digest, topic) for (_, topic), (state, digest) in before.items() if state in NOES and digest
        }
        service = set(self.session.scalars(select(col(Topic.id)).where(col(Topic.mail_class) == "service")))
        for (person, topic), (state, digest) in after.items():
            was = before.get((person, topic), ("unknown", None))[0]
            if state in PERMITTING and was not in PERMITTING:
                assert was not in NOES
                assert topic in service or (digest, topic) not in refused

    # What sites do

    @rule(
        mailbox=st.sampled_from(MAILBOXES),
        answers=st.dictionaries(CHOOSABLE, st.tuples(st.booleans(), st.booleans()), max_size=2),
        source=st.sampled_from(["shop", "crm", "join"]),
        again=st.booleans(),
        minutes=st.sampled_from([0, 5, 500]),
    )
    def register(
        self, mailbox: str, answers: dict[str, tuple[bool, bool]], source: str, again: bool, minutes: int
    ) -> None:
        self.external += not again
        at = self.now - timedelta(minutes=minutes)
        consents = [
            make.an_answer(slug, given, at=at, confirmed=sure and source == "shop")
            for slug, (given, sure) in answers.items()
        ]
        more = {
            "source": source,
            "external_id": f"e{self.external}",
            "attest": source == "shop",
            "attested": source != "join",
        }
        said = self._do(
            lambda: make.register(self.session, self.ring, mailbox, consents, now=self.now, **more)
        )
        person = make.the_person(self.session, said.person_id)
        if person not in self.people:
            self.people.append(person)

    @rule(mailbox=st.sampled_from(MAILBOXES))
    def bounce(self, mailbox: str) -> None:
        digest = make.address_hash(self.ring, mailbox)
        add = {"scope": "all", "cause": "hard_bounce", "origin": "m_1", "subject": None, "by": "system"}
        self._do(lambda: suppressions.add(self.session, digest, now=self.now, **add))

    # What people do

    def _person(self, data: st.DataObject) -> Person:
        return data.draw(st.sampled_from(self.people))

    @precondition(lambda self: self.people)
    @rule(data=st.data(), slug=TOPICS)
    def stop(self, data: st.DataObject, slug: str) -> None:
        link = make.a_link(self.session, self._person(data), slug)
        done = self._do(
            lambda: actions.stop(self.session, self.ring, link, how="one_click", evidence={}, now=self.now)
        )
        self.undos += [done.undo] if done and done.undo else []

    @precondition(lambda self: self.people)
    @rule(data=st.data())
    def stop_all(self, data: st.DataObject) -> None:
        link = make.a_link(self.session, self._person(data), None)
        done = self._do(
            lambda: actions.stop_all(self.session, self.ring, link, how="link", evidence={}, now=self.now)
        )
        self.undos += [done.undo] if done.undo else []

    @precondition(lambda self: self.people)
    @rule(
        data=st.data(),
        chosen=st.dictionaries(CHOOSABLE, st.sampled_from(["each", "off"]), max_size=2),
        days=st.sampled_from([None, 10, 40, -1]),
        most=st.sampled_from([UNCHANGED, None, 2]),
    )
    def save(self, data: st.DataObject, chosen: dict[str, str], days: int | None, most: Any) -> None:
        person = self._person(data)
        if person.state == "merged":
            person = make.the_person(self.session, person.public_id)
        until = UNCHANGED if days == -1 else (self.now + timedelta(days=days)).date() if days else None
        choices = Choices(chosen, break_until=until, max_per_week=most)
        by = f"person:{person.public_id}"
        done = self._do(
            lambda: actions.save(
                self.session, self.ring, person, choices, how="page", evidence={}, now=self.now, by=by
            )
        )
        self.undos += [done.undo] if done.undo else []

    @precondition(lambda self: self.undos)
    @rule(data=st.data())
    def undo(self, data: st.DataObject) -> None:
        value = data.draw(st.sampled_from(self.undos))
        self._do(lambda: actions.undo(self.session, value, now=self.now), own=True)

    @precondition(lambda self: self.people)
    @rule(data=st.data())
    def confirm(self, data: st.DataObject) -> None:
        buttons = make.buttons(self.session)
        if buttons:
            link = data.draw(st.sampled_from(buttons))
            self._do(lambda: make.press(self.session, self.ring, link, now=self.now), own=True)

    @precondition(lambda self: self.people)
    @rule(data=st.data(), mailbox=st.sampled_from(MAILBOXES))
    def change_email(self, data: st.DataObject, mailbox: str) -> None:
        person = make.the_person(self.session, self._person(data).public_id)
        address, by = addresses.parse(mailbox), f"person:{person.public_id}"
        self._do(lambda: access.change_email(self.session, self.ring, person, address, now=self.now, by=by))


def test_the_projection_is_the_ledger_and_no_stays_no(shared_engine: Engine, ring: Keyring) -> None:
    machine = type("Choosing", (Choosing,), {"engine": shared_engine, "ring": ring})
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        machine,
        settings=settings(
            max_examples=30, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


@pytest.mark.parametrize(
    "values",
    [
        {"state": "given"},
        {"cadence": "weekly"},
        {"warrant_seq": 1},
        {"basis": "soft_opt_in"},
        {"last_seq": 1},
        {"break_until": NOW},
    ],
    ids=lambda values: next(iter(values)),
)
def test_a_row_written_past_the_ledger_shows(
    session: Session, ring: Keyring, now: datetime, values: dict[str, Any]
) -> None:
    ana = make.a_person(session, ring, now=now)
    actions.stop(session, ring, make.a_link(session, ana), how="link", evidence={}, now=now)
    _settle(session)
    assert projection.differences(session) == []
    topic = make.the_topic(session).id
    session.connection().execute(
        update(Preference)
        .where(col(Preference.person_id) == ana.id, col(Preference.topic_id) == topic)
        .values(**values)
    )
    [line] = projection.differences(session)
    assert line.startswith(f"{ana.public_id} new-products: {next(iter(values))} is ")


def test_a_row_too_many_and_a_row_missing_show(session: Session, ring: Keyring, now: datetime) -> None:
    ana = make.a_person(session, ring, now=now, yes=("new-products",))
    _settle(session)
    session.connection().execute(
        update(Preference)
        .where(col(Preference.person_id) == ana.id, col(Preference.topic_id) == make.the_topic(session).id)
        .values(topic_id=make.the_topic(session, "updates").id)
    )
    assert projection.differences(session) == [
        f"{ana.public_id} new-products: the ledger says given, the table has no row",
        f"{ana.public_id} updates: the table says given, the ledger nothing",
    ]
