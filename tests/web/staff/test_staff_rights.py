"""A person's rights from the staff's side: a no with its reason, never a yes; erasure with its preview."""

from collections.abc import Callable

import pytest
from sqlmodel import Session
from starlette.testclient import TestClient

from service.db.session import reading, transaction
from service.domain.ledger import queries as ledger
from service.domain.people import queries as people
from service.domain.preferences import rights
from service.kit import clock
from tests import builders as make
from tests.web.staff.conftest import Office

Browser = Callable[..., TestClient]
WHY = {"reason": "letter of 3 November"}


def state(office: Office, public_id: str) -> str:
    with reading(office.house.engine) as session:
        found = people.by_public_id(session, public_id)
        assert found is not None
        return found.state


def said(office: Office, public_id: str, kind: str) -> list[ledger.Seen]:
    with reading(office.house.engine) as session:
        return ledger.of_subject(session, public_id, kinds=(kind,))


def test_a_no_on_somebodys_behalf_needs_a_reason(browser: Browser, office: Office) -> None:
    ana = office.world.person()
    officer, base = browser("privacy_officer"), f"/staff/people/{ana.public_id}"
    for act in ("object", "restrict", "unrestrict", "bar", "unbar"):
        without = officer.post(f"{base}/{act}", data={"reason": " "})
        assert without.status_code == 422
        assert "Please say who asked for it" in without.text
        assert browser("marketing").post(f"{base}/{act}", data=WHY).status_code == 403
    assert officer.post(f"{base}/erase", data={}).status_code == 422
    assert state(office, ana.public_id) == "active"
    assert not said(office, ana.public_id, "person.objected")


def test_objecting_for_somebody(browser: Browser, office: Office) -> None:
    ana = office.world.person()
    officer, base = browser("privacy_officer"), f"/staff/people/{ana.public_id}"
    assert officer.post(f"{base}/object", data=WHY).headers["location"] == base
    assert office.world.states(ana)["new-products"] == "withdrawn"
    [entry] = said(office, ana.public_id, "person.objected")
    assert (entry.body["reason"], entry.actor) == (
        "letter of 3 November",
        f"staff:{office.ids['privacy_officer']}",
    )
    page = officer.get(base).text
    assert "They objected to marketing." in page
    assert "What would lift it: Only the person, on their own page." in page


def test_what_the_law_asks_for_bars_the_mailbox_until_the_ground_is_gone(
    browser: Browser, office: Office
) -> None:
    ana = office.world.person()
    officer, base = browser("privacy_officer"), f"/staff/people/{ana.public_id}"
    assert officer.post(f"{base}/bar", data={"reason": "order 12/2026"}).headers["location"] == base
    page = officer.get(base).text
    assert "The law or an authority asks for it." in page
    assert "May not be mailed: on the do-not-mail list" in page
    assert "The law asks for it no more" in page
    assert office.world.states(ana)["new-products"] == "given", "nothing is said in their name"
    officer.post(f"{base}/bar", data={"reason": "again"})
    [entry] = said(office, ana.public_id, "suppression.added")
    assert (entry.body["cause"], entry.body["scope"], entry.body["reason"]) == (
        "legal",
        "all",
        "order 12/2026",
    )
    assert officer.post(f"{base}/unbar", data={"reason": "order withdrawn"}).status_code == 303
    [entry] = said(office, ana.public_id, "suppression.lifted")
    assert entry.body["reason"] == "order withdrawn"
    assert "May be mailed" in officer.get(base).text


def test_a_button_does_not_go_over_what_the_law_asks_for(browser: Browser, office: Office) -> None:
    ana = office.world.person()
    officer, base = browser("privacy_officer"), f"/staff/people/{ana.public_id}"
    officer.post(f"{base}/bar", data={"reason": "order 12/2026"})
    officer.post(office.world.stop_link(ana), data={"List-Unsubscribe": "One-Click"})

    def sign_up(session):  # type: ignore[no-untyped-def]
        now, ring = clock.now(), office.house.ring
        make.register(session, ring, "ana@example.org", [make.an_answer(at=now, confirmed=True)], now=now)
        make.press(session, ring, make.buttons(session)[-1], now=now)

    office.world.change(sign_up)
    assert "The law or an authority asks for it." in officer.get(base).text


def test_what_does_not_stand_is_not_called_lifted(browser: Browser, office: Office) -> None:
    ana = office.world.person()
    answer = browser("privacy_officer").post(f"/staff/people/{ana.public_id}/unbar", data=WHY)
    assert answer.status_code == 409
    assert "does not bar this mailbox" in answer.text


def restricted_by_herself(office: Office, public_id: str) -> None:
    def by_herself(session):  # type: ignore[no-untyped-def]
        person = people.by_public_id(session, public_id)
        assert person is not None
        rights.restrict(session, person, how="me", now=clock.now(), by=f"person:{public_id}")

    office.world.change(by_herself)


OURS, TOLD = {**WHY, "asked": "controller"}, {**WHY, "told": "1"}


def test_staff_lift_what_the_controller_set_once_the_person_has_been_told(
    browser: Browser, office: Office
) -> None:
    ana = office.world.person()
    officer, base = browser("privacy_officer"), f"/staff/people/{ana.public_id}"
    assert "who asks for it?" in officer.get(base).text
    officer.post(f"{base}/restrict", data=OURS)
    assert state(office, ana.public_id) == "restricted"
    [entry] = said(office, ana.public_id, "person.restricted")
    assert entry.body == {"how": "staff", "asked": "controller", "reason": "letter of 3 November"}
    assert not said(office, ana.public_id, "request.closed"), "nobody asked for anything"
    assert "Lift the restriction" in officer.get(base).text
    untold = officer.post(f"{base}/unrestrict", data=WHY)
    assert untold.status_code == 422
    assert "once the person has been told" in untold.text
    assert 'value="letter of 3 November"' in untold.text
    assert state(office, ana.public_id) == "restricted"
    officer.post(f"{base}/unrestrict", data=TOLD)
    assert state(office, ana.public_id) == "active"


@pytest.mark.parametrize("way", ["her page", "a letter", "a letter beside our own"])
def test_staff_do_not_lift_what_the_person_asked_for(browser: Browser, office: Office, way: str) -> None:
    ana = office.world.person()
    officer, base = browser("privacy_officer"), f"/staff/people/{ana.public_id}"
    if way == "her page":
        restricted_by_herself(office, ana.public_id)
    else:
        if way != "a letter":
            officer.post(f"{base}/restrict", data=OURS)
            assert "They ask for the restriction, too" in officer.get(base).text
        officer.post(f"{base}/restrict", data=WHY)
        assert said(office, ana.public_id, "person.restricted")[-1].body["asked"] == "person"
    page = officer.get(base).text
    assert "Lift the restriction" not in page
    assert "only they lift it" in page
    answer = officer.post(f"{base}/unrestrict", data=TOLD)
    assert answer.status_code == 409
    assert "only they can lift it" in answer.text
    officer.post(f"{base}/restrict", data=OURS)
    assert officer.post(f"{base}/unrestrict", data=TOLD).status_code == 409, "ours beside it changes nothing"
    assert state(office, ana.public_id) == "restricted"


def test_erasing_with_its_preview(browser: Browser, office: Office) -> None:
    ana = office.world.person(profile={"first_name": "Anabel"}, attributes={"plan": "pro"})
    officer, base = browser("privacy_officer"), f"/staff/people/{ana.public_id}"
    assert browser("marketing").get(f"{base}/erase").status_code == 403
    preview = officer.get(f"{base}/erase").text
    for words in ("This goes", "shop", "plan", "This stays, and why", "only the person lifts it"):
        assert words in preview
    assert "for seven days at most. Whoever was erased is not taken over from it." in preview
    assert state(office, ana.public_id) == "active"
    done = officer.post(f"{base}/erase", data=WHY)
    assert done.headers["location"] == base
    page = officer.get(base)
    assert page.status_code == 200
    assert "Anabel" not in page.text
    assert "Their data was erased; this keyed hash keeps their no." in page.text
    assert "Only the person, by signing up again." in page.text
    assert "Their rights" not in page.text
    assert officer.get("/staff/people").status_code == 200
    assert "nothing is left to erase" in officer.get(f"{base}/erase").text
    assert officer.post(f"{base}/erase", data=WHY).status_code == 409
    [entry] = said(office, ana.public_id, "person.erased")
    assert entry.body == {"how": "staff", "reason": "letter of 3 November"}


def test_an_access_copy_for_somebody_is_noted_with_its_reason(browser: Browser, office: Office) -> None:
    ana = office.world.person(profile={"first_name": "Anabel"})
    officer, path = browser("privacy_officer"), f"/staff/people/{ana.public_id}/copy"
    assert officer.post(path, data={}).status_code == 422
    assert browser("marketing").post(path, data=WHY).status_code == 403
    found = officer.post(path, data=WHY)
    assert found.json()["profiles"][0]["profile"]["first_name"] == "Anabel"
    assert found.headers["cache-control"] == "no-store"
    assert [one.body for one in said(office, ana.public_id, "person.exported")] == [WHY]
    officer.post(f"/staff/people/{ana.public_id}/erase", data=WHY)
    assert officer.post(path, data=WHY).status_code == 409


def test_a_preview_as_somebody_erased_is_one_as_the_sample_person(browser: Browser, office: Office) -> None:
    ana, draft = office.world.person(profile={"first_name": "Anabel"}), office.announcement()
    browser("privacy_officer").post(f"/staff/people/{ana.public_id}/erase", data=WHY)
    marketing, base = browser("marketing"), f"/staff/announcements/{draft}"
    page = marketing.get(base)
    assert page.status_code == 200
    assert ana.public_id not in page.text
    shown = marketing.get(f"{base}/preview?as={ana.public_id}")
    assert shown.status_code == 200
    assert "Anabel" not in shown.text


def test_nobody_restricted_or_merged_stands_for_a_reader(browser: Browser, office: Office) -> None:
    """What is kept of somebody restricted is kept and not used (GDPR Art. 18(2))."""
    draft = office.announcement()
    marketing, base = browser("marketing"), f"/staff/announcements/{draft}"
    for name, state in (("Anabel", "restricted"), ("Berta", "merged")):
        one = office.world.person(f"{name.lower()}@example.org", profile={"first_name": name})
        assert name in marketing.get(f"{base}/preview?as={one.public_id}").text
        assert f"…{one.public_id[-5:]}" in marketing.get(base).text

        def become(session: Session, public_id: str = one.public_id, state: str = state) -> None:
            person = people.by_public_id(session, public_id)
            assert person is not None
            if state == "restricted":
                rights.restrict(session, person, how="staff", asked="person", now=clock.now(), by="cli")
            else:
                person.state = state

        office.world.change(become)
        looks = len(said(office, one.public_id, "person.viewed"))
        assert f"…{one.public_id[-5:]}" not in marketing.get(base).text
        assert f"…{one.public_id[-5:]}" not in marketing.get(f"{base}?as={one.public_id}").text
        assert name not in marketing.get(f"{base}/preview?as={one.public_id}").text
        marketing.post(f"{base}/test", data={"as": one.public_id})
        assert len(said(office, one.public_id, "person.viewed")) == looks


def test_std_k8_a_copy_is_noted_of_everybody_it_holds(browser: Browser, office: Office) -> None:
    """A second site's registration of the mailbox is in it, and says so itself; not the other way round."""
    ana = office.world.person(profile={"first_name": "Anabel"})
    with transaction(office.house.engine) as session:
        other = make.register(
            session, office.house.ring, source="forum", external_id="77", attest=False, now=clock.now(),
            profile={"first_name": "Anita"},
        ).person_id  # fmt: skip
    officer = browser("privacy_officer")

    def names(public_id: str, kind: str) -> set[str]:
        found = officer.post(f"/staff/people/{public_id}/{kind}", data=WHY).json()
        return {one["profile"]["first_name"] for one in found["profiles"]}

    for times, kind in enumerate(("copy", "portable"), start=1):
        assert names(ana.public_id, kind) == {"Anabel", "Anita"}
        for one in (ana.public_id, other):
            assert [entry.body for entry in said(office, one, "person.exported")] == [WHY] * times
    for kind in ("copy", "portable"):
        assert names(other, kind) == {"Anita"}
    assert len(said(office, ana.public_id, "person.exported")) == 2
