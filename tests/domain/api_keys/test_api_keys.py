"""Keys, their scopes, and requests that are repeated."""

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pytest
from sqlalchemy.engine import Engine
from sqlmodel import Session, select

from service.db.session import reading, transaction
from service.domain.api_keys import actions, queries, rules
from service.domain.api_keys.tables import ApiKey, IdempotentAnswer
from service.domain.ledger.actions import appended


def _make(session: Session, now: datetime) -> actions.Created:
    return actions.create(session, name="Shop", source="shop", scopes=["people:write"], now=now, by="cli")


def test_a_key_is_shown_once_and_found_by_its_text(session: Session, now: datetime) -> None:
    made = _make(session, now)
    assert made.plaintext.startswith("bk_")
    assert made.plaintext not in repr(made.key.model_dump())
    assert queries.by_plaintext(session, made.plaintext, now=now) == made.key
    for wrong in ("", "bk_", made.plaintext[:-1], made.plaintext.upper(), "x" * 10_000, "bk_\ud800"):
        assert queries.by_plaintext(session, wrong, now=now) is None
    assert [entry.kind for entry in appended(session)] == ["api_key.created"]
    assert made.plaintext not in appended(session)[0].text


def test_a_revoked_or_expired_key_is_no_key(session: Session, now: datetime) -> None:
    made = _make(session, now)
    actions.revoke(session, made.key.public_id, now=now, by="cli")
    actions.revoke(session, made.key.public_id, now=now, by="cli")
    assert queries.by_plaintext(session, made.plaintext, now=now) is None
    assert [entry.kind for entry in appended(session)] == ["api_key.created", "api_key.revoked"]
    end = now + timedelta(days=1)
    short = actions.create(session, name="S", source="s", scopes=["all"], expires_at=end, now=now, by="cli")
    assert queries.by_plaintext(session, short.plaintext, now=now) is not None
    assert queries.by_plaintext(session, short.plaintext, now=end) is None
    with pytest.raises(rules.KeyUnknown):
        actions.revoke(session, "k_gone", now=now, by="cli")


def test_all_is_every_scope(session: Session, now: datetime) -> None:
    made = actions.create(session, name="All", source="s", scopes=["all"], now=now, by="cli")
    assert made.key.scopes == list(rules.SCOPES)
    assert rules.may(made.key.scopes, "consents:attest")
    assert rules.expand(["metrics", "people:read"]) == ["people:read", "metrics"]
    assert not rules.may(["people:read"], "people:write")
    with pytest.raises(KeyError):
        rules.may(made.key.scopes, "people:wrote")


@pytest.mark.parametrize("source", ["me", "join", " join "])
def test_no_key_speaks_for_what_people_say_of_themselves(
    session: Session, now: datetime, source: str
) -> None:
    with pytest.raises(rules.SourceReserved) as refused:
        actions.create(session, name="Own", source=source, scopes=["all"], now=now, by="cli")
    assert (refused.value.code, refused.value.field) == ("source_reserved", "source")


@pytest.mark.parametrize("scopes", [[], ["people:reed"], ["all", "x"], [""]])
def test_unknown_scopes_are_refused(scopes: list[str]) -> None:
    with pytest.raises(rules.ScopeUnknown) as refused:
        rules.expand(scopes)
    assert "announcements:send" in str(refused.value.fix)


@pytest.mark.parametrize("source", ["", "A", "a b", "-a", "a" * 61, "ä"])
def test_a_source_is_a_short_plain_word(source: str) -> None:
    with pytest.raises(rules.SourceInvalid):
        rules.check_source(source)


def test_rel_h49_a_key_bound_to_topics_sees_only_these() -> None:
    assert rules.sees(None, "updates")
    assert rules.sees(["updates"], "updates")
    assert not rules.sees(["updates"], "new-products")
    assert not rules.sees([], "updates")


def test_the_last_use_is_noted_at_most_once_a_minute(session: Session, now: datetime) -> None:
    key = _make(session, now).key
    assert key.id
    assert queries.wants_touch(key, now=now)
    actions.touch(session, key.id, now=now)
    session.refresh(key)
    assert not queries.wants_touch(key, now=now + timedelta(seconds=59))
    assert queries.wants_touch(key, now=now + timedelta(minutes=1))


def test_rel_h51_the_same_key_gives_the_same_answer_and_another_body_is_refused(
    session: Session, now: datetime
) -> None:
    key_id = _make(session, now).key.id
    assert key_id
    first, other = (rules.body_hash("POST", "/api/v1/notices", body) for body in (b"{}", b"{ }"))
    assert actions.replay(session, key_id, "abc", first, now=now) is None
    actions.remember(session, key_id, "abc", status=201, text='{"id":"n_1"}')
    session.expire_all()
    assert actions.replay(session, key_id, "abc", first, now=now) == actions.Answer(201, '{"id":"n_1"}')
    with pytest.raises(rules.IdempotencyKeyReused) as refused:
        actions.replay(session, key_id, "abc", other, now=now)
    assert (refused.value.code, refused.value.status) == ("idempotency_key_reused", 409)
    with pytest.raises(rules.IdempotencyKeyReused):
        actions.replay(session, key_id, "abc", rules.body_hash("POST", "/api/v1/people/bulk", b"{}"), now=now)
    for wrong in ("", "x" * 201, "a b", "ä", "a\n"):
        with pytest.raises(rules.IdempotencyKeyInvalid):
            actions.replay(session, key_id, wrong, first, now=now)


def test_rel_h51_answers_are_kept_per_key_and_for_thirty_days(session: Session, now: datetime) -> None:
    keys = [_make(session, now).key.id, _make(session, now).key.id]
    assert all(actions.replay(session, key_id or 0, "abc", "h", now=now) is None for key_id in keys)
    assert actions.forget_answers(session, now=now + timedelta(days=30)) == 0
    assert actions.forget_answers(session, now=now + timedelta(days=31)) == 2


def test_rel_h51_twenty_equal_requests_at_once_make_one_object(engine: Engine, now: datetime) -> None:
    with transaction(engine) as session:
        key_id = _make(session, now).key.id
    assert key_id

    def post(number: int) -> str:
        with transaction(engine) as session:
            known = actions.replay(session, key_id, "once", "h", now=now)
            if known is not None:
                return known.text
            made = actions.create(
                session, name="made", source="made", scopes=["all"], now=now, by="cli"
            ).key.public_id
            actions.remember(session, key_id, "once", status=201, text=made)
            return made

    with ThreadPoolExecutor(20) as pool:
        answers = set(pool.map(post, range(20)))
    with reading(engine) as session:
        objects = session.exec(select(ApiKey).where(ApiKey.source == "made")).all()
        assert [row.public_id for row in objects] == list(answers)
        assert len(session.exec(select(IdempotentAnswer)).all()) == 1
