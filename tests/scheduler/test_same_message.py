"""A further try is the same message: whatever staff change of the brand in between, its Message-ID and its envelope stay, so that
greylisting knows it again and a double can be told as one (RFC 5322 3.6.4, reliability 2.3)."""

import asyncio

import pytest
from sqlalchemy import text

from service.db.session import reading, transaction
from service.domain.announcements import queries as announcements
from service.domain.brands import actions as brands
from service.domain.reports import members
from service.kit import clock
from tests.scheduler.conftest import Post, Sink, SinkSettings, send_all

CHANGES = [
    {"from_domain": "new.example.net"},
    {"bounce_domain": "bounces.example.net"},
    {"from_domain": "new.example.net", "bounce_domain": "bounces.example.net"},
]


def _change(post: Post, fields: dict[str, str]) -> None:
    with transaction(post.engine) as session:
        brands.set_fields(session, "default", fields, now=clock.now(), by="staff:s_ana")


@pytest.mark.parametrize("ending", ["drop:dot", "drop:kept", "dot:451 4.7.1 greylisted, come back"])
@pytest.mark.parametrize("fields", CHANGES)
def test_std_a3_a_brand_that_moves_between_two_tries_changes_no_name(
    post: Post, ending: str, fields: dict[str, str]
) -> None:
    async def run() -> None:
        async with Sink(SinkSettings(keep=True, fault={0: ending}.get)) as sink:
            sink.settings.on_dot = lambda message: _change(post, fields) if message.number == 0 else None
            house = post.house(sink.port, unknown_retry_seconds=0)
            post.sign_up(1)
            announcement = await asyncio.to_thread(post.announce, house)
            with post.engine.begin() as connection:
                connection.execute(text("UPDATE mailing SET unknown_rule = 'at_least_once'"))
            await send_all(post, house)
            first, second = sink.messages
            assert (first.message_id, first.mail_from) == (second.message_id, second.mail_from)
            assert ("new.example.net" in second.data.decode()) == ("from_domain" in fields), (
                "From is the brand's"
            )
            with reading(post.engine) as session:
                mailing = announcements.mailing_of(session, announcements.by_public_id(session, announcement))
                assert mailing is not None
                [shown] = members.deliveries(session, post.ring, mailing).rows
            assert shown.message_id == first.message_id, "and so the report says"

    asyncio.run(run())


def test_a_mailing_that_begins_after_the_move_has_the_new_name(post: Post) -> None:
    async def run() -> None:
        async with Sink(SinkSettings(keep=True)) as sink:
            house = post.house(sink.port)
            post.sign_up(1)
            _change(post, {"from_domain": "new.example.net"})
            await asyncio.to_thread(post.announce, house)
            await send_all(post, house)
            [message] = sink.messages
            assert message.message_id.endswith("@new.example.net>")
            assert message.mail_from.endswith("@new.example.net")

    asyncio.run(run())
