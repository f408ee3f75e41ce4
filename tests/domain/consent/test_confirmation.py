"""The button: asked how often, pressed once, never over a no (H39, N11)."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy.engine import Engine
from sqlmodel import Session, select

from service.db.session import reading, transaction
from service.domain.consent.tables import Confirmation, Consent
from service.domain.ledger import actions as ledger
from service.domain.ledger import queries as entries
from service.domain.ledger.rules import open_part
from service.domain.links import rules as links
from service.domain.people import queries as people
from service.domain.people.tables import Person
from service.domain.preferences import access, pages
from service.domain.preferences import actions as preferences
from service.domain.preferences.registration import Registration, register_many
from service.domain.preferences.rules import GrantNeedsNewConfirmation
from service.domain.privacy import erasing
from service.domain.topics import actions as topics
from service.domain.topics.rules import WordingText
from service.kit import addresses
from service.kit.signing import Keyring
from tests import builders as make

HOUR, SECOND = timedelta(hours=1), timedelta(seconds=1)


def _asked(
    session: Session, ring: Keyring, now: datetime, email: str = "ana@example.org", *topics: str, **more: Any
) -> Any:
    consents = [make.an_answer(slug, at=now - HOUR) for slug in topics or ("new-products",)]
    said = make.register(session, ring, email, consents, now=now, attest=False, **more)
    return make.the_person(session, said.person_id)


def test_a_yes_nobody_confirmed_is_asked_by_mail_and_becomes_true_by_the_button(
    session: Session, ring: Keyring, now: datetime
) -> None:
    ana = _asked(session, ring, now)
    assert make.the_state(session, ana) == "requested"
    [button] = make.buttons(session, ana)
    done = make.press(session, ring, button, now=now + HOUR)
    assert ([topic.slug for topic in done.topics], done.already) == (["new-products"], False)
    row = make.the_preference(session, ana)
    assert row is not None
    assert row.state == "given"
    [given] = [one for one in ledger.appended(session) if one.seq == row.warrant_seq]
    assert given.kind == "consent.given"
    again = make.press(session, ring, button, now=now + 2 * HOUR)
    assert again.already
    assert make.kinds(session, ana.public_id).count("consent.given") == 1


def test_the_record_names_words_policy_and_sealed_evidence(
    session: Session, ring: Keyring, now: datetime
) -> None:
    ana = _asked(session, ring, now)
    make.press(session, ring, make.buttons(session, ana)[0], now=now)
    session.flush()
    record = session.get_one(Consent, (ana.id, make.the_topic(session).id))
    assert record.wording_id is not None
    assert record.policy_version_id is not None
    import json

    [entry] = [json.loads(one.text) for one in ledger.appended(session) if one.kind == "consent.given"]
    body = entry["body"]
    assert body["wording"] == "new-products-v1-en"
    assert body["policy"] == "privacy-v1-en"
    assert body["method"] == "doi_click"
    key = people.person_key(ring, ana)
    opened = open_part(key, body["evidence"], subject=ana.public_id, kind="consent.given")
    assert opened["url"].endswith("/confirm/")
    assert "127.0.0.1" not in json.dumps(entry)


def test_an_earlier_version_of_the_words_may_be_named(session: Session, ring: Keyring, now: datetime) -> None:
    """The site's form showed version 1; a new version came before its PUT did."""
    topics.publish_wording(
        session,
        "new-products",
        {"en": WordingText("News", "Weekly", "Send me news.")},
        now=now,
        by=make.STAFF,
    )
    make.register(
        session,
        ring,
        consents=[make.an_answer(at=now - HOUR, confirmed=True, wording="new-products-v1-en")],
        now=now,
    )
    assert [
        e for e in ledger.appended(session) if e.kind == "consent.given" and '"new-products-v1-en"' in e.text
    ]
    with pytest.raises(Exception, match="wording") as raised:
        make.register(
            session, ring, consents=[make.an_answer(at=now - HOUR, wording="updates-v1-en")], now=now
        )
    assert raised.value.code == "wording_unknown"


@pytest.mark.parametrize("old", [timedelta(days=7), timedelta(days=30)])
def test_a_button_works_for_seven_days(
    session: Session, ring: Keyring, now: datetime, old: timedelta
) -> None:
    ana = _asked(session, ring, now)
    with pytest.raises(links.LinkExpired):
        make.press(session, ring, make.buttons(session, ana)[0], now=now + old)
    assert make.the_state(session, ana) == "requested"


def test_rel_h39_a_button_from_before_a_no_is_refused(session: Session, ring: Keyring, now: datetime) -> None:
    ana = _asked(session, ring, now)
    preferences.stop(session, ring, make.a_link(session, ana), how="link", evidence={}, now=now + HOUR)
    with pytest.raises(GrantNeedsNewConfirmation) as raised:
        make.press(session, ring, make.buttons(session, ana)[0], now=now + 2 * HOUR)
    assert raised.value.code == "grant_needs_new_confirmation"
    assert make.the_state(session, ana) == "refused"


def test_rel_h39_nor_does_it_go_over_a_no_said_to_another_source(
    session: Session, ring: Keyring, now: datetime
) -> None:
    ana = make.a_person(session, ring, now=now)
    other = _asked(session, ring, now, source="crm", external_id="c1")
    preferences.stop(session, ring, make.a_link(session, ana), how="link", evidence={}, now=now + HOUR)
    with pytest.raises(GrantNeedsNewConfirmation):
        make.press(session, ring, make.buttons(session, other)[-1], now=now + 2 * HOUR)
    assert make.the_state(session, ana) == "withdrawn"


def _by_link(session: Session, ring: Keyring, ana: Person, at: datetime) -> None:
    preferences.stop(session, ring, make.a_link(session, ana), how="link", evidence={}, now=at)


def _by_site(session: Session, ring: Keyring, ana: Person, at: datetime) -> None:
    make.register(session, ring, consents=[make.an_answer(given=False, at=at)], now=at)


@pytest.mark.parametrize("say_no", [_by_link, _by_site])
@pytest.mark.parametrize(
    "later", [HOUR, -SECOND]
)  # of two processes one may have looked at the clock before it waited
def test_rel_h39_nor_once_who_said_no_there_has_moved_away(
    session: Session, ring: Keyring, now: datetime, say_no: Callable[..., None], later: timedelta
) -> None:
    """The question lay in the mailbox when they said no there; that the no went along with them gives nothing back."""
    ana = make.a_person(session, ring, now=now)
    told = make.register(session, ring, consents=[], now=now, source="crm", external_id="c1")
    other = make.the_person(session, told.person_id)
    choice, by = preferences.Choices({"new-products": "each"}), f"person:{other.public_id}"
    preferences.save(session, ring, other, choice, how="page", evidence={}, now=now, by=by)
    question = make.buttons(session, other)[-1]
    say_no(session, ring, ana, now + later)
    new, by = addresses.parse("ana@example.net"), f"person:{ana.public_id}"
    access.change_email(session, ring, ana, new, now=now + HOUR, by=by)
    make.press(session, ring, make.buttons(session, ana)[-1], now=now + HOUR)
    with pytest.raises(GrantNeedsNewConfirmation):
        make.press(session, ring, question, now=now + 2 * HOUR)
    assert make.the_state(session, other) == "unknown"
    assert pages.confirmation(session, question, now + 2 * HOUR).void


@pytest.mark.parametrize("first", [True, False])
def test_rel_h39_nor_over_a_site_s_no_of_whoever_holds_the_mailbox(
    session: Session, ring: Keyring, now: datetime, first: bool
) -> None:
    """Told for the first time, or once more where a no stands already."""
    ana = make.a_person(session, ring, yes=("updates",), now=now)
    if not first:
        make.register(session, ring, consents=[make.an_answer(given=False, at=now)], now=now)
    told = make.register(session, ring, consents=[], now=now, source="crm", external_id="c1")
    other = make.the_person(session, told.person_id)
    choice, by = preferences.Choices({"new-products": "each"}), f"person:{other.public_id}"
    preferences.save(session, ring, other, choice, how="page", evidence={}, now=now + HOUR, by=by)
    make.register(session, ring, consents=[make.an_answer(given=False, at=now)], now=now + 2 * HOUR)
    new, by = addresses.parse("ana@example.net"), f"person:{ana.public_id}"
    access.change_email(session, ring, ana, new, now=now + 2 * HOUR, by=by)
    make.press(session, ring, make.buttons(session, ana)[-1], now=now + 2 * HOUR)
    with pytest.raises(GrantNeedsNewConfirmation):
        make.press(session, ring, make.buttons(session, other)[-1], now=now + 3 * HOUR)
    noes = [
        one for one in make.kinds(session, ana.public_id) if one in ("consent.refused", "consent.withdrawn")
    ]
    assert len(noes) == (1 if first else 2)


def test_rel_h39_nor_over_an_erasure_in_its_mailbox(session: Session, ring: Keyring, now: datetime) -> None:
    """Nobody had confirmed it, so that only whom the site meant was erased; what others are asked there afterwards counts."""
    told = make.register(session, ring, consents=[], now=now)
    other = _asked(session, ring, now, source="crm", external_id="c1")
    [question] = make.buttons(session, other)
    erased = make.the_person(session, told.person_id)
    erasing.erase(session, ring, erased, how="api", now=now + HOUR, by=make.BY)
    with pytest.raises(GrantNeedsNewConfirmation):
        make.press(session, ring, question, now=now + 2 * HOUR)
    again, by = now + 3 * HOUR, f"person:{other.public_id}"
    choice = preferences.Choices({"new-products": "each"})
    preferences.save(session, ring, other, choice, how="page", evidence={}, now=again, by=by)
    make.press(session, ring, make.buttons(session, other)[-1], now=again)
    assert make.the_state(session, other) == "given"


def test_a_newer_yes_after_a_no_is_asked_again_and_an_older_one_is_not(
    session: Session, ring: Keyring, now: datetime
) -> None:
    ana = make.a_person(session, ring, now=now)
    preferences.stop(session, ring, make.a_link(session, ana), how="link", evidence={}, now=now + HOUR)
    old = make.register(session, ring, consents=[make.an_answer(at=now, confirmed=True)], now=now + 2 * HOUR)
    assert (old.consents[0]["result"], old.mail) == ("kept_no", None)
    new = make.register(
        session, ring, consents=[make.an_answer(at=now + 2 * HOUR, confirmed=True)], now=now + 3 * HOUR
    )
    assert (new.consents[0]["result"], new.mail) == ("kept_no", "confirmation_sent")
    make.press(session, ring, make.buttons(session, ana)[-1], now=now + 3 * HOUR)
    assert make.the_state(session, ana) == "given"


def test_two_buttons_for_one_mailbox_both_work(session: Session, ring: Keyring, now: datetime) -> None:
    one = _asked(session, ring, now, source="shop", external_id="s1")
    two = _asked(session, ring, now, "ana@example.org", "updates", source="crm", external_id="c1")
    later = make.register(
        session,
        ring,
        consents=[make.an_answer("new-products", at=now)],
        now=now,
        source="crm",
        external_id="c1",
        attest=False,
    )
    assert later.mail is None  # two confirmation mails to this mailbox today
    make.press(session, ring, make.buttons(session, one)[-1], now=now)
    make.press(session, ring, make.buttons(session, two)[-1], now=now)
    assert {slug: make.the_state(session, one, slug) for slug in ("new-products", "updates")} == {
        "new-products": "given",
        "updates": "given",
    }


def test_a_second_button_of_a_person_merged_meanwhile_still_works(
    session: Session, ring: Keyring, now: datetime
) -> None:
    ana = make.a_person(session, ring, now=now, yes=())
    other = _asked(session, ring, now, "ana@example.org", "updates", source="crm", external_id="c1")
    make.register(
        session,
        ring,
        consents=[make.an_answer("new-products", at=now)],
        now=now,
        source="crm",
        external_id="c1",
        attest=False,
    )
    first, second = make.buttons(session, other)
    make.press(session, ring, first, now=now)
    make.press(session, ring, second, now=now)
    assert make.the_state(session, ana, "new-products") == "given"


def test_std_n11_a_thousand_sign_ups_of_a_victim_mail_it_twice(
    engine: Engine, ring: Keyring, now: datetime
) -> None:
    consent = make.an_answer(at=now - HOUR)
    for chunk in range(5 if engine.dialect.name == "sqlite" else 1):
        with transaction(engine) as session:
            crowd = [
                Registration(
                    f"join-{chunk}-{n}",
                    "Victim@example.org" if n % 2 else "victim@EXAMPLE.org",
                    consents=[consent],
                    attested=False,
                )
                for n in range(200)
            ]
            register_many(
                session,
                ring,
                "join",
                crowd,
                attest=False,
                topics=None,
                now=now + timedelta(seconds=chunk),
                by="system",
            )
    with reading(engine) as session:
        assert len(session.exec(select(Confirmation)).all()) == 2


def test_std_n11_adding_by_a_link_and_changing_addresses_are_limited_too(
    session: Session, ring: Keyring, now: datetime
) -> None:
    ana = make.a_person(session, ring, now=now, yes=())
    add = preferences.Choices({"new-products": "each"})
    by = f"person:{ana.public_id}"
    sent = [
        preferences.save(
            session, ring, ana, add, how="page", evidence={}, now=now + n * timedelta(minutes=1), by=by
        ).confirmation_sent
        for n in range(6)
    ]
    assert [bool(one) for one in sent] == [True, True, False, False, False, False]
    for n in range(6):
        address = addresses.parse("victim@example.org" if n % 2 else f"other{n}@example.org")
        access.change_email(session, ring, ana, address, now=now, by=by)
    session.flush()
    victim = make.address_hash(ring, "victim@example.org")
    from service.domain.consent.queries import confirmations_today

    assert confirmations_today(session, [victim], now=now)[victim] == 2


def test_fifty_presses_at_once_are_one_yes(engine: Engine, ring: Keyring, now: datetime) -> None:
    with transaction(engine) as session:
        ana = _asked(session, ring, now)
        session.flush()
        [button] = make.buttons(session, ana)

    def press(_: int) -> bool:
        with transaction(engine) as session:
            return make.press(session, ring, button, now=now).already

    with ThreadPoolExecutor(10) as pool:
        assert sorted(pool.map(press, range(50))) == [False] + [True] * 49
    with reading(engine) as session:
        assert [one.kind for one in entries.of_subject(session, ana.public_id)].count("consent.given") == 1


def test_the_same_person_told_of_many_times_at_once_is_one_person(
    engine: Engine, ring: Keyring, now: datetime
) -> None:
    def put(n: int) -> str:
        with transaction(engine) as session:
            consents = [make.an_answer(at=now - HOUR, confirmed=True)]
            return make.register(
                session, ring, consents=consents, now=now, source=f"s{n % 4}", external_id="same"
            ).person_id

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(put, range(24)))) == 1
