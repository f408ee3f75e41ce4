"""Whoever is on record for a topic by a purchase or an old registration, and gets nothing of it where they live: their page says so, and
takes their own yes."""

import html
from datetime import datetime
from typing import Any

import pytest
from sqlmodel import Session
from starlette.testclient import TestClient

from service.domain.deliveries.queries import topic_facts
from service.domain.ledger import actions as ledger
from service.domain.links import rules as links
from service.domain.people.tables import Person
from service.domain.preferences import queries
from service.domain.preferences.rules import decide
from service.domain.preferences.tables import Preference
from service.kit import clock
from tests import builders as make
from tests.web.conftest import World


def _on_record(session: Session, ana: Person, basis: str, now: datetime) -> None:
    """As a site or an import leaves it."""
    topic = make.the_topic(session)
    body = {"topic": topic.slug, "state": "given", "state_before": "unknown", "basis": basis, "method": "api"}
    seq = ledger.append(session, "consent.given", subject=ana.public_id, body=body, by=make.BY, now=now)
    session.add(
        Preference(
            person_id=ana.id or 0, topic_id=topic.id or 0, state="given", basis=basis, warrant_seq=seq, since_at=now,
            last_seq=seq,
        )
    )  # fmt: skip


def _refusal(world: World, ana: Person) -> str | None:
    def look(session: Session) -> str | None:
        facts, person = topic_facts(make.the_topic(session)), make.the_person(session, ana.public_id)
        return decide(queries.standing(session, person, facts), topic=facts, now=clock.now()).reason

    reason: str | None = world.change(look)
    return reason


GROUNDS = {
    "soft_opt_in": ("as a customer", "law_wants_a_yes"),
    "implied_purchase": ("something you bought", "law_wants_a_yes"),
    "legacy_registration": ("an earlier registration", "legacy_unconfirmed"),
}


@pytest.mark.parametrize("basis", GROUNDS)
def test_the_page_says_on_what_it_stands_and_takes_their_own_yes(
    client: TestClient, world: World, basis: str
) -> None:
    ground, refusal = GROUNDS[basis]
    ana = world.person(yes=("updates",))
    world.change(lambda session: _on_record(session, ana, basis, clock.now()))
    assert _refusal(world, ana) == refusal
    path = "/p/" + world.link(links.PREFERENCES, ana)
    page = html.unescape(client.get(path).text)
    assert ground in page
    assert page.count("You said yes on") == 1, "to the other topic"
    assert "only if you say yes to them yourself" in page
    saved = html.unescape(client.post(path, data=_chosen(agreed=False)).text)
    assert "Press the button" not in saved
    saved = html.unescape(client.post(path, data=_chosen(agreed=True)).text)
    assert "Press the button" in saved
    [mail] = world.mails("confirm")
    button = "/confirm/" + world.link(links.CONFIRM, ana, None, mailing=mail.alias)
    assert 'name="confirm"' in client.get(button).text
    assert client.post(button, data={"confirm": "yes"}).status_code == 200
    assert _refusal(world, ana) is None
    page = html.unescape(client.get(path).text)
    assert "only if you say yes to them yourself" not in page
    assert page.count("You said yes on") == 2


def _chosen(*, agreed: bool) -> dict[str, Any]:
    return {"do": "save", "topic:new-products": "each"} | ({"agree:new-products": "1"} if agreed else {})


def test_who_may_be_written_to_without_a_yes_is_asked_nothing(client: TestClient, world: World) -> None:
    ana = world.person(yes=("updates",), attributes={"country": "de"})
    world.change(lambda session: _on_record(session, ana, "soft_opt_in", clock.now()))
    assert _refusal(world, ana) is None
    page = html.unescape(client.get("/p/" + world.link(links.PREFERENCES, ana)).text)
    assert "as a customer" in page
    assert 'name="agree:new-products"' not in page
