"""What a purchase permits, in a mailing: only where the law says so, at the freeze and again at the claim, and the mail says so."""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import update
from sqlalchemy.engine import Engine
from sqlmodel import Session, col, select

from service.db.session import transaction
from service.domain.people.tables import Identity, PersonAttribute
from service.domain.preferences.registration import Registered, Registration, register_many
from service.kit import clock
from service.kit.signing import Keyring
from tests import checks
from tests.scheduler.conftest import Post, Sink, SinkSettings, send_all

COUNTRIES = {"u0": "ca", "u1": "US", "u2": "de", "u3": "ru", "u4": "", "u5": "ca"}


@pytest.fixture
def post(engine: Engine, ring: Keyring, tmp_path: Path) -> Post:
    return Post(engine, ring, tmp_path)


def _customers(post: Post) -> None:
    """People who bought something a month ago and never said yes, and u9, who did say it and lives in Russia."""
    at = (clock.now() - timedelta(days=30)).isoformat()
    said = {"topic": "new-products", "given": True, "source": "order", "evidence": {"at": at}}
    said |= {"confirmed": {"at": at, "method": "order"}}
    bought = said | {"basis": "implied_purchase"}
    people = [
        Registration(
            name, f"{name}@example.org", "en", None, None, {"country": country} if country else {}, [bought]
        )
        for name, country in COUNTRIES.items()
    ]
    people.append(Registration("u9", "u9@example.org", "en", None, None, {"country": "ru"}, [said]))
    with transaction(post.engine) as session:
        answers = register_many(
            session, post.ring, "site", people, attest=True, topics=None, now=clock.now(), by="cli"
        )
        assert all(isinstance(one, Registered) for one in answers), answers


def test_a_purchase_permits_where_the_law_says_so(post: Post) -> None:
    _customers(post)
    announcement = post.announce(post.house(9))
    with transaction(post.engine) as session:  # u5 is in the audience and moves before the claim
        moves = (col(PersonAttribute.value) == "ca") & (col(PersonAttribute.person_id) == _person(post, "u5"))
        session.connection().execute(update(PersonAttribute).where(moves).values(value="de"))
    settings = SinkSettings(keep=True)

    async def story() -> dict[str, str]:
        async with Sink(settings) as sink:
            await send_all(post, post.house(sink.port))
            return {message.rcpt.partition("@")[0]: message.data.decode() for message in sink.kept}

    got = asyncio.run(story())
    assert set(got) == {"u0", "u1", "u9"}
    report = post.report(announcement)
    assert report["excluded"]["law_wants_a_yes"] == 3
    assert report["outcomes"]["skipped"] == {"law_wants_a_yes": 1}
    plain = {name: " ".join(data.replace("=\r\n", "").split()) for name, data in got.items()}
    assert all("because you bought something from us" in plain[name] for name in ("u0", "u1"))
    assert "because you chose" in plain["u9"]
    assert checks.chain(post.engine) == []


def _person(post: Post, name: str) -> int:
    with Session(post.engine) as session:
        return session.exec(select(Identity.person_id).where(col(Identity.external_id) == name)).one()
