"""The do-not-mail list as staff read it: whose, how far, why, whence, on what evidence, and what would lift it; and the law's bar."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from sqlmodel import Session, col, select
from starlette.testclient import TestClient

from service.db.session import reading
from service.domain.ledger import queries as ledger
from service.domain.suppressions import actions
from service.domain.suppressions.rules import CAUSES
from service.domain.suppressions.tables import Suppression
from service.kit import clock
from tests import builders as make
from tests.web.staff.conftest import Office

Browser = Callable[..., TestClient]
PAGE = "/staff/do-not-mail"
GROUND = {"reason": "order 12/2026"}


def put(office: Office, email: str, cause: str = "hard_bounce", **more: Any) -> int:
    """An address on the list; the number of its entry."""
    given = {"scope": "all", "origin": "m_1", "subject": None, "by": "system", **more}

    def add(session: Session) -> int:
        digest = make.address_hash(office.house.ring, email)
        row = actions.add(session, digest, cause=cause, now=clock.now(), **given)
        assert row is not None
        return row.source_seq

    return int(office.world.change(add))


def looks(office: Office, kind: str) -> list[ledger.Seen]:
    with reading(office.house.engine) as session:
        return list(ledger.page(session, after=None, limit=200, kind=kind).rows)


def live(office: Office, email: str) -> list[str]:
    digest = make.address_hash(office.house.ring, email)
    with reading(office.house.engine) as session:
        rows = select(Suppression).where(
            col(Suppression.address_hash) == digest, col(Suppression.lifted_at).is_(None)
        )
        return [one.cause for one in session.exec(rows)]


def test_nobody_on_the_list_is_good(browser: Browser) -> None:
    page = browser("marketing").get(PAGE).text
    assert "Do-not-mail list: nobody. Good." in page
    menu = page.partition('id="menu"')[2]
    assert re.search(rf'<a href="{PAGE}" aria-current="page">Do-not-mail list</a>', menu)
    assert '<a href="/staff/people" aria-current="true">' in page, "the phone’s menu shows where one is"


def test_each_row_says_whose_how_far_why_whence_and_what_would_lift_it(
    browser: Browser, office: Office
) -> None:
    ana = office.world.person("ana@example.org")
    theirs = put(
        office, "ana@example.org", "objection", scope="marketing", origin="me", subject=ana.public_id
    )
    other = put(office, "gone@example.org", origin="m_77")
    page = browser("privacy_officer").get(PAGE).text
    assert page.index(f"entry={other}") < page.index(f"entry={theirs}"), "newest first"
    gone, hers = page[page.index("<tbody>") :].split("</tr>")[:2]
    assert "An address nobody is registered with" in gone
    assert f'href="/staff/people/{ana.public_id}"' in hers
    assert "a***a@example.org" in hers
    assert "ana@example.org" not in page.replace("a***a@example.org", "")
    for words in ("The mailbox does not exist", "All mail", "mailing m_77", "A new confirmation from that"):
        assert words in gone, words
    for words in ("They objected", "All marketing", "their own page", "What would lift it: Only the person"):
        assert words in hers, words
    assert f'<a href="/staff/ledger?entry={theirs}">' in hers
    assert page.count("Only a keyed hash of each address is kept") == 1
    assert [one.body for one in looks(office, "people.listed")] == [{"people": [ana.public_id]}]


def test_a_topic_and_an_import_are_named(browser: Browser, office: Office) -> None:
    topic = office.world.change(lambda session: make.the_topic(session, "updates").id)
    put(office, "ben@example.org", "withdrawal", scope="topic", topic_id=topic, origin="i_77")
    page = browser("privacy_officer").get(PAGE).text
    assert "The topic “Updates”" in page
    assert '<a href="/staff/people/import/i_77">' in page
    assert "/staff/people/import/i_77" not in browser("marketing").get(PAGE).text, "they cannot open it"


def test_pages_follow_each_other_and_a_cause_is_chosen(browser: Browser, office: Office) -> None:
    numbers = [put(office, f"a{number}@example.org") for number in range(51)]
    law = put(office, "law@example.org", "legal", origin="staff")
    officer = browser("privacy_officer")
    first = officer.get(PAGE).text
    following = re.search(rf'href="({PAGE}\?after=[^"]+)" rel="next"', first)
    assert following
    second = officer.get(following[1].replace("&amp;", "&")).text
    seen = [
        [int(one) for one in re.findall(r'href="/staff/ledger\?entry=(\d+)"', page)]
        for page in (first, second)
    ]
    assert [*seen[0], *seen[1]] == [law, *reversed(numbers)]
    only = officer.get(f"{PAGE}?cause=legal").text
    assert re.findall(r"\?entry=(\d+)", only) == [str(law)]
    assert '<option value="legal" selected>' in only
    assert "Nobody for this cause" in officer.get(f"{PAGE}?cause=complaint").text
    assert officer.get(f"{PAGE}?cause=nothing").text.count("?entry=") == 50
    assert officer.get(f"{PAGE}?after=nonsense").status_code == 422
    assert all(f'<option value="{cause}"' in first for cause in CAUSES)


def test_what_was_lifted_is_on_the_list_no_more(browser: Browser, office: Office) -> None:
    put(office, "ana@example.org")
    digest = make.address_hash(office.house.ring, "ana@example.org")
    office.world.change(
        lambda session: actions.lift(
            session, digest, causes=("hard_bounce",), subject=None, now=clock.now(), by="system"
        )
    )
    assert "nobody. Good." in browser("marketing").get(PAGE).text


def test_an_address_is_looked_up_without_standing_in_a_url_and_the_look_is_on_record(
    browser: Browser, office: Office
) -> None:
    entry = put(office, "gone@example.org")
    put(office, "else@example.org")
    marketing = browser("marketing")
    found = marketing.post(f"{PAGE}/find", data={"address": " Gone@Example.ORG "})
    assert found.status_code == 200
    assert re.findall(r">entry (\d+)<", found.text) == [str(entry)]
    assert "gone@example.org" in found.text.lower(), "which address is meant"
    assert "address=" not in found.text
    assert found.headers["cache-control"] == "no-store"
    [look] = looks(office, "suppression.viewed")
    assert (look.body, look.actor) == ({"entries": [entry]}, f"staff:{office.ids['marketing']}")
    nothing = marketing.post(f"{PAGE}/find", data={"address": "zoe@example.org"}).text
    assert "This address is not on the list." in nothing
    assert len(looks(office, "suppression.viewed")) == 1, "nothing was shown"
    odd = marketing.post(f"{PAGE}/find", data={"address": "not an address"})
    assert odd.status_code == 422
    assert 'aria-invalid="true"' in odd.text


def test_a_look_at_somebody_known_is_written_down_as_such(browser: Browser, office: Office) -> None:
    ana = office.world.person("ana@example.org")
    found = browser("marketing").post(f"{PAGE}/find", data={"address": "ana@example.org"}).text
    assert f'href="/staff/people/{ana.public_id}"' in found
    assert [one.body for one in looks(office, "people.listed")] == [{"people": [ana.public_id]}]


def test_the_law_bars_a_mailbox_that_nobody_is_registered_with_and_lets_it_go(
    browser: Browser, office: Office
) -> None:
    officer, gone = browser("privacy_officer"), {"address": "gone@example.org"}
    assert f'formaction="{PAGE}/bar"' in officer.post(f"{PAGE}/find", data=gone).text
    assert f"{PAGE}/bar" not in browser("marketing").post(f"{PAGE}/find", data=gone).text
    without = officer.post(f"{PAGE}/bar", data={**gone, "reason": " "})
    assert without.status_code == 422
    assert "Please say who asked for it" in without.text
    assert live(office, "gone@example.org") == []
    for act in ("bar", "unbar"):
        assert browser("marketing").post(f"{PAGE}/{act}", data={**gone, **GROUND}).status_code == 403
    barred = officer.post(f"{PAGE}/bar", data={**gone, **GROUND})
    assert (barred.status_code, barred.headers["location"]) == (303, PAGE)
    assert live(office, "gone@example.org") == ["legal"]
    [entry] = looks(office, "suppression.added")
    assert (entry.body["cause"], entry.body["reason"], entry.subject) == ("legal", "order 12/2026", None)
    assert f'formaction="{PAGE}/unbar"' in officer.post(f"{PAGE}/find", data=gone).text
    lifted = officer.post(f"{PAGE}/unbar", data={**gone, "reason": "order withdrawn"})
    assert lifted.headers["location"] == PAGE
    assert live(office, "gone@example.org") == []
    [entry] = looks(office, "suppression.lifted")
    assert entry.body["reason"] == "order withdrawn"
    again = officer.post(f"{PAGE}/unbar", data={**gone, "reason": "order withdrawn"})
    assert again.status_code == 409
    assert "does not bar this mailbox" in again.text


def test_of_somebody_who_was_erased_the_bar_is_lifted_and_their_no_stands(
    browser: Browser, office: Office
) -> None:
    ana = office.world.person("ana@example.org")
    officer, base = browser("privacy_officer"), f"/staff/people/{ana.public_id}"
    officer.post(f"{base}/bar", data=GROUND)
    officer.post(f"{base}/erase", data={"reason": "letter of 3 November"})
    assert sorted(live(office, "ana@example.org")) == ["erasure", "legal"]
    assert officer.post(f"{base}/unbar", data=GROUND).status_code == 409, "nobody lives there any more"
    found = officer.post(f"{PAGE}/find", data={"address": "ana@example.org"}).text
    assert ana.public_id not in found, "who was erased is registered nowhere"
    officer.post(f"{PAGE}/unbar", data={"address": "ana@example.org", **GROUND})
    assert live(office, "ana@example.org") == ["erasure"]


def test_the_bar_of_a_mailbox_is_on_record_with_whoever_holds_it(browser: Browser, office: Office) -> None:
    ana = office.world.person("ana@example.org")
    officer = browser("privacy_officer")
    officer.post(f"{PAGE}/bar", data={"address": "ana@example.org", **GROUND})
    [entry] = looks(office, "suppression.added")
    assert entry.subject == ana.public_id
    assert "The law asks for it no more" in officer.get(f"/staff/people/{ana.public_id}").text


@pytest.mark.parametrize("cause", [one for one in CAUSES if one != "legal"])
def test_nothing_but_the_bar_is_lifted_there(browser: Browser, office: Office, cause: str) -> None:
    """Only the person turns their own no into a yes (P7)."""
    put(office, "gone@example.org", cause)
    gone = {"address": "gone@example.org", **GROUND}
    officer = browser("privacy_officer")
    assert f"{PAGE}/unbar" not in officer.post(f"{PAGE}/find", data=gone).text
    assert officer.post(f"{PAGE}/unbar", data={**gone, "cause": cause}).status_code == 409
    assert live(office, "gone@example.org") == [cause]


def test_a_person_page_says_where_it_came_from(browser: Browser, office: Office) -> None:
    ana = office.world.person("ana@example.org")
    put(office, "ana@example.org", "objection", scope="marketing", origin="me", subject=ana.public_id)
    page = browser("marketing").get(f"/staff/people/{ana.public_id}").text
    assert "They objected to marketing. All marketing, from their own page" in re.sub(r"<[^>]+>", "", page)
