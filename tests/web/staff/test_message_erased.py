"""A message whose writer is registered nowhere can be erased, with its answers, and does not come back with a copy."""

from collections.abc import Callable

import pytest
from sqlmodel import select
from starlette.testclient import TestClient

from service.db.session import reading
from service.domain.ledger import queries as ledger
from service.domain.ledger import safe
from service.domain.mailings.tables import Address, Mailing
from service.domain.privacy import actions, queries
from service.domain.privacy.tables import ContactRequest, RightsRequest
from service.kit import addresses, clock
from service.ops import erasure
from service.ops.house import House
from tests.web.staff.conftest import Office

Browser = Callable[..., TestClient]


def asked(office: Office, text: str = "What do you hold?", address: str = "zoe@example.org") -> str:
    """A message of somebody who is registered nowhere."""
    ask = {
        "address": addresses.parse(address),
        "name": "Zoe",
        "subject": "data",
        "text": text,
        "locale": "en",
    }
    return office.world.change(
        lambda session: actions.ask(session, office.house.ring, now=clock.now(), **ask).public_id  # type: ignore[arg-type]
    )


def messages(house: House) -> list[str]:
    with reading(house.engine) as session:
        return [row.public_id for row in session.exec(select(ContactRequest).order_by(ContactRequest.id))]  # type: ignore[arg-type]


def test_the_officer_erases_a_message_with_its_answers(browser: Browser, office: Office) -> None:
    one, other = asked(office), asked(office, "Something else")
    officer, base = browser("privacy_officer"), f"/staff/contact/{one}"
    officer.post(f"{base}/answer", data={"body": "Your address."})
    made = officer.post(f"{base}/request", data={"right": "erasure"}).headers["location"]
    assert f'href="{base}/erase"' in officer.get(base).text

    preview = officer.get(f"{base}/erase").text
    for words in ("This goes", "This stays, and why", "SAFE_DIR", "1 still open"):
        assert words in preview, words
    assert "What do you hold?" not in preview
    nothing = officer.post(f"{base}/erase", data={"reason": ""})
    assert nothing.status_code == 422
    assert "Please say who asked for it" in nothing.text
    assert messages(office.house) == [one, other]

    assert officer.post(f"{base}/erase", data={"reason": "By letter."}).status_code == 303
    assert messages(office.house) == [other]
    gone = officer.get(base)
    assert gone.status_code == 200
    for words in ("This message was erased", "By letter.", "Privacy_Officer Person", one):
        assert words in gone.text, words
    assert officer.post(f"{base}/erase", data={"reason": "Again."}).status_code == 303, "a second press"
    with reading(office.house.engine) as session:
        kept = session.exec(select(Address).where(Address.owner_kind == "visitor").order_by(Address.id)).all()  # type: ignore[arg-type]
        assert [(row.sealed is None, row.address_hash == "") for row in kept] == [
            (True, True),
            (False, False),
        ]
        [mail] = session.exec(select(Mailing).where(Mailing.purpose == "contact-answer"))
        assert mail.facts == {}
        [row] = session.exec(select(RightsRequest))
        assert (row.contact_id, row.sealed, row.closed_at) == (None, None, None)
        entry = ledger.of_subject(session, one, kinds=("contact.erased",))
        said = {"how": "staff", "reason": "By letter.", "answers": [mail.public_id]}
        assert [seen.body for seen in entry] == [said]
    page = officer.get(made)
    assert page.status_code == 200
    assert "What do you hold?" not in page.text
    assert "Something else" in officer.get(f"/staff/contact/{other}").text


@pytest.mark.parametrize("role", ["marketing", "product"])
def test_nobody_else_erases_one(browser: Browser, office: Office, role: str) -> None:
    one = asked(office)
    assert browser(role).get(f"/staff/contact/{one}/erase").status_code == 403
    assert browser(role).post(f"/staff/contact/{one}/erase", data={"reason": "x"}).status_code == 403
    assert messages(office.house) == [one]


def test_what_never_was_is_not_here(browser: Browser, office: Office) -> None:
    officer = browser("privacy_officer")
    for path in ("/staff/contact/q_none", "/staff/contact/q_none/erase"):
        assert officer.get(path).status_code == 404
    assert officer.post("/staff/contact/q_none/erase", data={"reason": "x"}).status_code == 404


def test_after_a_restore_it_is_erased_again(browser: Browser, office: Office) -> None:
    """The line of the file is read back into a database that has not heard of it."""
    one, other = asked(office), asked(office, "Something else")
    officer = browser("privacy_officer")
    officer.post(f"/staff/contact/{one}/erase", data={"reason": "By letter."})
    [line] = [row for row in safe.lines(office.house.settings.safe) if row["kind"] == "contact.erased"]
    assert (line["subject"], line["body"]) == (one, {"how": "staff"})

    # In the older copy the other message stands for the erased one, which this database knows to be gone.
    unheard = [{**line, "subject": other, "hash": "0" * 64}, {**line, "subject": "q_later", "hash": "0" * 64}]

    def again(session):  # type: ignore[no-untyped-def]
        return erasure.reapply(session, office.house.ring, unheard, now=clock.now())

    done = office.world.change(again)
    assert (done.again, done.left) == (1, 0)
    assert messages(office.house) == []
    with reading(office.house.engine) as session:
        [said] = ledger.of_subject(session, other, kinds=("contact.erased",))
        assert said.body == {"how": "restore"}
        assert queries.counts(session)["open"] == 0


def test_who_is_registered_there_keeps_their_mails(browser: Browser, office: Office) -> None:
    """The address is kept once for each message, and once for the person; the person's stays."""
    person = office.world.person("zoe@example.org")
    one = asked(office)
    browser("privacy_officer").post(f"/staff/contact/{one}/erase", data={"reason": "By letter."})
    with reading(office.house.engine) as session:
        [row] = session.exec(select(Address).where(Address.owner_kind == "person"))
        assert (row.sealed is not None, row.ended_at) == (True, None)
    assert person.public_id
