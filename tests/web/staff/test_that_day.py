"""A person's page as it was on a day: what it says of each topic is what the evidence file of that day says, and the ledger held."""

import re
from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Any

from starlette.testclient import TestClient

from service.db.session import transaction
from service.domain.ledger import actions as ledger
from service.domain.people import mailbox
from service.domain.people import queries as people
from service.domain.people.tables import Person
from service.domain.preferences import rights
from service.kit import clock
from tests import builders as make
from tests.web.staff.conftest import Office

Browser = Callable[..., TestClient]
DAY = timedelta(days=1)


def shown(page: str) -> dict[str, tuple[bool, str]]:
    """By topic whether it permitted mail, and why."""
    part = page.partition('class="standing"')[2].partition("</ul>")[0]
    found = re.findall(
        r"<h3[^>]*>(.*?)</h3>.*?(Permitted (?:no )?mail|May (?:not )?be mailed): ([^<]*)</p></li>",
        part,
        re.DOTALL,
    )
    return {topic: (" no" not in verdict, why) for topic, verdict, why in found}


def on(browser: Browser, person: Person, day: date) -> dict[str, tuple[bool, str]]:
    """What the page says of a day, which is held to what the file says of it."""
    officer, base = browser("privacy_officer"), f"/staff/people/{person.public_id}"
    said = shown(officer.get(f"{base}?on={day}").text)
    names = {"new-products": "New products", "updates": "Updates"}
    file = officer.get(f"{base}/evidence.json?on={day}").json()
    told = {names[one["topic"]]: one["permits"] for one in file["standing"]}
    assert {topic: permits for topic, (permits, _) in said.items() if topic in told} == told
    return said


def restrict(session: Any, person: Person) -> None:
    one = make.the_person(session, person.public_id)
    rights.restrict(session, one, how="staff", now=clock.now(), by="cli")


def test_nothing_permitted_mail_from_the_day_on_that_somebody_was_restricted(
    browser: Browser, office: Office, later: Callable[[timedelta], datetime]
) -> None:
    ana, first = office.world.person("ana@example.org"), clock.now().date()
    second = later(2 * DAY).date()
    office.world.change(lambda session: restrict(session, ana))
    later(4 * DAY)
    before, then = on(browser, ana, first), on(browser, ana, second)
    assert before["New products"][0]
    assert "entry" in before["New products"][1]
    assert before["Important notices"][0], "what rests on the registration stood as well"
    assert {permits for permits, _ in then.values()} == {False}
    assert all("restricted" in why for _, why in then.values())
    assert len(then) == 3


def test_what_ended_by_itself_permits_nothing_though_no_entry_says_so_yet(
    browser: Browser, office: Office, later: Callable[[timedelta], datetime]
) -> None:
    ana, now = office.world.person("ana@example.org", yes=("updates",)), clock.now()
    body = {
        "topic": "new-products", "state": "given", "state_before": "unknown", "basis": "implied_inquiry",
        "valid_until": (now + DAY).isoformat(),
    }  # fmt: skip
    office.world.change(
        lambda session: ledger.append(
            session, "consent.given", subject=ana.public_id, body=body, by="cli", now=now
        )
    )
    later(4 * DAY)
    assert on(browser, ana, now.date())["New products"][0]
    assert not on(browser, ana, (now + 2 * DAY).date())["New products"][0]


def test_what_rests_on_a_registration_is_there_from_its_day_on(
    browser: Browser, office: Office, later: Callable[[timedelta], datetime]
) -> None:
    """A wireframe of ux.md has it (W6: "Important basis: contract"); the sentence speaks of what was said alone."""
    ana, day = office.world.person("ana@example.org", yes=()), clock.now().date()
    later(4 * DAY)
    assert on(browser, ana, day - DAY) == {}
    [(topic, (permits, why))] = on(browser, ana, day).items()
    assert (topic, permits) == ("Important notices", True)
    assert "entry" in why
    page = browser("privacy_officer").get(f"/staff/people/{ana.public_id}?on={day}").text
    assert "Had not said yes to any topic" in page
    assert "stands on contract" in page


def test_what_was_said_under_a_former_registration_is_on_the_page(
    browser: Browser, office: Office, later: Callable[[timedelta], datetime]
) -> None:
    """Two registrations turned out to be one person's: the page is about both, as the evidence file is."""
    ben, first = office.world.person("ben@example.org", yes=("updates",)), clock.now().date()
    second = later(2 * DAY).date()
    ana = office.world.person("ana@example.org", yes=("new-products",))
    third = later(4 * DAY).date()
    with transaction(office.house.engine) as session:
        gone, left = (make.the_person(session, one.public_id) for one in (ben, ana))
        known = mailbox.Known(gone, None, None, people.person_key(office.house.ring, gone))  # type: ignore[arg-type]
        mailbox.merge(session, office.house.ring, known, left, now=clock.now(), by="person")
    later(6 * DAY)
    officer, base = browser("privacy_officer"), f"/staff/people/{ana.public_id}"
    page = officer.get(f"{base}?on={first}").text
    assert {topic: permits for topic, (permits, _) in shown(page).items()} == {
        "Updates": True,
        "Important notices": True,
    }
    assert "Had said yes to Updates by the end of that day (UTC)." in page
    [part] = officer.get(f"{base}/evidence.json?on={first}").json()["merged"]
    assert [(one["topic"], one["permits"]) for one in part["standing"]] == [("updates", True)]
    both = shown(officer.get(f"{base}?on={second}").text)
    assert both["Updates"][0]
    assert both["New products"][0]
    after = officer.get(f"{base}?on={third}").text
    assert "Updates" not in shown(after), "no yes goes along"
    assert page.count(f"as {ben.public_id}") >= 3
    today = officer.get(base).text
    assert "Merged" in today
    assert today.count("shop.example.org/join") == 2, "the evidence of both opens, each with its key"
    assert f"as {ana.public_id}" not in today
    assert f'data-first="{first}"' in today, "the slider begins with the first of both"
