"""How many people's yes stands on which words: nobody is counted twice, nobody who never said it, and nobody on words they never saw."""

import re
from collections.abc import Callable
from typing import Any

from sqlmodel import Session
from starlette.testclient import TestClient

from service.domain.consent import actions as consent
from service.domain.people import mailbox
from service.domain.people import queries as people
from service.domain.preferences.rules import LEGACY
from service.domain.preferences.tables import Preference
from service.kit import clock
from tests import builders as make
from tests.web.staff.conftest import Office

Browser = Callable[..., TestClient]
HERE = "/staff/topics/updates"


def plain(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", page))


def fell(browser: Browser, name: str = "1-en") -> tuple[int, int]:
    """How many would still be covered, and how many asked anew; the two are all who get it."""
    page = plain(browser("privacy_officer").get(f"{HERE}?fell={name}").text)
    every, rest, anew = (
        re.search(rf"(\d+) (?:person|people) {words}", page)
        for words in ("get it", "would still be covered", "would have to be asked anew")
    )
    assert every is not None
    assert rest is not None
    assert anew is not None
    assert int(every[1]) == int(rest[1]) + int(anew[1])
    return int(rest[1]), int(anew[1])


def test_who_was_merged_is_counted_once(browser: Browser, office: Office) -> None:
    ana, ben = office.world.person("ana@example.org"), office.world.person("ben@example.org")
    assert fell(browser) == (0, 2)

    def merge(session: Session) -> Any:
        gone, left = (make.the_person(session, one.public_id) for one in (ben, ana))
        known = mailbox.Known(gone, None, None, people.person_key(office.house.ring, gone))  # type: ignore[arg-type]
        return mailbox.merge(session, office.house.ring, known, left, now=clock.now(), by="person")

    office.world.change(merge)
    assert fell(browser) == (0, 1)


def test_an_old_registration_is_no_yes_that_would_still_be_covered(browser: Browser, office: Office) -> None:
    ana, ben = office.world.person("ana@example.org"), office.world.person("ben@example.org")

    def old(session: Session) -> None:
        row = make.the_preference(session, ben, "updates")
        assert isinstance(row, Preference)
        row.basis = LEGACY
        consent.keep_record(
            session, make.the_person(session, ben.public_id), make.the_topic(session, "updates"), basis=LEGACY,
            wording=None, policy_id=None, source="old shop", now=clock.now(),
        )  # fmt: skip

    office.world.change(old)
    assert ana.public_id != ben.public_id
    assert fell(browser) == (0, 1), "the gate mails nobody on it"


def test_who_said_no_is_no_consent_under_a_policy(browser: Browser, office: Office) -> None:
    """Their record names the policy that was shown as well, and so does that of who stopped since."""
    office.world.person("ana@example.org", yes=("updates",))
    stopped = office.world.person("cem@example.org", yes=("updates",))
    browser("privacy_officer").post(
        office.world.stop_link(stopped, "updates"), data={"List-Unsubscribe": "One-Click"}
    )

    def refuses(session: Session) -> None:
        said = {"topic": "updates", "given": False, "source": "shop", "evidence": {}}
        make.register(session, office.house.ring, "ben@example.org", [said], now=clock.now())

    office.world.change(refuses)
    page = browser("privacy_officer").get("/staff/policies").text
    assert re.findall(r'data-label="Consents under it">(\d+)<', page) == ["1"]
