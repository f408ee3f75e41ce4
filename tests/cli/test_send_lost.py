"""`bidden send lost`: a sender whose machine is gone is given up, and nothing it had in hand is sent as if it knew."""

import asyncio
import random
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.engine import Engine

from scheduler import journal, recovery
from service.db.session import reading, transaction
from service.domain.deliveries import claims
from service.domain.deliveries.rules import Waits
from service.domain.ledger import queries as ledger
from service.domain.senders import actions as senders
from service.kit import clock
from service.kit.signing import Keyring
from tests.scheduler.conftest import Post


@pytest.fixture
def post(engine: Engine, ring: Keyring, tmp_path: Path) -> Post:
    return Post(engine, ring, tmp_path)


def _claimed(post: Post, *, host: str) -> claims.Claimed:
    """Three people's batch in the hands of a sender on `host`, last heard of an hour ago."""
    house = post.house(1)
    post.sign_up(3)
    post.announce(house)
    now = clock.now()
    with transaction(post.engine) as session:
        lease = senders.begin(session, "far", boot_id="there", seen_seq=0, now=now)
        lease.host, lease.renewed_at = host, lease.renewed_at - timedelta(hours=1)
        assert lease.id is not None
        session.add(lease)
        [batch] = claims.claim(session, post.ring, lease.id, now=now, limit=1, system=False)
    return batch


def _lose(post: Post, name: str = "far") -> int:
    waits, chance = Waits([1], 1), random.Random(1)
    with transaction(post.engine) as session:
        return claims.lose(session, post.ring, name, waits=waits, now=clock.now(), chance=chance, by="cli")


def _states(post: Post) -> list[Any]:
    with post.engine.connect() as connection:
        return [
            tuple(row) for row in connection.execute(text("SELECT state, reason FROM outcome ORDER BY pos"))
        ]


def test_all_it_had_in_hand_is_unknown_and_it_is_written_down(post: Post) -> None:
    batch = _claimed(post, host="elsewhere")
    assert _lose(post) == 1
    assert _states(post) == [("unknown", "sender_lost")] * 3
    with reading(post.engine) as session:
        assert "sender.lost" in ledger.kinds(session)
    with transaction(post.engine) as session:  # should it wake after all, it records nothing
        late = claims.record(
            session, batch, [], waits=Waits([1], 1), now=clock.now(), chance=random.Random(1)
        )
        assert late is False
    with pytest.raises(senders.SenderUnknown):
        _lose(post, "nobody")


def test_one_that_was_heard_of_is_not_lost(post: Post) -> None:
    _claimed(post, host="elsewhere")
    with transaction(post.engine) as session:
        session.connection().execute(text("UPDATE sender SET renewed_at = :now"), {"now": clock.now()})
    with pytest.raises(senders.SenderNotLost):
        _lose(post)
    assert _states(post) == []


def test_a_journal_that_lies_here_knows_better(post: Post) -> None:
    batch, house = _claimed(post, host="elsewhere"), post.house(1)
    kept = journal.Journal.open(house.settings.journals, "far")
    mailing = batch.mailing.id or 0
    kept.sent_mark(mailing, 1, 1, batch.token)
    kept.reply(mailing, 1, 1, 250, "2.0.0")
    kept.sent_mark(mailing, 2, 1, batch.token)
    kept.close()
    assert asyncio.run(recovery.recover_lost(house, "other")) == 0
    assert asyncio.run(recovery.recover_lost(house, "far")) == 1
    assert _lose(post) == 0
    assert _states(post) == [("sent", ""), ("unknown", "sender_died")]
    assert post.open_batches() == 1  # the third was never sent, and is planned again
