"""No advertising, kept and not used, erased: from `/me`, and what old links say afterwards."""

import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import Session, col, select
from starlette.testclient import TestClient

import verify_ledger
from service.db.locks import for_update, lock_ledger_tail
from service.db.session import reading, transaction
from service.domain.ledger import checkpoints
from service.domain.links import rules as links
from service.domain.mailings.tables import Mailing
from service.domain.people import actions as people_actions
from service.domain.people import queries as people
from service.domain.people.tables import Person
from service.domain.preferences.registration import Registration, register_many
from service.domain.privacy import actions as contact
from service.domain.privacy import requests, rules
from service.domain.privacy.tables import RightsRequest
from service.domain.suppressions import queries as suppressions
from service.domain.transfers import actions as transfers
from service.kit import addresses, clock
from service.kit.errors import DomainError
from service.web.public.copies import KINDS
from service.web.staff import timeline
from tests import builders as make
from tests.domain.privacy.schemas import faults, published
from tests.web.conftest import ONE_CLICK, World
from tests.web.public.test_profile import OURS, entrance, signed_in

PRESSED = {"confirm": "yes"}


def erased(client: TestClient, world: World, **more: Any) -> Person:
    """Somebody who signed in and erased everything."""
    person = signed_in(client, world, **more)
    answer = client.post("/me/erase", data=PRESSED, headers=OURS)
    assert answer.status_code == 200
    assert "Your data is erased" in answer.text
    return person


def state(world: World, person: Person) -> str:
    with reading(world.house.engine) as session:
        found = people.by_public_id(session, person.public_id)
        assert found is not None
        return found.state


def causes(world: World, email: str = "ana@example.org") -> set[tuple[str, str]]:
    """(scope, cause) of what is on the do-not-mail list for a mailbox."""
    digest = make.address_hash(world.house.ring, email)
    with reading(world.house.engine) as session:
        return {(one.scope, one.cause) for one in suppressions.live_for(session, [digest]).get(digest, [])}


def told_again(world: World, email: str = "ana@example.org", **more: Any) -> str:
    """What a site hears that sends this person: the error's code, or "taken"."""
    now = clock.now()
    given = Registration(email, email, consents=[make.an_answer(at=now, confirmed=True)], **more)
    with transaction(world.house.engine) as session:
        answer = register_many(
            session, world.house.ring, "shop", [given], attest=True, topics=None, now=now, by="key:k_test"
        )[0]
    return answer.code if isinstance(answer, DomainError) else "taken"


def test_what_goes_and_what_stays_is_said_before_the_button(client: TestClient, world: World) -> None:
    person = signed_in(client, world, attributes={"plan": "pro"})
    before = world.entries()
    page = client.get("/me/erase").text
    for words in ("This goes", "or “shop”, told us", "plan", "This stays, and why", "do-not-mail list"):
        assert words in page
    assert "seven days at most. Nobody takes you over from it any more." in page
    assert "Löschen" not in page
    german = client.get("/me/erase?lang=de").text
    for words in (
        "Das bleibt, und warum",
        "höchstens sieben Tage. Aus ihr werden Sie nicht mehr übernommen.",
    ):
        assert words in german
    assert client.post("/me/erase", data={"confirm": "no"}, headers=OURS).status_code == 200
    assert world.entries() == before
    assert state(world, person) == "active"


def test_erasing_ends_the_session_and_forgets_everything(client: TestClient, world: World) -> None:
    person = signed_in(client, world, attributes={"plan": "pro"}, zone="Europe/Berlin")
    kept = client.cookies["bidden-me"]
    answer = client.post("/me/erase", data=PRESSED, headers=OURS)
    assert answer.headers["set-cookie"].startswith('bidden-me=""')
    with reading(world.house.engine) as session:
        found = people.by_public_id(session, person.public_id)
        assert found is not None
        assert (found.state, found.wrapped_key, found.locale, found.zone) == ("erased", None, "", "")
        assert people.address_of(session, world.house.ring, found) is None
        assert people.attributes(session, found.id or 0) == {}
        assert [one.profile for one in people.identities(session, found.id or 0)] == [None]
    again = client.get("/me", headers={"cookie": f"bidden-me={kept}"})
    assert "No password" in again.text
    assert client.post("/me/erase", data=PRESSED, headers=OURS).status_code == 403
    assert causes(world) == {("marketing", "erasure")}
    assert world.entries("person.erased") == 1


def test_p5_old_links_of_somebody_erased_answer_kindly_and_record(client: TestClient, world: World) -> None:
    person = world.person()
    button = entrance(client, world, person)
    path, choices = world.stop_link(person), "/p/" + world.link(links.PREFERENCES, person)
    everything, why = world.stop_link(person, None), "/why/" + world.link(links.WHY, person)
    assert client.post(button, data=PRESSED, headers=OURS).status_code == 303
    assert client.post("/me/erase", data=PRESSED, headers=OURS).status_code == 200
    for stop in (path, everything):
        assert client.get(stop).status_code == 200
        before = world.entries("consent.withdrawn")
        assert client.post(stop, data=ONE_CLICK).status_code == 200
        assert world.entries("consent.withdrawn") == before + 1
        assert client.post(stop, data=ONE_CLICK).status_code == 200
        assert world.entries("consent.withdrawn") == before + 1, "once"
        assert "Undo" not in client.post(stop, data={"confirm": "stop"}).text
    assert "You get no mails from us" in client.get(choices).text
    assert client.get(why).status_code == 200
    assert client.post(button, data=PRESSED, headers=OURS).status_code == 409
    assert state(world, person) == "erased"


def test_an_undo_and_a_button_from_before_make_nothing_any_more(client: TestClient, world: World) -> None:
    person = signed_in(client, world)
    stopped = client.post(world.stop_link(person), data={"confirm": "stop"}).text
    value = stopped.partition('name="undo" value="')[2].partition('"')[0]
    assert value
    form = {"do": "save", "topic:new-products": "each"}
    assert (
        client.post("/p/" + world.link(links.PREFERENCES, person), data=form, headers=OURS).status_code == 200
    )
    with reading(world.house.engine) as session:
        [button] = make.buttons(session, person)
    assert client.post("/me/erase", data=PRESSED, headers=OURS).status_code == 200
    before = world.entries("consent.given") + world.entries("consent.restored")
    answer = client.post(world.stop_link(person), data={"undo": value})
    assert "Too late for that" in answer.text
    token = links.write(button, world.house.ring.link_keys)
    assert client.get(f"/confirm/{token}").status_code == 409
    assert client.post(f"/confirm/{token}", data=PRESSED).status_code == 409
    assert world.entries("consent.given") + world.entries("consent.restored") == before


def test_p7_only_the_person_comes_back_and_then_sites_may_speak_again(
    client: TestClient, world: World
) -> None:
    person = erased(client, world)
    assert told_again(world) == "erased"
    assert told_again(world, "ANA@example.org") == "erased"
    client.post("/me/sign-in", data={"email": "ana@example.org"})
    assert len(world.mails("sign-in")) == 1, "the one from before"
    with transaction(world.house.engine) as session:
        visitor = Registration(
            "v_1", "ana@example.org", consents=[make.an_answer(at=clock.now())], attested=False
        )
        register_many(
            session,
            world.house.ring,
            "join",
            [visitor],
            attest=False,
            topics=None,
            now=clock.now(),
            by="visitor",
        )
    assert told_again(world) == "erased", "asking is not coming back"
    with reading(world.house.engine) as session:
        newest = make.buttons(session)[-1]
    token = links.write(newest, world.house.ring.link_keys)
    assert client.post(f"/confirm/{token}", data=PRESSED).status_code == 200
    assert causes(world) == set()
    assert told_again(world) == "taken"
    assert state(world, person) == "erased", "somebody new, under another number"


def test_a_site_brings_nobody_back_under_another_address(client: TestClient, world: World) -> None:
    erased(client, world)
    now = clock.now()
    with transaction(world.house.engine) as session:
        given = Registration("ana@example.org", "other@example.org")
        answers = [
            register_many(
                session, world.house.ring, source, [given], attest=True, topics=None, now=now, by="key:k_test"
            )[0]
            for source in ("shop", "crm")
        ]
    assert [getattr(one, "code", "taken") for one in answers] == ["erased", "taken"]


def test_one_mailbox_is_one_person_also_when_it_is_erased(client: TestClient, world: World) -> None:
    """A second registration that never confirmed holds the same address under another key."""
    with transaction(world.house.engine) as session:
        make.register(
            session, world.house.ring, source="crm", external_id="77", attest=False, now=clock.now()
        )
    person = signed_in(client, world)
    assert "Everything else registered with your address: 1 more." in client.get("/me/erase").text
    assert client.post("/me/erase", data=PRESSED, headers=OURS).status_code == 200
    with reading(world.house.engine) as session:
        every = session.exec(select(Person)).all()
    assert {one.state for one in every} == {"erased"}
    assert all(one.wrapped_key is None for one in every)
    assert person.public_id in {one.public_id for one in every}


def test_a_former_address_of_theirs_is_forgotten_and_a_confirmed_one_barred(
    client: TestClient, world: World
) -> None:
    signed_in(client, world)
    form = {"email": "new@example.org", "locale": "en", "zone": ""}
    assert client.post("/me", data=form, headers=OURS).status_code == 200
    assert client.post("/me/erase", data=PRESSED, headers=OURS).status_code == 200
    assert causes(world) == {("marketing", "erasure")}
    assert causes(world, "new@example.org") == set(), "nobody has shown that this mailbox is theirs"
    told = world.mails("address-changed")
    assert [one.facts for one in told] == [{}], "the masked address in it lay under the key of the house"


def test_objecting_ends_every_ground_for_advertising(client: TestClient, world: World) -> None:
    person = signed_in(client, world)
    make_soft(world, person)
    answer = client.post("/me/object", headers=OURS)
    assert answer.status_code == 200
    assert "receipt" in answer.text
    assert set(world.states(person).values()) >= {"withdrawn"}
    assert world.states(person)["new-products"] == "withdrawn"
    assert causes(world) == {("marketing", "objection")}
    assert world.entries("person.objected") == 1
    assert told_again(world) == "taken"
    assert world.states(person)["new-products"] == "withdrawn", "no site says yes for them"
    assert client.post("/me/object", headers=OURS).status_code == 200
    assert world.entries("person.objected") == 1
    page = client.post("/me/object", data={"do": "lift"}, headers=OURS).text
    assert "You objected to advertising" not in page
    assert causes(world) == set()
    assert world.states(person)["new-products"] == "withdrawn", "taking it back chooses nothing"


def make_soft(world: World, person: Person) -> None:
    """Their yes rests on soft opt-in, as of a customer."""

    def change(session: Any) -> None:
        row = make.the_preference(session, make.the_person(session, person.public_id))
        assert row is not None
        row.basis = "soft_opt_in"
        session.add(row)

    world.change(change)


def test_a_restriction_keeps_everything_uses_nothing_and_is_lifted_by_the_person(
    client: TestClient, world: World
) -> None:
    person = signed_in(client, world)
    page = client.post("/me/restrict", data={"do": "restrict"}, headers=OURS)
    assert page.status_code == 200
    assert "use none of it" in page.text
    assert state(world, person) == "restricted"
    assert world.states(person)["new-products"] == "given", "kept as it was"
    client.post("/me/restrict", data={"do": "restrict"}, headers=OURS)
    assert world.entries("person.restricted") == 1
    client.post("/me/restrict", data={"do": "lift"}, headers=OURS)
    assert state(world, person) == "active"
    assert world.entries("person.restriction_lifted") == 1


@pytest.mark.parametrize("path", ["/me/object", "/me/restrict", "/me/erase"])
def test_rel_h56_none_of_it_without_signing_in_or_from_another_site(
    client: TestClient, world: World, path: str
) -> None:
    person = world.person()
    assert client.post(path, data=PRESSED, headers=OURS).status_code == 403
    assert client.post(path, data=PRESSED, headers={"Origin": "https://evil.example.com"}).status_code == 403
    client.post(entrance(client, world, person), data=PRESSED, headers=OURS)
    before = world.entries()
    assert client.post(path, data=PRESSED, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert world.entries() == before
    assert state(world, person) == "active"


def test_a_mail_not_yet_sent_is_not_sent_to_somebody_erased(client: TestClient, world: World) -> None:
    person = erased(client, world)
    with reading(world.house.engine) as session:
        open_ones = session.exec(
            select(Mailing).where(col(Mailing.kind) == "system", col(Mailing.facts).is_not(None))
        ).all()
    assert all(one.facts == {} for one in open_ones)
    assert person.public_id


def test_std_j3_a_receipt_of_each_answer_that_anybody_can_check(
    client: TestClient, world: World, tmp_path: Path
) -> None:
    signed_in(client, world)
    page = client.get("/me/copy").text
    assert page.count('href="/me/receipts/') == 2, (
        "one for each topic answered; what rests on a contract has none"
    )
    answer = client.get("/me/receipts/new-products.json")
    assert answer.headers["content-disposition"] == 'attachment; filename="receipt-new-products.json"'
    assert (answer.json()["purpose"], answer.json()["status"]) == ("new-products", "ConsentGiven")
    (tmp_path / "receipt.json").write_text(answer.text)
    [key] = checkpoints.keys(world.house.ring)
    assert verify_ledger.main([str(tmp_path / "receipt.json"), "--key", key]) == 0
    assert client.get("/me/receipts/important-notices.json").status_code == 404
    assert client.get("/me/receipts/nothing.json").status_code == 404
    client.cookies.clear()
    assert client.get("/me/receipts/new-products.json").status_code == 403


def test_std_k8_the_page_says_who_looked_and_what_is_not_proven(client: TestClient, world: World) -> None:
    """In words, in both languages: a list, an export with its reason, a message that anybody may have typed."""
    person = signed_in(client, world)
    by, now = "staff:s_1", clock.now()

    def look(session: Session) -> None:
        people_actions.note_list(session, [person], now=now, by=by)
        transfers.note_export(session, reason="Moving house", form="csv", now=now, by=by)
        transfers.note_exported(session, [person.public_id], now=now, by=by)
        contact.ask(
            session, world.house.ring, address=addresses.parse("ana@example.org"), name="",
            subject=rules.SUBJECTS["data"], text="Erase my data.", locale="en", now=now,
        )  # fmt: skip

    world.change(look)
    page, german = (client.get(f"/me/copy?lang={lang}").text for lang in ("en", "de"))
    for words in ("Shown to our staff in a list", "Copied out by our staff, in an export", "Moving house"):
        assert words in page
    assert "Sent under your address; nothing proves that you wrote it." in page
    assert "Unserem Personal in einer Liste gezeigt" in german
    assert "nichts belegt, dass Sie es geschrieben haben" in german


def test_a_stop_said_again_is_told_as_such(
    client: TestClient, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    person, now = signed_in(client, world), clock.now()
    for minutes in (0, 5):
        monkeypatch.setattr(clock, "now", lambda at=now + timedelta(minutes=minutes): at)
        assert client.post(world.stop_link(person, "updates"), data=ONE_CLICK).status_code == 200
    assert client.get("/me/copy?lang=en").text.count("Stopped again") == 1
    assert "Noch einmal beendet" in client.get("/me/copy?lang=de").text


def test_a_copy_says_in_words_whatever_staff_read_in_words(client: TestClient, world: World) -> None:
    """A break, a limit, what has run out: no name of an entry's kind stands in somebody's copy."""
    person = signed_in(client, world)
    day = (clock.now() + timedelta(days=9)).date().isoformat()
    form = "/p/" + world.link(links.PREFERENCES, person)
    assert client.post(
        form, data={"do": "save", "break_until": day, "max_per_week": "2"}, headers=OURS
    ).is_success
    client.post(form, data={"do": "save", "break_until": ""}, headers=OURS)
    page, german = (client.get(f"/me/copy?lang={lang}").text for lang in ("en", "de"))
    for text in (page, german):
        assert "preference." not in text
    assert "How often you get mails" in page
    assert "Pause beendet" in german
    assert set(timeline.WORDS) <= {*KINDS, "person.erased"}


def test_a_copy_to_read_and_as_data_by_its_schema(client: TestClient, world: World) -> None:
    person = signed_in(client, world, attributes={"plan": "pro"})
    before = world.entries()
    page = client.get("/me/copy").text
    for words in (
        "ana@example.org",
        "Aronia",
        "pro",
        person.public_id,
        "The words you saw",
        "shop.example.org",
        "Confirmed by: button",
    ):
        assert words in page
    assert "{" not in page.partition("<main")[2]
    assert "Der Wortlaut, den Sie sahen" in client.get("/me/copy?lang=de").text
    for name in ("access", "portable"):
        path = "/me/copy.json" if name == "access" else "/me/portable.json"
        answer = client.get(path)
        assert answer.headers["content-disposition"] == f'attachment; filename="{name}-copy.json"'
        assert answer.headers["cache-control"] == "no-store"
        assert faults(published(f"{name}-copy"), answer.json()) == []
    assert world.entries() == before, "a look changes nothing"
    client.post("/me/sign-out", headers=OURS)
    assert client.get("/me/copy.json").status_code == 403
    assert "Aronia" not in client.get("/me/copy").text


@pytest.mark.parametrize(
    ("path", "form", "right"),
    [
        ("/me/copy", {}, "access"),
        ("/me/portable.json", {}, "portability"),
        ("/me/object", {"do": "object"}, "objection"),
        ("/me/restrict", {"do": "restrict"}, "restriction"),
        ("/me/erase", {"confirm": "yes"}, "erasure"),
        ("/me", {"first_name": "Anna", "email": "ana@example.org"}, "rectification"),
    ],
)
def test_std_h9_what_they_do_themselves_is_a_request_closed_at_once(
    client: TestClient, world: World, path: str, form: dict[str, str], right: str
) -> None:
    person = signed_in(client, world)
    for _ in range(2):
        client.post(path, data=form, headers=OURS)
    with reading(world.house.engine) as session:
        [only] = session.exec(select(RightsRequest)).all()
    assert (only.right, only.door, only.outcome) == (right, "link", "done")
    assert only.closed_by == f"person:{person.public_id}"
    assert client.post("/me/sign-out", headers=OURS).status_code in (200, 303)
    assert client.post("/me/copy", headers=OURS).status_code == 403


def test_what_they_correct_themselves_does_not_answer_a_letter(client: TestClient, world: World) -> None:
    """It asked for something else, for all we know: whoever reads it says when it is done."""
    person = signed_in(client, world)

    def receive(session: Any) -> str:
        held = make.the_person(session, person.public_id)
        now = clock.now()
        row = requests.receive(
            session, world.house.ring, right="rectification", door="letter", came_on=now.date(), person=held,
            who="Ana", text="My postal address is another one.", now=now, by="cli",
        )  # fmt: skip
        return str(row.public_id)

    letter = world.change(receive)
    client.post("/me", data={"first_name": "Anna"}, headers=OURS)
    with reading(world.house.engine) as session:
        found = {row.public_id: (row.door, row.outcome) for row in session.exec(select(RightsRequest)).all()}
    assert found.pop(letter) == ("letter", "")
    assert list(found.values()) == [("link", "done")]


def test_the_copy_asked_for_is_the_page_that_follows(client: TestClient, world: World) -> None:
    signed_in(client, world)
    page = client.post("/me/copy", headers=OURS, follow_redirects=True)
    assert "A copy of my data" in page.text
    assert "Your request was answered" in page.text
    assert "A copy of what you hold about me" in page.text
    taken = client.post("/me/portable.json", headers=OURS)
    assert faults(published("portable-copy"), taken.json()) == []


def come_back(client: TestClient, world: World, *, pressed: bool = True) -> str:
    """By the sign-up form, and perhaps the button of its mail; the button's token."""
    now = clock.now()
    visitor = Registration("v_9", "ana@example.org", consents=[make.an_answer(at=now)], attested=False)
    with transaction(world.house.engine) as session:
        register_many(
            session, world.house.ring, "join", [visitor], attest=False, topics=None, now=now, by="visitor"
        )
    with reading(world.house.engine) as session:
        token = links.write(make.buttons(session)[-1], world.house.ring.link_keys)
    if pressed:
        assert client.post(f"/confirm/{token}", data=PRESSED).status_code == 200
    return token


def test_p5_a_link_from_before_an_erasure_stops_whoever_has_come_back(
    client: TestClient, world: World
) -> None:
    """Whoever presses it has the mailbox, and is told that it is done."""
    person = world.person()
    old = world.stop_link(person)
    client.post(entrance(client, world, person), data=PRESSED, headers=OURS)
    assert client.post("/me/erase", data=PRESSED, headers=OURS).status_code == 200
    come_back(client, world)
    with reading(world.house.engine) as session:
        back = session.exec(select(Person).where(col(Person.state) == "active")).one()
    assert world.states(back)["new-products"] == "given"
    for _ in range(2):
        assert client.post(old, data=ONE_CLICK).status_code == 200
        assert world.states(back)["new-products"] == "withdrawn"


def test_rel_h39_a_link_from_before_an_erasure_goes_before_a_button_not_pressed_yet(
    client: TestClient, world: World
) -> None:
    person = world.person()
    old = world.stop_link(person)
    client.post(entrance(client, world, person), data=PRESSED, headers=OURS)
    assert client.post("/me/erase", data=PRESSED, headers=OURS).status_code == 200
    button = come_back(client, world, pressed=False)
    assert client.post(old, data=ONE_CLICK).status_code == 200
    assert client.post(f"/confirm/{button}", data=PRESSED).status_code == 409
    with reading(world.house.engine) as session:
        back = session.exec(select(Person).where(col(Person.state) == "active")).one()
    assert world.states(back).get("new-products") != "given"


def test_erasing_waits_for_whoever_has_their_mails_and_holds_nobody_up(
    client: TestClient, world: World
) -> None:
    """Who stops or ends single mails holds them, and wants the ledger's tail last."""
    if world.house.engine.dialect.name == "sqlite":
        pytest.skip("one writer at a time")
    person, answers = signed_in(client, world), []

    def press() -> None:
        answers.append(client.post("/me/erase", data=PRESSED, headers=OURS).status_code)

    other = threading.Thread(target=press)
    with transaction(world.house.engine) as session:
        session.scalars(for_update(session, select(col(Mailing.id)))).all()
        other.start()
        waits = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        while other.is_alive() and not session.connection().exec_driver_sql(waits).scalar():
            time.sleep(0.01)
        lock_ledger_tail(session)
    other.join(20)
    assert answers == [200]
    assert state(world, person) == "erased"
