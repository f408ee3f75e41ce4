"""The copy to read where more than one registration shares the mailbox."""

from starlette.testclient import TestClient

from service.db.session import transaction
from service.domain.people.tables import Person
from service.kit import clock
from tests import builders as make
from tests.domain.privacy.schemas import faults, published
from tests.web.conftest import World
from tests.web.public.test_profile import signed_in


def at_the_forum(world: World) -> Person:
    """A forum names the mailbox of somebody the shop knows, and nobody has confirmed that."""
    now = clock.now()
    with transaction(world.house.engine) as session:
        told = make.register(
            session, world.house.ring, consents=[make.an_answer(at=now)], source="forum", external_id="77",
            attest=False, now=now, profile={"company": "Quince"}, attributes={"plan": "free"},
        )  # fmt: skip
        return make.the_person(session, told.person_id)


def test_std_h9_what_other_sites_registered_with_the_mailbox_is_on_the_page(
    client: TestClient, world: World
) -> None:
    person = signed_in(client, world, attributes={"plan": "pro"})
    alone = client.get("/me/copy").text
    assert "Also registered with your mailbox" not in alone
    assert "registration p_" not in alone
    other = at_the_forum(world)
    page, german = (client.get(f"/me/copy?lang={lang}").text for lang in ("en", "de"))
    assert f"Also registered with your mailbox: {other.public_id}." in page
    for words in ("From the site “forum”", "Quince", "free", f"registration {other.public_id}"):
        assert words in page
    assert f"registration {person.public_id}" not in page
    assert f"Registrierung {other.public_id}" in german
    assert page.count('href="/me/receipts/') == 2, "there is no receipt of the other's here"
    answer = client.get("/me/copy.json").json()
    assert faults(published("access-copy"), answer) == []
    assert {one["source"] for one in answer["profiles"]} == {"shop", "forum"}
    taken = client.get("/me/portable.json").json()
    assert faults(published("portable-copy"), taken) == []
    assert {one["profile"]["company"] for one in taken["profiles"]} == {"Aronia", "Quince"}
