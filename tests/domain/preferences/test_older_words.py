"""Words that come to promise more: an older yes goes on for what it covered, and each who gave one is asked once for the rest."""

import asyncio
import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update
from sqlmodel import Session, col, select

from scheduler import jobs
from service.db.session import transaction
from service.domain.announcements import actions as announcements
from service.domain.announcements import queries as shown
from service.domain.announcements.rules import NotApproved
from service.domain.brands import actions as brands
from service.domain.consent.rules import WordingUnknown
from service.domain.ledger import queries as ledger
from service.domain.mailings.rules import ASK_ANEW
from service.domain.mailings.tables import Mailing, Outcome
from service.domain.people import queries as people
from service.domain.people.tables import Person
from service.domain.preferences import actions as preferences
from service.domain.preferences import pages, projection, reasking, rules
from service.domain.preferences.registration import Registration, register_many
from service.domain.preferences.rules import RENEWAL
from service.domain.preferences.tables import Asked, Preference
from service.domain.topics import actions as topic_actions
from service.domain.topics import queries as topics
from service.domain.topics.rules import WordingLanguageMissing, WordingText, WordingUnchanged
from service.kit import addresses, clock
from service.mail.letters import PostalAddressMissing
from service.ops import restored
from tests import builders as make
from tests import checks
from tests.scheduler.conftest import WORDS, Post, Sink, SinkSettings, send_all

TOPIC = "new-products"
MORE = {
    "en": WordingText("New products", "Twice a month", "News of new products, and offers of our partners."),
    "de": WordingText(
        "Neue Produkte", "Zweimal im Monat", "Neues von Produkten, und Angebote unserer Partner."
    ),
}


def _publish(post: Post, words: dict[str, WordingText] = MORE, *, material: bool = True) -> None:
    with transaction(post.engine) as session:
        reasking.publish(session, TOPIC, words, material=material, now=clock.now(), by="staff:u_1")


def _agree(post: Post, name: str, wording: str = "", *, confirmed: bool = True) -> list[dict[str, str]]:
    """A site brings somebody's yes, just given."""
    said: dict[str, Any] = {"topic": TOPIC, "given": True, "source": "form"}
    said["evidence"] = {"at": clock.now().isoformat()}
    said |= {"wording": wording} if wording else {}
    said |= {"confirmed": {"at": clock.now().isoformat(), "method": "mail"}} if confirmed else {}
    with transaction(post.engine) as session:
        given = [Registration(name, f"{name}@example.org", "en", consents=[said])]
        more = {"attest": True, "topics": None, "now": clock.now(), "by": "key:k"}
        answer = register_many(session, post.ring, "site", given, **more)[0]
        return answer.consents  # type: ignore[union-attr]


def _stands(post: Post, name: str) -> tuple[str, int]:
    with Session(post.engine) as session:
        row = make.the_preference(session, _person(session, post, name))
        assert row is not None
        return row.state, row.wording_version


def _person(session: Session, post: Post, name: str) -> Person:
    return people.by_address(session, post.ring, addresses.parse(f"{name}@example.org"))[0]


def _sent(post: Post) -> dict[str, str]:
    async def story() -> dict[str, str]:
        async with Sink(SinkSettings(keep=True)) as sink:
            await send_all(post, post.house(sink.port))
            return {message.rcpt.partition("@")[0]: message.data.decode() for message in sink.kept}

    return asyncio.run(story())


def _tick(post: Post) -> None:
    jobs.ask_again(post.house(9), clock.now())


def _press(post: Post, name: str) -> None:
    with transaction(post.engine) as session:
        button = make.buttons(session, _person(session, post, name))[-1]
        make.press(session, post.ring, button, now=clock.now())


def _announce(post: Post, words: str = "") -> str:
    """An announcement, started; its public id."""
    now, house = clock.now(), post.house(9)
    with transaction(post.engine) as session:
        audience = {"attributes": {}} | ({"words": words} if words else {})
        row = make.an_announcement(session, house.settings, now=now, words=WORDS, audience=audience)
        public_id = row.public_id
    jobs.start_due(house, now)
    jobs.freeze(house, now)
    return public_id


def test_an_older_yes_goes_on_for_what_it_covered_and_for_nothing_else(post: Post) -> None:
    _agree(post, "ana")
    _publish(post)
    _agree(post, "ben")
    newer = _announce(post)
    assert set(_sent(post)) == {"ben"}
    assert post.report(newer)["excluded"] == {"older_words": 1}
    within = _announce(post, words="new-products-v1-en")
    assert set(_sent(post)) == {"ana", "ben"}, "what promises no more than before reaches both"
    assert post.report(within)["excluded"] == {}
    with Session(post.engine) as session:
        assert projection.differences(session) == []
    assert checks.chain(post.engine) == []


def test_words_that_promise_no_more_change_nothing(post: Post) -> None:
    _agree(post, "ana")
    _publish(post, material=False)
    with Session(post.engine) as session:
        topic = make.the_topic(session)
        assert (topic.since_version, reasking.last(session, topic, RENEWAL)) == (0, None)
    _announce(post)
    assert set(_sent(post)) == {"ana"}


def test_whoever_agreed_before_is_asked_once_and_the_button_renews(post: Post) -> None:
    _agree(post, "ana")
    _agree(post, "ben")
    _publish(post)
    for _ in range(3):
        _tick(post)
    got = _sent(post)
    assert set(got) == {"ana", "ben"}
    mail = " ".join(got["ana"].replace("=\r\n", "").split())
    assert "News of new products, and offers of our partners." in mail
    assert "If you do nothing, nothing changes for you" in mail
    assert "List-Unsubscribe-Post: List-Unsubscribe=One-Click" in mail
    _press(post, "ana")
    assert (_stands(post, "ana"), _stands(post, "ben")) == (("renewed", 2), ("given", 1))
    _announce(post)
    assert set(_sent(post)) == {"ana"}
    with transaction(post.engine) as session:
        with pytest.raises(reasking.NobodyToAsk):
            reasking.begin(session, TOPIC, RENEWAL, now=clock.now(), by="staff:u_1")
        seen = reasking.outlook(session, make.the_topic(session), RENEWAL, now=clock.now())
        assert (seen.people, seen.left_out) == (0, {"asked_before": 1})
        assert projection.differences(session) == []
    assert checks.chain(post.engine) == []


def test_the_page_of_the_button_offers_it_although_a_yes_stands(post: Post) -> None:
    _agree(post, "ana")
    _publish(post)
    _tick(post)
    with Session(post.engine) as session:
        [button] = make.buttons(session)
        assert not pages.confirmation(session, button, clock.now()).done
    _press(post, "ana")
    with Session(post.engine) as session:
        assert pages.confirmation(session, button, clock.now()).done


def test_each_change_asks_anew_and_ends_the_round_before(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reasking, "CHUNK", 1)
    _agree(post, "ana")
    _agree(post, "ben")
    _publish(post)
    _tick(post)  # ana alone is asked about the second words
    assert set(_sent(post)) == {"ana"}
    _publish(post, {code: replace(one, text=f"{one.text} More.") for code, one in MORE.items()})
    for _ in range(3):
        _tick(post)
    with Session(post.engine) as session:
        asked = session.exec(select(Asked.question).order_by(col(Asked.question))).all()
        topic = make.the_topic(session)
        assert asked == [f"{topic.id}:2", f"{topic.id}:3", f"{topic.id}:3"]
        first = make.buttons(session, _person(session, post, "ana"))[0]
    with transaction(post.engine) as session:  # the button of the words between: a yes to those
        make.press(session, post.ring, first, now=clock.now())
    assert _stands(post, "ana") == ("renewed", 2)
    _announce(post)
    _announce(post, words="new-products-v2-en")
    with Session(post.engine) as session:
        sent = session.exec(
            select(Mailing.planned).where(Mailing.kind == "announcement").order_by(col(Mailing.id))
        )
        assert list(sent) == [0, 1]


def test_a_no_after_the_question_goes_before_its_button(post: Post) -> None:
    _agree(post, "ana")
    _publish(post)
    _tick(post)
    with transaction(post.engine) as session:
        link = make.a_link(session, _person(session, post, "ana"))
        preferences.stop(session, post.ring, link, how="link", evidence={}, now=clock.now())
    assert _sent(post) == {}, "nor does the question leave after the no"
    with pytest.raises(rules.GrantNeedsNewConfirmation):
        _press(post, "ana")
    assert _stands(post, "ana")[0] == "withdrawn"


def test_an_undone_stop_brings_back_a_yes_to_the_words_it_was_given_for(post: Post) -> None:
    _agree(post, "ana")
    _publish(post)
    with transaction(post.engine) as session:
        person = _person(session, post, "ana")
        stopped = preferences.stop(
            session, post.ring, make.a_link(session, person), how="link", evidence={}, now=clock.now()
        )
        assert stopped.undo is not None
    with transaction(post.engine) as session:
        preferences.undo(session, stopped.undo, now=clock.now())
    assert _stands(post, "ana") == ("given", 1)
    with Session(post.engine) as session:
        assert projection.differences(session) == []


def test_a_form_alone_widens_no_yes_that_stands(post: Post) -> None:
    """Anybody can type an address: the mailbox is asked, and the older yes goes on meanwhile."""
    _agree(post, "ana")
    _publish(post)
    assert _agree(post, "ana", confirmed=False)[0]["result"] == "confirmation_sent"
    assert _stands(post, "ana") == ("given", 1)
    _press(post, "ana")
    assert _stands(post, "ana") == ("renewed", 2)
    assert _agree(post, "ana", "new-products-v1-en")[0]["result"] == "unchanged"
    assert _stands(post, "ana") == ("renewed", 2), "a yes to older words takes nothing from one to newer ones"


def test_a_form_widens_nothing_where_one_opt_in_is_enough_either(post: Post) -> None:
    with transaction(post.engine) as session:
        topic_actions.change(session, TOPIC, double_opt_in=False, now=clock.now(), by="cli")
    _agree(post, "ana")
    _publish(post)
    assert _agree(post, "ana", confirmed=False)[0]["result"] == "confirmation_sent"
    assert _stands(post, "ana") == ("given", 1)


def test_who_stopped_and_agrees_again_agrees_to_the_words_of_that_day(post: Post) -> None:
    _agree(post, "ana")
    with transaction(post.engine) as session:
        link = make.a_link(session, _person(session, post, "ana"))
        preferences.stop(session, post.ring, link, how="link", evidence={}, now=clock.now())
    assert _stands(post, "ana") == ("withdrawn", 0)
    _publish(post)
    _agree(post, "ana")
    _press(post, "ana")
    assert _stands(post, "ana") == ("given", 2)
    with Session(post.engine) as session:
        assert projection.differences(session) == []


def test_what_a_version_before_wrote_is_filled_in_by_the_clock(post: Post) -> None:
    """It leaves the column empty: to the gate such a yes is an old one, to who compares table and ledger it is none of theirs."""
    _agree(post, "ana")
    _agree(post, "ben")
    with transaction(post.engine) as session:
        link = make.a_link(session, _person(session, post, "ben"))
        preferences.stop(session, post.ring, link, how="link", evidence={}, now=clock.now())
        session.flush()
        session.connection().execute(update(Preference).values(wording_version=None))
    with Session(post.engine) as session:
        assert projection.differences(session) == []
    jobs.fill_words(post.house(9), clock.now())
    assert (_stands(post, "ana"), _stands(post, "ben")) == (("given", 1), ("withdrawn", 0))
    with Session(post.engine) as session:
        assert projection.unfilled(session, 0) == []
        assert projection.differences(session) == []


def test_a_site_that_may_attest_brings_the_new_yes(post: Post) -> None:
    _agree(post, "ana")
    _publish(post)
    assert _agree(post, "ana")[0]["result"] == "renewed"
    assert _stands(post, "ana") == ("renewed", 2)
    with Session(post.engine) as session:
        assert projection.differences(session) == []


def test_their_page_shows_the_new_words_and_mails_a_button_for_them(post: Post) -> None:
    _agree(post, "ana")
    _publish(post)
    with transaction(post.engine) as session:
        person = _person(session, post, "ana")
        [row] = [one for one in _rows(session, post, person) if one.topic.slug == TOPIC]
        assert (row.older, row.wording.text) == (True, MORE["en"].text)
        make.the_topic(session).cadences = ["each", "weekly"]
        chosen = preferences.Choices({TOPIC: "weekly"}, agreed=frozenset({TOPIC}))
        given = {"how": "page", "evidence": {}, "now": clock.now(), "by": f"person:{person.public_id}"}
        saved = preferences.save(session, post.ring, person, chosen, **given)
        assert (saved.changed, saved.confirmation_sent) == ([TOPIC], [TOPIC]), "how often, and the words"
    assert _stands(post, "ana") == ("given", 1), "the page alone makes no yes"
    _press(post, "ana")
    with transaction(post.engine) as session:
        person = _person(session, post, "ana")
        assert not any(one.older for one in _rows(session, post, person))
        saved = preferences.save(session, post.ring, person, chosen, **given)
        assert saved.confirmation_sent == []


def _rows(session: Session, post: Post, person: Person) -> list[pages.TopicRow]:
    return pages.overview(session, post.ring, person, "en", clock.now()).rows


def test_an_approval_ends_when_the_topic_comes_to_promise_more(post: Post) -> None:
    """What was approved as mail within the old words is looked at again, and may say that it keeps within them."""
    now, house = clock.now(), post.house(9)
    _agree(post, "ana")
    with transaction(post.engine) as session:
        row = make.an_announcement(session, house.settings, now=now, words=WORDS)
        public_id = row.public_id
    _publish(post)
    jobs.start_due(house, now)
    with transaction(post.engine) as session:
        row = shown.by_public_id(session, public_id)
        assert (row.state, row.reason) == ("paused", "changed")
        with pytest.raises(NotApproved):
            announcements.resume(session, public_id, now=now, by="cli")


def test_what_runs_already_keeps_within_the_words_it_was_begun_under(post: Post) -> None:
    _agree(post, "ana")
    _announce(post)
    _publish(post)
    assert "ana" in _sent(post)


def test_the_words_named_must_be_the_topics_own(post: Post) -> None:
    house = post.house(9)
    with transaction(post.engine) as session, pytest.raises(WordingUnknown) as refused:
        make.an_announcement(
            session, house.settings, now=clock.now(), words=WORDS, audience={"words": "updates-v1-en"}
        )
    assert refused.value.field == "audience.words"


def test_what_rests_on_no_words_is_not_asked_and_goes_on(post: Post) -> None:
    """A purchase permits similar products, whatever a topic's words say."""
    bought = clock.now() - timedelta(days=30)
    said = {
        "topic": TOPIC, "given": True, "source": "till", "basis": "implied_purchase",
        "evidence": {"at": bought.isoformat()}, "confirmed": {"at": bought.isoformat(), "method": "receipt"},
    }  # fmt: skip
    given = [Registration("ana", "ana@example.org", "en", attributes={"country": "ca"}, consents=[said])]
    with transaction(post.engine) as session:
        register_many(
            session, post.ring, "site", given, attest=True, topics=None, now=clock.now(), by="key:k"
        )
    _publish(post)
    with Session(post.engine) as session:
        assert reasking.last(session, make.the_topic(session), RENEWAL) is None
    _announce(post)
    assert set(_sent(post)) == {"ana"}


def test_a_copy_that_was_put_back_asks_nobody_anew(post: Post) -> None:
    _agree(post, "ana")
    _publish(post)
    _tick(post)
    restored.begin_again(post.house(9), now=clock.now())
    with transaction(post.engine) as session:
        brands.set_setting(session, "sending_on", True, now=clock.now(), by="cli")
    _tick(post)
    jobs.settle(post.house(9), clock.now())
    assert _sent(post) == {}
    with Session(post.engine) as session:
        states = session.exec(select(Mailing.state).where(Mailing.purpose == ASK_ANEW)).all()
        assert list(states) == ["cancelled"]
        assert {row.state for row in session.exec(select(Outcome)).all()} == {"cancelled"}


def test_words_that_promise_more_do_so_in_every_language(post: Post) -> None:
    """Or a German reader would be shown the old ones, and never be able to agree to the new."""
    _agree(post, "ana")
    with pytest.raises(WordingLanguageMissing) as missing:
        _publish(post, {"en": MORE["en"]})
    with Session(post.engine) as session:
        german = topics.wording_for(session, make.the_topic(session).id or 0, "de")
    old = WordingText(german.title, german.frequency, german.text)
    with pytest.raises(WordingUnchanged) as same:
        _publish(post, {"en": MORE["en"], "de": old})
    assert missing.value.field == same.value.field == "text:de"
    _publish(post)
    _publish(
        post,
        {"de": replace(MORE["de"], text="Neues von Produkten und Angebote der Partner.")},
        material=False,
    )
    _agree(post, "ben", "new-products-v2-en")
    _agree(post, "cem", "new-products-v3-de")
    _announce(post)
    assert set(_sent(post)) == {"ben", "cem"}, "a correction is worth what it corrects"


def test_a_contract_rests_on_no_words_and_is_renewed_as_before(post: Post) -> None:
    with transaction(post.engine) as session:
        make.a_topic(session, "status", now=clock.now(), basis="contract", mail_class="notice")
    said: dict[str, Any] = {"topic": "status", "given": True, "source": "form"}

    def told() -> list[dict[str, str]]:
        said["evidence"] = {"at": clock.now().isoformat()}
        with transaction(post.engine) as session:
            return make.register(
                session, post.ring, "ana@example.org", [dict(said)], now=clock.now()
            ).consents

    told()
    with transaction(post.engine) as session:
        texts = {"en": WordingText("Status", "Now and then", "Status, and more.")}
        reasking.publish(session, "status", texts, material=True, now=clock.now(), by="staff:u_1")
    assert told()[0]["result"] != "confirmation_sent"


def test_without_a_postal_address_nothing_is_published_that_needs_a_mail(post: Post) -> None:
    _agree(post, "ana")
    with transaction(post.engine) as session:
        brands.set_fields(session, "default", {"postal_address": ""}, now=clock.now(), by="cli")
    with pytest.raises(PostalAddressMissing):
        _publish(post)
    with Session(post.engine) as session:
        assert make.the_topic(session).since_version == 0


def test_the_ledger_says_which_words_cover_a_mailing(post: Post) -> None:
    _agree(post, "ana")
    _publish(post)
    _agree(post, "ben")
    _announce(post)
    with Session(post.engine) as session:
        said = [json.loads(one.text) for one, _ in ledger.stored(session) if one.kind == "mailing.started"]
        assert [one["body"].get("since_version") for one in said] == [2]
