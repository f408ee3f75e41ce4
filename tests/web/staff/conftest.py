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
from service.domain.staff.rules import ROLES
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


@dataclass
class Office:
    """The house with one colleague of each role."""

    house: House
    world: World
    ids: dict[str, str]

    def token(self, role: str) -> str:
        """A fresh session of that colleague."""

        def begin(session: Session) -> str:
            member = next(one for one in actions.queries.members(session) if one.public_id == self.ids[role])
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

        def make(session: Session) -> str:
            by = f"staff:{self.ids['marketing']}"
            return announcements.create(
                session, self.house.settings, now=clock.now(), by=by, **given
            ).public_id  # type: ignore[arg-type]

        return str(self.world.change(make))


@pytest.fixture
def office(house: House, world: World) -> Office:
    """Everybody hired, a postal address on file."""

    def prepare(session: Session) -> dict[str, str]:
        fields = {"postal_address": "Mill Lane 1\n12345 Riverton"}
        brands.set_fields(session, "default", fields, now=clock.now(), by="cli")
        return {role: hire(session, house, role) for role in ROLES}

    return Office(house, world, world.change(prepare))


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
