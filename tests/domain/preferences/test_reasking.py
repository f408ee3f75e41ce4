"""Asking once whom registering made agree: whom, under which law, with which words, and never a second time."""

import asyncio
import json
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update
from sqlmodel import Session, col, select

from scheduler import jobs
from service.db.session import transaction
from service.domain.brands import actions as brands
from service.domain.consent.tables import Confirmation
from service.domain.ledger import actions as ledger
from service.domain.links import rules as links
from service.domain.mailings.rules import ASK_AGAIN
from service.domain.mailings.tables import Audience, Mailing, Outcome
from service.domain.people import queries as people
from service.domain.people.tables import Person
from service.domain.policies.tables import PolicyVersion
from service.domain.preferences import actions as preferences
from service.domain.preferences import confirmation, projection, reasking, rules
from service.domain.preferences.intake import Transfer, look_up
from service.domain.preferences.registration import Registered, Registration, register_many
from service.domain.preferences.tables import Asked, Preference
from service.kit import addresses, clock
from service.mail.letters import PostalAddressMissing
from service.ops import restored
from tests import builders as make
from tests import checks
from tests.scheduler.conftest import Post, Sink, SinkSettings, send_all

TOPIC = "new-products"


def _registered(post: Post, **countries: str) -> None:
    """People an import labelled: registering meant agreeing to the topic."""
    at = (clock.now() - timedelta(days=4000)).isoformat()
    said = {"topic": TOPIC, "given": True, "source": "old terms", "evidence": {"at": at}}
    items = [
        Registration(
            name,
            f"{name}@example.org",
            "en",
            None,
            None,
            {"country": country} if country else {},
            [said],
            attested=False,
        )
        for name, country in countries.items()
    ]
    with transaction(post.engine) as session:
        facts = look_up(session, clock.now(), Transfer("i_old", False, {TOPIC: "legacy_registration"}))
        answers = register_many(
            session,
            post.ring,
            "old",
            items,
            attest=False,
            topics=None,
            now=clock.now(),
            by="cli",
            facts=facts,
        )
        assert all(isinstance(one, Registered) for one in answers), answers


def _begin(post: Post) -> str:
    with transaction(post.engine) as session:
        return reasking.begin(session, TOPIC, now=clock.now(), by="staff:u_1").public_id


def _tick(post: Post) -> None:
    jobs.ask_again(post.house(9), clock.now())


def _person(session: Session, post: Post, name: str) -> Person:
    return people.by_address(session, post.ring, addresses.parse(f"{name}@example.org"))[0]


def _state(post: Post, name: str) -> tuple[str, str]:
    with Session(post.engine) as session:
        row = session.get_one(Preference, (_person(session, post, name).id, make.the_topic(session).id))
        return row.state, row.basis


def _sent(post: Post) -> dict[str, str]:
    async def story() -> dict[str, str]:
        async with Sink(SinkSettings(keep=True)) as sink:
            await send_all(post, post.house(sink.port))
            return {message.rcpt.partition("@")[0]: message.data.decode() for message in sink.kept}

    return asyncio.run(story())


def _button(session: Session, post: Post, name: str) -> links.Link:
    person = _person(session, post, name)
    row = session.exec(select(Confirmation).where(col(Confirmation.person_id) == person.id)).one()
    mailing = session.get_one(Mailing, row.mailing_id)
    return links.Link(links.CONFIRM, person.alias, make.the_topic(session).alias, mailing.alias, 1)


def test_only_those_are_asked_whom_the_law_lets_a_mail_ask(post: Post) -> None:
    _registered(post, ana="us", ben="de", cem="ca", dan="", eva="US", fay="ru")
    with Session(post.engine) as session:
        seen = reasking.outlook(session, make.the_topic(session), now=clock.now())
    assert (seen.people, seen.left_out) == (2, {"law_forbids_asking": 4})
    _begin(post)
    _tick(post)
    got = _sent(post)
    assert set(got) == {"ana", "eva"}
    mail = " ".join(got["ana"].replace("=\r\n", "").split())
    assert "because you registered with us" in mail
    assert "List-Unsubscribe-Post: List-Unsubscribe=One-Click" in mail
    assert "Kettle Works" in mail
    assert "/confirm/" in mail
    assert checks.chain(post.engine) == []


def test_the_button_makes_a_yes_of_their_own_and_doing_nothing_makes_none(post: Post) -> None:
    _registered(post, ana="us", ben="us")
    _begin(post)
    _tick(post)
    _sent(post)
    with transaction(post.engine) as session:
        made = confirmation.confirm(
            session, post.ring, _button(session, post, "ana"), evidence={}, now=clock.now()
        )
        assert [topic.slug for topic in made.topics] == [TOPIC]
    assert _state(post, "ana") == ("given", "consent")
    assert _state(post, "ben") == ("given", "legacy_registration")
    announcement = post.announce(post.house(9))
    assert set(_sent(post)) == {"ana"}
    assert post.report(announcement)["excluded"]["legacy_unconfirmed"] == 1
    with Session(post.engine) as session:
        assert projection.differences(session) == []


def test_nobody_is_asked_twice_by_any_topic_registration_or_round(post: Post) -> None:
    _registered(post, ana="us")
    _begin(post)
    _tick(post)
    _tick(post)  # the round ends
    with transaction(post.engine) as session, pytest.raises(reasking.NobodyToAsk):
        reasking.begin(session, TOPIC, now=clock.now(), by="staff:u_1")
    _registered(post, ben="us")
    at = (clock.now() - timedelta(days=4000)).isoformat()
    said = {"topic": TOPIC, "given": True, "source": "old terms", "evidence": {"at": at}}
    again = Registration(
        "other", "ana@example.org", "en", None, None, {"country": "us"}, [said], attested=False
    )
    with transaction(post.engine) as session:
        facts = look_up(session, clock.now(), Transfer("i_two", False, {TOPIC: "legacy_registration"}))
        register_many(
            session,
            post.ring,
            "two",
            [again],
            attest=False,
            topics=None,
            now=clock.now(),
            by="cli",
            facts=facts,
        )
    _begin(post)
    _tick(post)
    with Session(post.engine) as session:
        assert len(session.exec(select(Asked)).all()) == 2
    assert set(_sent(post)) == {"ana", "ben"}


def test_a_round_killed_between_two_ticks_goes_on_and_asks_each_once(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reasking, "CHUNK", 2)
    _registered(post, **{f"u{n}": "us" for n in range(5)})
    _begin(post)
    with Session(post.engine.execution_options(write=True)) as session:
        assert reasking.step(session, now=clock.now()) == 2
        session.rollback()  # the machine goes down
    for _ in range(4):
        _tick(post)
    with Session(post.engine) as session:
        assert len(session.exec(select(Mailing).where(col(Mailing.purpose) == ASK_AGAIN)).all()) == 5
        row = reasking.last(session, make.the_topic(session))
        assert row is not None
        assert (row.state, row.asked) == ("ended", 5)


def test_a_no_said_before_the_claim_is_heeded(post: Post) -> None:
    _registered(post, ana="us", ben="us")
    _begin(post)
    _tick(post)
    with transaction(post.engine) as session:
        link = make.a_link(session, _person(session, post, "ana"))
        preferences.stop(session, post.ring, link, how="link", evidence={}, now=clock.now())
    assert set(_sent(post)) == {"ben"}
    with Session(post.engine) as session:
        ana = _person(session, post, "ana").id
        outcome = session.exec(
            select(Outcome)
            .join(
                Audience,
                (col(Audience.mailing_id) == col(Outcome.mailing_id))
                & (col(Audience.pos) == col(Outcome.pos)),
            )
            .where(col(Audience.person_id) == ana)
        ).one()
        assert (outcome.state, outcome.reason) == ("skipped", "withdrawn")


def test_a_no_by_a_site_waits_for_a_letter_in_hand(post: Post) -> None:
    """An old registration permits nothing but the question, which is what may be in a sender's hands."""
    _registered(post, ana="us")
    _begin(post)
    _tick(post)
    no = Registration("ana", "ana@example.org", consents=[{"topic": TOPIC, "given": False}])
    with transaction(post.engine) as session:
        register_many(session, post.ring, "old", [no], attest=True, topics=None, now=clock.now(), by="key:k")
        said = ledger.appended(session)[-1]
        assert session.info["fence_seq"] == said.seq
    assert json.loads(said.text)["body"]["state_before"] == "given"
    assert _state(post, "ana")[0] == "refused"
    assert _sent(post) == {}
    assert checks.chain(post.engine) == []


def test_a_copy_that_was_put_back_mails_no_question_again(post: Post) -> None:
    _registered(post, ana="us", ben="us")
    _begin(post)
    _tick(post)  # in the copy both letters wait; since it was made they may have left
    restored.begin_again(post.house(9), now=clock.now())
    with transaction(post.engine) as session:
        brands.set_setting(session, "sending_on", True, now=clock.now(), by="cli")
    _tick(post)
    jobs.settle(post.house(9), clock.now())
    assert _sent(post) == {}
    with Session(post.engine) as session:
        mailings = session.exec(select(Mailing).where(Mailing.purpose == ASK_AGAIN)).all()
        assert [row.state for row in mailings] == ["cancelled", "cancelled"]
        assert {row.state for row in session.exec(select(Outcome)).all()} == {"cancelled"}
    assert checks.chain(post.engine) == []


def test_an_older_button_does_not_go_over_a_later_no(post: Post) -> None:
    _registered(post, ana="us")
    _begin(post)
    _tick(post)
    _sent(post)
    with transaction(post.engine) as session:
        link = make.a_link(session, _person(session, post, "ana"))
        preferences.stop(session, post.ring, link, how="link", evidence={}, now=clock.now())
    with transaction(post.engine) as session:
        button = _button(session, post, "ana")
        with pytest.raises(rules.GrantNeedsNewConfirmation):
            confirmation.confirm(session, post.ring, button, evidence={}, now=clock.now())
    assert _state(post, "ana")[0] == "withdrawn"


def test_stopping_asks_nobody_else(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reasking, "CHUNK", 1)
    _registered(post, ana="us", ben="us")
    _begin(post)
    _tick(post)
    with transaction(post.engine) as session, pytest.raises(reasking.AskingAlready):
        reasking.begin(session, TOPIC, now=clock.now(), by="staff:u_1")
    assert set(_sent(post)) == {"ana"}
    with transaction(post.engine) as session:
        reasking.stop(session, TOPIC, now=clock.now(), by="staff:u_1")
    _tick(post)
    assert _sent(post) == {}
    with transaction(post.engine) as session, pytest.raises(reasking.NothingAsked):
        reasking.stop(session, TOPIC, now=clock.now(), by="staff:u_1")


@pytest.mark.parametrize(
    ("slug", "address", "wrong"),
    [
        ("important-notices", "Mill Lane 1", reasking.AskingNotForService),
        (TOPIC, "Mill Lane 1", reasking.NobodyToAsk),
        (TOPIC, "", PostalAddressMissing),
    ],
)
def test_what_cannot_be_begun(post: Post, slug: str, address: str, wrong: Any) -> None:
    with transaction(post.engine) as session:
        brands.set_fields(session, "default", {"postal_address": address}, now=clock.now(), by="cli")
        with pytest.raises(wrong):
            reasking.begin(session, slug, now=clock.now(), by="staff:u_1")


def test_who_was_asked_and_moved_to_another_mailbox_is_not_asked_again(post: Post) -> None:
    """Nor does their row stand in the way of the others of a round."""
    _registered(post, ana="us")
    _begin(post)
    _tick(post)
    _tick(post)
    with transaction(post.engine) as session:  # as if she had been asked at the mailbox she has left
        session.connection().execute(update(Asked).values(address_hash="f" * 64))
    _registered(post, ben="us")
    _begin(post)
    _tick(post)
    with Session(post.engine) as session:
        assert len(session.exec(select(Asked)).all()) == 2
    assert set(_sent(post)) == {"ana", "ben"}, "each of them once"


def test_the_question_names_the_policy_in_the_readers_language(post: Post) -> None:
    _registered(post, ana="us", ben="us")
    with transaction(post.engine) as session:
        _person(session, post, "ben").locale = "de"
    _begin(post)
    _tick(post)
    with Session(post.engine) as session:
        for name, locale in (("ana", "en"), ("ben", "de")):
            person = _person(session, post, name)
            row = session.exec(select(Confirmation).where(col(Confirmation.person_id) == person.id)).one()
            assert session.get_one(PolicyVersion, row.topics[0]["policy"]).locale == locale
