"""A mailbox that the law bars gets nothing, not even a button that it asks for; and what was said there stands afterwards."""

import asyncio
from pathlib import Path

import pytest
from sqlalchemy.engine import Engine
from sqlmodel import Session

from service.db.session import transaction
from service.domain.people import queries as people
from service.domain.preferences import rights, rules
from service.kit import addresses, clock
from service.kit.signing import Keyring
from tests import builders as make
from tests import checks
from tests.scheduler.conftest import Post, Sink, SinkSettings, send_all

BY = "staff:u_1"


@pytest.fixture
def post(engine: Engine, ring: Keyring, tmp_path: Path) -> Post:
    return Post(engine, ring, tmp_path)


def _sent(post: Post) -> set[str]:
    async def story() -> set[str]:
        async with Sink(SinkSettings(keep=True)) as sink:
            await send_all(post, post.house(sink.port))
            return {message.rcpt.partition("@")[0] for message in sink.kept}

    return asyncio.run(story())


def _asks(post: Post, name: str) -> None:
    """Somebody types that address; a button waits to be mailed."""
    with transaction(post.engine) as session:
        asked = [make.an_answer(at=clock.now())]
        make.register(session, post.ring, f"{name}@example.org", asked, now=clock.now(), attest=False)


def _bar(post: Post, name: str, *, lift: bool = False) -> None:
    def person(session: Session):  # type: ignore[no-untyped-def]
        return people.by_address(session, post.ring, addresses.parse(f"{name}@example.org"))[0]

    with transaction(post.engine) as session:
        act = rights.unbar if lift else rights.bar
        act(session, person(session), reason="order 12/2026", now=clock.now(), by=BY)


def test_a_button_that_waits_does_not_leave_after_the_bar_and_no_other_is_mailed(post: Post) -> None:
    _asks(post, "ana")
    _asks(post, "ben")
    _bar(post, "ana")
    assert _sent(post) == {"ben"}
    _asks(post, "ana")
    assert _sent(post) == set()
    assert checks.chain(post.engine) == []


def test_a_mail_of_a_topic_goes_again_once_the_bar_is_lifted(post: Post) -> None:
    post.sign_up(2)
    _bar(post, "u0")
    announcement = post.announce(post.house(9))
    assert _sent(post) == {"u1"}
    assert post.report(announcement)["excluded"] == {"do_not_mail": 1}
    _bar(post, "u0", lift=True)
    post.announce(post.house(9))
    assert _sent(post) == {"u0", "u1"}


def test_what_does_not_stand_cannot_be_lifted(post: Post) -> None:
    post.sign_up(1)
    with pytest.raises(rules.NotBarred):
        _bar(post, "u0", lift=True)
