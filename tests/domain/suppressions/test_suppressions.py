"""The do-not-mail list: once per cause, by keyed hash, lifted only by the mailbox's owner."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlmodel import Session, select

from service.domain.preferences.actions import Choices, save
from service.domain.suppressions import actions, queries
from service.domain.suppressions.tables import Suppression
from service.kit import addresses
from service.kit.signing import Keyring
from tests import builders as make

DIGEST = "ab" * 32


def _add(session: Session, now: datetime, **more: Any) -> Suppression | None:
    given = {
        "scope": "all",
        "cause": "hard_bounce",
        "origin": "m_1",
        "subject": "p_a",
        "by": "system",
        **more,
    }
    return actions.add(session, DIGEST, now=now, **given)


def test_an_address_is_suppressed_once_for_a_cause(session: Session, now: datetime) -> None:
    assert _add(session, now) is not None
    assert _add(session, now) is None
    assert _add(session, now, cause="complaint", scope="marketing") is not None
    assert _add(session, now, cause="withdrawal", scope="topic", topic_id=1) is not None
    assert _add(session, now, cause="withdrawal", scope="topic", topic_id=2) is not None
    assert _add(session, now, cause="withdrawal", scope="topic", topic_id=2) is None
    session.flush()
    assert len(queries.live_for(session, [DIGEST])[DIGEST]) == 4
    assert make.kinds(session, "p_a").count("suppression.added") == 4


@pytest.mark.parametrize(
    ("scope", "marketing", "notice", "service"),
    [("all", True, True, True), ("marketing", True, False, False), ("topic", True, True, False)],
)
def test_a_scope_reaches_as_far_as_it_says(
    session: Session, now: datetime, scope: str, marketing: bool, notice: bool, service: bool
) -> None:
    _add(session, now, scope=scope, topic_id=1 if scope == "topic" else None)
    session.flush()
    rows = queries.live_for(session, [DIGEST])[DIGEST]
    for mail_class, reached in (("marketing", marketing), ("notice", notice), ("service", service)):
        stops = queries.scopes_for(rows, 1, mail_class)
        assert bool({one for one in stops if one[0] == "all" or mail_class != "service"}) is reached
    assert scope != "topic" or queries.scopes_for(rows, 2, "marketing") == frozenset()


def test_a_lifted_one_stays_as_history_and_may_come_again(session: Session, now: datetime) -> None:
    _add(session, now)
    assert actions.lift(session, DIGEST, causes=("complaint",), subject="p_a", now=now, by="cli") == 0
    assert (
        actions.lift(session, DIGEST, causes=("hard_bounce", "complaint"), subject="p_a", now=now, by="cli")
        == 1
    )
    session.flush()
    assert queries.live_for(session, [DIGEST]) == {}
    assert _add(session, now + timedelta(days=1)) is not None
    session.flush()
    assert len(session.exec(select(Suppression)).all()) == 2


def test_a_new_confirmation_from_the_mailbox_lifts_what_its_owner_may_lift(
    session: Session, ring: Keyring, now: datetime
) -> None:
    ana = make.a_person(session, ring, now=now, yes=())
    digest = make.address_hash(ring, "ana@example.org")
    for cause, scope in (
        ("hard_bounce", "all"),
        ("complaint", "marketing"),
        ("legal", "all"),
        ("objection", "marketing"),
    ):
        actions.add(
            session, digest, scope=scope, cause=cause, origin="", subject=ana.public_id, now=now, by="cli"
        )
    by = f"person:{ana.public_id}"
    save(session, ring, ana, Choices({"new-products": "each"}), how="page", evidence={}, now=now, by=by)
    make.press(session, ring, make.buttons(session, ana)[-1], now=now)
    session.flush()
    assert {one.cause for one in queries.live_for(session, [digest])[digest]} == {"legal", "objection"}


@pytest.mark.parametrize("cause", ["complaint", "withdrawal"])
def test_p7_a_button_for_notices_leaves_what_stops_advertising_as_it_is(
    session: Session, ring: Keyring, now: datetime, cause: str
) -> None:
    """Also for topics that are made later: nothing was said about advertising."""
    ana = make.a_person(session, ring, now=now, yes=())
    digest = make.address_hash(ring, "ana@example.org")
    for scope in ("marketing", "all"):
        actions.add(session, digest, scope=scope, cause=cause, origin="", subject=None, now=now, by="cli")
    save(session, ring, ana, Choices({"updates": "each"}), how="page", evidence={}, now=now, by="cli")
    make.press(session, ring, make.buttons(session, ana)[-1], now=now)
    offers = make.a_topic(session, now=now)
    session.flush()
    left = queries.live_for(session, [digest])[digest]
    assert ("marketing", cause) in {(one.scope, one.cause) for one in left}
    assert queries.scopes_for(left, offers.id or 0, "marketing")
    assert not queries.scopes_for(left, make.the_topic(session, "updates").id or 0, "notice")


def test_confirming_an_address_alone_does_not_lift_a_complaint(
    session: Session, ring: Keyring, now: datetime
) -> None:
    """They reported mail as spam there; moving an address in says nothing about wanting mail."""
    from service.domain.preferences import access

    ana = make.a_person(session, ring, now=now)
    digest = make.address_hash(ring, "new@example.org")
    for cause in ("hard_bounce", "complaint"):
        actions.add(session, digest, scope="all", cause=cause, origin="", subject=None, now=now, by="cli")
    access.change_email(session, ring, ana, addresses.parse("new@example.org"), now=now, by="cli")
    make.press(session, ring, make.buttons(session, ana)[-1], now=now)
    session.flush()
    assert {one.cause for one in queries.live_for(session, [digest])[digest]} == {"complaint"}
