"""What arrives at a real SMTP server verifies: every kind of mail, after dot-stuffing, and through a change of keys."""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from service.db.session import transaction
from service.domain.announcements import actions as announcements
from service.domain.brands import actions as brands
from service.domain.deliveries.rules import BATCH
from service.domain.staff import actions as staff
from service.kit import addresses, clock
from service.mail import dkim
from service.ops.house import House
from tests import builders as make
from tests.conftest import OPENDKIM
from tests.faults.sink import Message
from tests.mail.oracle import DER, opendkim_refuses, records, tags, verifies
from tests.scheduler.conftest import WORDS, Post, Sink, SinkSettings, send_all

OTHER = dkim.new_private_key()
LAST = 200  # messages of the third batch


def keep_key(post: Post, selector: str, private: bytes = DER) -> dict[str, str]:
    """A key of the seeded brand; what DNS says of it."""
    with transaction(post.engine) as session:
        row = brands.new_dkim_key(
            session, post.ring, "default", private=private, selector=selector, now=clock.now(), by="cli"
        )
        key = dkim.Key(row.domain, row.selector, dkim.open_private_key(private))
        return records((key, row.public))


def use(post: Post, selector: str) -> None:
    with transaction(post.engine) as session:
        brands.use_dkim_key(session, "default", selector, now=clock.now(), by="cli")


def announced(post: Post, words: dict[str, Any] = WORDS, **settings: Any) -> list[bytes]:
    """What the server got of one announcement to everybody."""

    async def story() -> list[bytes]:
        async with Sink(SinkSettings(keep=True, **settings)) as sink:
            house = post.house(sink.port)
            await asyncio.to_thread(post.announce, house, words)
            await send_all(post, house)
            return [message.data for message in sink.kept]

    return asyncio.run(story())


def test_std_t3_t4_e1_what_the_server_got_verifies(post: Post) -> None:
    published = keep_key(post, "one")
    use(post, "one")
    post.sign_up(25, first_name="Zoë")
    body = "Hello {{ first_name }},\n\n    .\n    ..\n    . dots \n\nGrüße  aus   Köln \n\n" + "x" * 1200
    messages = announced(
        post, {"en": {**WORDS["en"], "subject": "Für {{ first_name }} – 日本", "body": body}}
    )
    assert len(messages) == 25
    for message in messages:
        assert verifies(message, published)
        found = tags(message)
        assert (found["d"], found["s"]) == ("example.org", "one")
        assert {"list-unsubscribe", "list-unsubscribe-post", "feedback-id"} <= set(found["h"].split(":"))
        assert abs(int(found["t"]) - clock.now().timestamp()) < 120


def test_std_t3_a_server_without_pipelining_gets_the_same_bytes(post: Post) -> None:
    published = keep_key(post, "one")
    use(post, "one")
    post.sign_up(3)
    messages = announced(post, pipelining=False)
    assert [verifies(message, published) for message in messages] == [True] * 3


def test_a_brand_without_a_key_sends_unsigned(post: Post) -> None:
    keep_key(post, "one")  # published only
    post.sign_up(2)
    messages = announced(post)
    assert len(messages) == 2
    assert not any(b"DKIM-Signature" in message for message in messages)


def test_std_e4_a_changed_from_domain_ends_the_signing(post: Post) -> None:
    keep_key(post, "one")
    use(post, "one")
    with transaction(post.engine) as session:
        brands.set_fields(session, "default", {"from_domain": "mail.example.org"}, now=clock.now(), by="cli")
    post.sign_up(1)
    [message] = announced(post)
    assert b"DKIM-Signature" not in message
    assert b"@mail.example.org>" in message


def test_a_key_that_does_not_open_keeps_nobody_from_their_mail(post: Post) -> None:
    keep_key(post, "one")
    use(post, "one")
    with post.engine.execution_options(write=True).begin() as connection:
        connection.execute(text("UPDATE dkim_key SET selector = 'two'"))
    post.sign_up(1)
    [message] = announced(post)
    assert b"DKIM-Signature" not in message


def test_std_e7_rotation_during_a_run(post: Post, tmp_path: Path) -> None:
    """A mailing of three batches with `use` while the first is under way, one sender and no restart: the third goes under
    the new selector, and all thousand verify, each by its own, before dkimpy and before OpenDKIM."""
    first, second = keep_key(post, "one", DER), keep_key(post, "two", OTHER)
    use(post, "one")
    post.sign_up(2 * BATCH + LAST)  # a sender has two batches in hand

    async def story() -> list[bytes]:
        begun, turned = asyncio.Event(), asyncio.get_running_loop().create_future()

        def hold(message: Message) -> asyncio.Future[None] | None:
            begun.set()
            return None if turned.done() else turned

        async with Sink(SinkSettings(keep=True, hold=hold)) as sink:
            house = post.house(sink.port)
            await asyncio.to_thread(post.announce, house)

            async def rotate() -> None:
                await begun.wait()
                await asyncio.to_thread(use, post, "two")
                turned.set_result(None)

            await send_all(post, house, meanwhile=rotate)
            return [message.data for message in sink.kept]

    messages = asyncio.run(story())
    assert Counter(tags(message)["s"] for message in messages) == {"one": 2 * BATCH, "two": LAST}
    assert [one for one in messages if not verifies(one, {**first, **second})] == []
    if OPENDKIM:  # its absence is noted by the test of the signer
        doubled = [b"List-Unsubscribe: <https://attacker.example.org/>\r\n" + one for one in messages]
        assert opendkim_refuses(messages, tmp_path, {**first, **second}) == []
        assert opendkim_refuses(doubled, tmp_path, {**first, **second}) == list(range(len(messages)))
    assert [verifies(one, second) for one in (messages[0], messages[-1])] == [False, True]


def _ask_for_confirmation(post: Post, house: House) -> None:
    said = [make.an_answer(at=clock.now())]
    with transaction(post.engine) as session:
        make.register(session, post.ring, "ana@example.org", said, now=clock.now(), attest=False)


def _ask_for_test(post: Post, house: House) -> None:
    address = addresses.parse("jana@example.org")
    words = {"password": "correct horse battery", "address": None, "now": clock.now()}
    with transaction(post.engine) as session:
        brands.set_fields(session, "default", {"postal_address": "Berlin"}, now=clock.now(), by="cli")
        invited = staff.invite(
            session,
            post.ring,
            address=address,
            name="Jana",
            role="admin",
            mail=False,
            now=clock.now(),
            by="cli",
        )
        staff.accept(session, post.ring, invited.token, name="Jana", **words)
        row = announcements.create(
            session,
            house.settings,
            topic="new-products",
            template="launch",
            content=WORDS,
            now=clock.now(),
            by="cli",
        )
        announcements.test_mail(
            session, post.ring, house.settings, row.public_id, member=invited.member, as_person=None, locale="en",
            now=clock.now(), by=f"staff:{invited.member.public_id}",
        )  # fmt: skip


@pytest.mark.parametrize("ask", [_ask_for_confirmation, _ask_for_test])
def test_single_mails_and_tests_are_signed_too(post: Post, ask: Any) -> None:
    published = keep_key(post, "one")
    use(post, "one")

    async def story() -> list[bytes]:
        async with Sink(SinkSettings(keep=True)) as sink:
            house = post.house(sink.port)
            await asyncio.to_thread(ask, post, house)
            await send_all(post, house)
            return [message.data for message in sink.kept]

    messages = asyncio.run(story())
    assert messages
    assert all(verifies(message, published) for message in messages)
