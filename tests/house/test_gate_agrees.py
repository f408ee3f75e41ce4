"""One gate (design.md 3): the pure `decide` and the SQL `refusal` say the same of every row, in the same order of reasons."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import true
from sqlalchemy.engine import Engine
from sqlmodel import Session, col

from service.domain.consent import jurisdictions
from service.domain.mailings.tables import Address
from service.domain.people.tables import Person, PersonAttribute
from service.domain.preferences import queries, rules
from service.domain.preferences.rules import Standing, TopicFacts, decide
from service.domain.preferences.tables import STATES, Preference
from service.domain.suppressions.rules import CAUSES
from service.domain.suppressions.tables import Suppression
from service.kit.ids import new_alias, person_id
from tests import builders as make

NOW = datetime(2026, 11, 24, 9, 20, tzinfo=UTC)
MOMENTS = st.sampled_from(
    [None, NOW - timedelta(days=1), NOW, NOW + timedelta(microseconds=1), NOW + timedelta(days=9)]
)
BASES = (
    "consent",
    "soft_opt_in",
    "contract",
    "legal_obligation",
    "legacy_registration",
    "implied_purchase",
    "implied_inquiry",
)
COUNTRIES = st.sampled_from(
    [(), ("de",), ("GB",), ("us",), (" ca ",), ("ru",), ("br",), ("ca", "us"), ("de", "ru")]
)
CLASSES = ("marketing", "notice", "service")
ASKING = st.sampled_from(["", "", rules.REGISTERED, rules.RENEWAL])


def _asks(about: str, mail_class: str) -> str:
    """Only topics that people can refuse are asked about."""
    return about if mail_class == "marketing" else ""


@dataclass(frozen=True)
class Case:
    """One person as rows: what `Standing` condenses."""

    person_state: str
    address: str  # none | ended | live
    confirmed: bool
    attested: bool
    pending: bool
    suppressions: tuple[tuple[str, str, bool], ...]  # (all | marketing | this | other, cause, lifted)
    preference: (
        tuple[str, str, datetime | None, datetime | None] | None
    )  # state, basis, break_until, valid_until
    countries: tuple[str, ...] = ()
    version: int = 0  # of the words they agreed to


CASES = st.builds(
    Case,
    st.sampled_from(["active", "active", "active", "restricted", "erased"]),
    st.sampled_from(["live", "live", "live", "ended", "none"]),
    st.booleans(),
    st.booleans(),
    st.sampled_from([False, False, True]),
    st.lists(
        st.tuples(
            st.sampled_from(["all", "marketing", "this", "other"]),
            st.sampled_from(sorted(CAUSES)),
            st.booleans(),
        ),
        max_size=2,
    ).map(tuple),
    st.none()
    | st.tuples(st.sampled_from([*STATES, "given", "given"]), st.sampled_from(BASES), MOMENTS, MOMENTS),
    COUNTRIES,
    st.integers(0, 3),
)


def _condensed(case: Case, mail_class: str) -> Standing:
    """What the gate should be told of this case, said anew."""
    state, basis, break_until, valid_until = case.preference or ("unknown", "consent", None, None)
    concerned = {"all", "this"} | ({"marketing"} if mail_class == "marketing" else set())
    stops = frozenset(
        (scope, cause) for scope, cause, lifted in case.suppressions if scope in concerned and not lifted
    )
    there = case.address != "none"
    return Standing(
        person_state=case.person_state,
        has_address=case.address == "live",
        address_confirmed=there and case.confirmed,
        address_attested=there and case.attested,
        address_pending=case.pending,
        suppressed=stops if there else frozenset(),
        state=state,
        basis=basis,
        break_until=break_until,
        valid_until=valid_until,
        countries=frozenset(case.countries),
        wording_version=case.version if case.preference else 0,
    )


def _put(session: Session, n: int, case: Case, topic: int, other: int) -> Person:
    alias = new_alias(8)
    person = Person(alias=alias, public_id=person_id(alias), state=case.person_state, created_at=NOW)
    session.add(person)
    session.flush()
    digest = f"{alias:064x}"
    if case.address != "none":
        person.address_id = _address(session, person, digest, case, NOW if case.address == "ended" else None)
    if case.pending:
        person.pending_address_id = _address(
            session, person, f"{alias:063x}f", replace(case, confirmed=False), None
        )
    for scope, cause, lifted in case.suppressions:
        named = {"this": topic, "other": other}.get(scope)
        session.add(
            Suppression(
                address_hash=digest,
                scope="topic" if named else scope,
                topic_id=named,
                cause=cause,
                since_at=NOW,
                source_seq=1,
                lifted_at=NOW if lifted else None,
            )
        )
    if case.preference:
        state, basis, break_until, valid_until = case.preference
        first = "given" if state in ("renewed", "expired", "invalidated") else state
        row = Preference(
            person_id=person.id,
            topic_id=topic,
            since_at=NOW,
            last_seq=1,
            warrant_seq=1,
            state=first,
            basis=basis,
            break_until=break_until,
            valid_until=valid_until,
            wording_version=case.version,
        )
        session.add(row)
        session.flush()
        row.state = state
        session.add(row)
    for country in case.countries:
        session.add(PersonAttribute(person_id=person.id, name="country", value=country))
    session.add(person)
    session.flush()
    return person


def _address(
    session: Session, person: Person, digest: str, case: Case, ended_at: datetime | None
) -> int | None:
    row = Address(
        owner_kind="person",
        owner_id=person.id,
        sealed=b"x",
        address_hash=digest,
        attested=case.attested,
        created_at=NOW,
        confirmed_at=NOW if case.confirmed else None,
        ended_at=ended_at,
    )
    session.add(row)
    session.flush()
    return row.id


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    st.lists(CASES, min_size=6, max_size=14),
    st.sampled_from(CLASSES),
    st.booleans(),
    ASKING,
    st.integers(0, 3),
)
def test_the_pure_gate_and_the_sql_gate_agree_row_by_row(
    shared_engine: Engine, cases: list[Case], mail_class: str, active: bool, asking: str, since: int
) -> None:
    with Session(shared_engine.execution_options(write=True), expire_on_commit=False) as session:
        topic, other = (make.the_topic(session, slug).id or 0 for slug in ("new-products", "updates"))
        facts = TopicFacts(topic, mail_class, "consent", active, _asks(asking, mail_class), since)
        people = [_put(session, n, case, topic, other) for n, case in enumerate(cases)]
        asked = queries.standing_of_everyone(facts).with_only_columns(
            col(Person.id), queries.refusal(facts, NOW)
        )
        by_sql: dict[Any, Any] = {person: reason for person, reason in session.connection().execute(asked)}
        eligible = {row[1] for row in session.connection().execute(queries.eligible(facts, true(), NOW))}
        counts = queries.audience_counts(session, facts, true(), NOW)
        for person, case in zip(people, cases, strict=True):
            decision = decide(_condensed(case, mail_class), topic=facts, now=NOW)
            assert decide(queries.standing(session, person, facts), topic=facts, now=NOW) == decision, case
            assert by_sql[person.id] == decision.reason, case
            assert (person.id in eligible) == decision.allowed, case
        assert counts.total == len(eligible)
        assert counts.total + sum(counts.excluded.values()) == len(by_sql)
        session.rollback()


# What would have to be otherwise for a reason not to hold.
HEALED: dict[str, dict[str, Any]] = {
    "erased": {"person_state": "active"},
    "restricted": {"person_state": "active"},
    "complained": {},
    "do_not_mail": {},
    "bounced": {},
    "no_address": {"has_address": True},
    "withdrawn": {"state": "given"},
    "refused": {"state": "given"},
    "invalidated": {"state": "given"},
    "no_consent": {"state": "given"},
    "requested": {"state": "given"},
    "expired": {"valid_until": None},
    "legacy_unconfirmed": {"basis": "consent"},
    "law_wants_a_yes": {"basis": "consent"},
    "answered": {"state": "given", "basis": "legacy_registration"},
    "law_forbids_asking": {"countries": frozenset({"us"})},
    "older_words": {"wording_version": 3},
    "address_pending": {"address_pending": False},
    "unconfirmed": {"address_confirmed": True},
    "on_break": {"break_until": None},
}
CAUSES_OF = {
    "complained": {"complaint"},
    "bounced": {"hard_bounce"},
    "do_not_mail": set(CAUSES) - {"complaint", "hard_bounce"},
}


@settings(max_examples=400, deadline=None)
@given(CASES, st.sampled_from(CLASSES), st.booleans(), ASKING, st.integers(0, 3))
def test_the_gravest_reason_is_named_first(
    case: Case, mail_class: str, active: bool, asking: str, since: int
) -> None:
    """Mend what is said, and what is said next is milder, until the mail may go."""
    facts = TopicFacts(1, mail_class, "consent", active, _asks(asking, mail_class), since)
    standing, said = _condensed(case, mail_class), [-1]
    while (reason := decide(standing, topic=facts, now=NOW).reason) is not None:
        place = rules.REASONS.index(reason)
        assert place > said[-1], (reason, [rules.REASONS[n] for n in said[1:]])
        said.append(place)
        if reason == "topic_retired":
            facts = replace(facts, active=True)
            continue
        if reason == "covered":
            facts = replace(facts, asking="")
            continue
        change = dict(HEALED[reason])
        if reason in CAUSES_OF:
            change["suppressed"] = frozenset(
                one for one in standing.suppressed if one[1] not in CAUSES_OF[reason]
            )
        if reason == "expired" and standing.state == "expired":
            change["state"] = "given"
        standing = replace(standing, **change)
    assert set(HEALED) | {"topic_retired", "covered"} == set(rules.REASONS)


# country → what may carry marketing there without a yes of the person's own, written out once more
WITHOUT_A_YES = {
    "de": {"soft_opt_in"},
    "no": {"soft_opt_in"},
    "pl": set(),
    "gb": {"soft_opt_in"},
    "us": {"soft_opt_in", "implied_purchase", "implied_inquiry"},
    "ca": {"implied_purchase", "implied_inquiry"},
    "ru": set(),
    "br": set(),
    "": set(),
}


@pytest.mark.parametrize("country", sorted(WITHOUT_A_YES))
@pytest.mark.parametrize("basis", ["consent", "soft_opt_in", "implied_purchase", "implied_inquiry"])
def test_what_permits_without_a_yes_depends_on_the_country(country: str, basis: str) -> None:
    standing = Standing(
        address_confirmed=True, state="given", basis=basis, countries=frozenset({country} - {""})
    )
    for mail_class in CLASSES:
        reason = decide(standing, topic=TopicFacts(1, mail_class, "consent"), now=NOW).reason
        free = mail_class == "service" or basis == "consent" or basis in WITHOUT_A_YES[country]
        assert reason == (None if free else "law_wants_a_yes")


@pytest.mark.parametrize("line", jurisdictions.TABLE, ids=lambda one: one.name)
def test_every_line_of_the_table_decides_something(
    monkeypatch: pytest.MonkeyPatch, line: jurisdictions.Jurisdiction
) -> None:
    """Take the line away and let its countries share another's: some decision of the gate changes."""

    table = jurisdictions.TABLE

    def decisions() -> list[str | None]:
        return [
            decide(
                Standing(address_confirmed=True, state="given", basis=basis, countries=frozenset({country})),
                topic=TopicFacts(1, "marketing", "consent"),
                now=NOW,
            ).reason
            for basis in jurisdictions.WITHOUT_A_YES
            for country in line.countries
        ]

    before = decisions()
    assert (None in before) == bool(line.permits)
    for other in table:
        if other.permits != line.permits:
            moved = replace(other, countries=other.countries | line.countries)
            monkeypatch.setattr(jurisdictions, "TABLE", (moved,))
            assert decisions() != before
    monkeypatch.setattr(jurisdictions, "TABLE", tuple(one for one in table if one is not line))
    assert set(decisions()) == {"law_wants_a_yes"}


def test_nothing_known_is_not_allowed() -> None:
    assert decide(Standing(), topic=TopicFacts(1, "marketing", "consent"), now=NOW).reason == "no_consent"
