"""Colleagues of every role, and browsers they are signed in with."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from sqlmodel import Session
from starlette.testclient import TestClient

from service import app
from service.domain.announcements import actions as announcements
from service.domain.brands import actions as brands
from service.domain.staff import actions
from service.kit import addresses, clock
from service.ops.house import House
from tests.web.conftest import BASE, World

OURS = {"Origin": BASE}
PASSWORD = "four odd kettles sing"


def hire(session: Session, house: House, role: str, *, name: str = "", email: str = "") -> str:
    """An open account; returns its public id. The first one is made as at the first run."""
    now, who = clock.now(), name or f"{role.title()} Person"
    address = addresses.parse(email or f"{role.replace('_', '-')}@example.org")
    made = actions.invite(
        session, house.ring, address=address, name=who, role=role, mail=False, now=now, by="cli"
    )
    actions.accept(session, house.ring, made.token, name=who, password=PASSWORD, address=None, now=now)
    return made.member.public_id


class Hired(dict[str, str]):
    """The colleagues by role, hired when first asked for."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world

    def __missing__(self, role: str) -> str:
        self[role] = self.world.change(lambda session: hire(session, self.world.house, role))
        return self[role]


@dataclass
class Office:
    """The house with one colleague of each role."""

    house: House
    world: World
    ids: Hired

    def token(self, role: str) -> str:
        """A fresh session of that colleague."""

        whose = self.ids[role]

        def begin(session: Session) -> str:
            member = next(one for one in actions.queries.members(session) if one.public_id == whose)
            link = actions.sign_in_token(session, member.id or 0, now=clock.now(), by="cli")
            return actions.sign_in_by_token(session, link, now=clock.now())

        return str(self.world.change(begin))

    def announcement(self, **more: object) -> str:
        """A draft by the colleague for marketing; returns its public id."""
        words = {
            "subject": "The planner is here",
            "preheader": "Plan a week in two minutes",
            "body": "Hello {{ first_name|default('there') }},\n\nit is here.\n",
        }
        given = {"topic": "new-products", "template": "letter", "content": {"en": words}, **more}

        by = f"staff:{self.ids['marketing']}"

        def make(session: Session) -> str:
            return announcements.create(
                session, self.house.settings, now=clock.now(), by=by, **given
            ).public_id  # type: ignore[arg-type]

        return str(self.world.change(make))


@pytest.fixture
def office(house: House, world: World) -> Office:
    """An admin is there, as from the first run on, and a postal address on file."""
    fields = {"postal_address": "Mill Lane 1\n12345 Riverton"}
    world.change(lambda session: brands.set_fields(session, "default", fields, now=clock.now(), by="cli"))
    made = Office(house, world, Hired(world))
    assert made.ids["admin"]
    return made


@pytest.fixture
def browser(office: Office) -> Iterator[Callable[..., TestClient]]:
    """`browser("admin")`: a browser in which that colleague is signed in, whose forms are our own."""
    opened: list[TestClient] = []
    built = app.build(office.house)

    def sign_in(role: str | None = None, *, headers: dict[str, str] | None = None) -> TestClient:
        cookies = {"bidden-staff": office.token(role)} if role else {}
        client = TestClient(
            built,
            base_url=BASE,
            follow_redirects=False,
            cookies=cookies,
            headers=OURS if headers is None else headers,
        )
        opened.append(client)
        return client

    yield sign_in
    for client in opened:
        client.close()
