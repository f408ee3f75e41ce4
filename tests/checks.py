"""The checkers: each looks at one promise and says in words what is wrong, an empty list when nothing is.

The tests ask them of the product as it is; `tests/sabotage` asks them of a product broken on purpose, where they must object.
"""

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import delete, insert, select, text, update
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DBAPIError
from sqlmodel import Session, col

from service.db.engine import is_sqlite
from service.db.session import reading
from service.domain.ledger import queries as ledger
from service.domain.ledger.tables import LedgerEntry
from service.domain.links import rules as links
from service.domain.mailings.tables import Audience, Outcome
from service.domain.people.tables import Person
from service.domain.preferences import projection

# --- P4: the ledger is never changed, and shows it when it was ---


def chain(engine: Engine) -> list[str]:
    """The whole chain, read by our own verifier."""
    with reading(engine) as session:
        verdict = ledger.verify(session)
    return [] if verdict.holds else [f"entry {verdict.position}: {verdict.fault}"]


def _row(seq: int) -> dict[str, Any]:
    return {
        "seq": seq,
        "entry": "{}",
        "hash": "0" * 64,
        "kind": "forged",
        "subject": None,
        "at": 0,
        "takes": False,
    }


def ledger_guards(engine: Engine) -> list[str]:
    """Every way to change or shorten the ledger, and to add to it anywhere but at its end, as the database's owner tries it."""
    with reading(engine) as session:
        tail = ledger.tail(session)[0]
    attempts: dict[str, Any] = {
        "update": update(LedgerEntry).where(col(LedgerEntry.seq) == 1).values(entry="{}"),
        "update of one column": update(LedgerEntry).where(col(LedgerEntry.seq) == tail).values(takes=True),
        "delete": delete(LedgerEntry).where(col(LedgerEntry.seq) == 1),
        "delete of all": delete(LedgerEntry),
        "update of its place": update(LedgerEntry).where(col(LedgerEntry.seq) == tail).values(seq=tail + 1),
        "delete of the last": delete(LedgerEntry).where(col(LedgerEntry.seq) == tail),
    }
    for name, seq in {
        "again": 1,
        "the last again": tail,
        "with a gap": tail + 2,
        "at zero": 0,
        "below zero": -1,
    }.items():
        attempts[f"insert {name}"] = insert(LedgerEntry).values(**_row(seq))
    if engine.dialect.name == "sqlite":
        attempts["insert or replace"] = insert(LedgerEntry).prefix_with("OR REPLACE").values(**_row(1))
        attempts["update or replace"] = (
            update(LedgerEntry).prefix_with("OR REPLACE").where(col(LedgerEntry.seq) == 1).values(seq=2)
        )
        attempts["insert or replace of the last"] = (
            insert(LedgerEntry).prefix_with("OR REPLACE").values(**_row(tail))
        )
        attempts["replace by upsert"] = text(
            "INSERT INTO ledger_entry (seq, entry, hash, kind, at, takes) VALUES (1, '{}', '0', 'k', 0, 0)"
            " ON CONFLICT (seq) DO UPDATE SET entry = '{}'"
        )
    else:
        attempts["truncate"] = text("TRUNCATE ledger_entry CASCADE")
        attempts["truncate alone"] = text("TRUNCATE ledger_entry, outcome")
        attempts["insert without a number"] = text(
            "INSERT INTO ledger_entry (seq, entry, hash, kind, at, takes) VALUES (NULL, '{}', '0', 'k', 0, false)"
        )
    return [
        f"ledger: {name} was let through" for name, attempt in attempts.items() if _passes(engine, attempt)
    ]


def outcome_guards(engine: Engine, row: dict[str, Any]) -> list[str]:
    """The same for outcomes; `row` is one that is there."""
    there = (
        (col(Outcome.mailing_id) == row["mailing_id"])
        & (col(Outcome.pos) == row["pos"])
        & (col(Outcome.attempt) == row["attempt"])
    )
    attempts: dict[str, Any] = {
        "update": update(Outcome).where(there).values(state="sent"),
        "delete": delete(Outcome).where(there),
        "a second sent": insert(Outcome).values(**{**row, "attempt": row["attempt"] + 1, "state": "sent"}),
        "no warrant": insert(Outcome).values(
            **{**row, "attempt": row["attempt"] + 2, "state": "skipped", "warrant_seq": None}
        ),
        "a warrant that is not there": insert(Outcome).values(
            **{**row, "attempt": row["attempt"] + 3, "state": "skipped", "warrant_seq": 10**9}
        ),
    }
    if engine.dialect.name == "sqlite":
        attempts["insert or replace"] = (
            insert(Outcome).prefix_with("OR REPLACE").values(**{**row, "state": "skipped"})
        )
    else:
        attempts["truncate"] = text("TRUNCATE outcome")
    return [
        f"outcome: {name} was let through" for name, attempt in attempts.items() if _passes(engine, attempt)
    ]


def _passes(engine: Engine, attempt: Any) -> bool:
    """Whether a statement would have been let through; what it did is rolled back."""
    with engine.execution_options(write=True).connect() as connection:
        try:
            connection.execute(attempt)
        except DBAPIError:
            connection.rollback()
            return False
        connection.rollback()
        return True


def without_guards(connection: Connection, table: str = "ledger_entry") -> None:
    """Take the guards of a table down, as somebody with the database in hand can."""
    if is_sqlite(connection):
        names = connection.execute(
            text("SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = :t"), {"t": table}
        )
        for (name,) in names.all():
            connection.execute(text(f"DROP TRIGGER {name}"))
    else:
        connection.execute(text(f"ALTER TABLE {table} DISABLE TRIGGER USER"))


# --- P7: the table is what the ledger says ---


def projection_holds(engine: Engine) -> list[str]:
    """Every preference, computed anew from the ledger."""
    with reading(engine) as session:
        return projection.differences(session)


# --- P1 and P2: nobody is written to after a no ---


def departed_after_the_answer(answers: dict[str, float], dots: Sequence[tuple[str, float]]) -> list[str]:
    """I1: a dot later than the answer to that person's no; both by CLOCK_MONOTONIC."""
    return [
        f"{rcpt}: {dot - answers[rcpt]:.3f} s after the answer"
        for rcpt, dot in dots
        if rcpt in answers and dot > answers[rcpt]
    ]


def warrants_hold(engine: Engine, mailing_id: int, *, while_taking: bool = False) -> list[str]:
    """I2: each sent message names an entry that permits it: same person, a yes, and not taken back before the outcome was written.

    `while_taking`: noes came in during the send, so that one may lie between a departure and its outcome (I1 has the dots).
    """
    wrong = []
    with reading(engine) as session:
        for outcome, subject in _sent(session, mailing_id):
            seen = ledger.entry(session, outcome.warrant_seq)
            later = [
                one
                for one in ledger.of_subject(session, subject)
                if one.seq > outcome.warrant_seq and one.at <= outcome.at
            ]
            if (
                seen is None
                or seen.subject != subject
                or seen.kind not in ("consent.given", "consent.renewed", "person.registered")
            ):
                wrong.append(f"{subject}: entry {outcome.warrant_seq} permits nothing")
            if not while_taking and any(
                one.kind == "consent.withdrawn" and one.body["topic"] == "new-products" for one in later
            ):
                wrong.append(f"{subject}: was taken back before it was sent")
    return wrong


def _sent(session: Session, mailing_id: int) -> list[tuple[Outcome, str]]:
    statement = (
        select(Outcome, col(Person.public_id))
        .join(
            Audience,
            (col(Audience.mailing_id) == col(Outcome.mailing_id)) & (col(Audience.pos) == col(Outcome.pos)),
        )
        .join(Person, col(Person.id) == col(Audience.person_id))
        .where(col(Outcome.mailing_id) == mailing_id, col(Outcome.state) == "sent")
    )
    return [(outcome, subject) for outcome, subject in session.execute(statement)]


# --- P5: a link of ours is recognised, and nothing else ---


def forged_links(token: str, keys: dict[int, bytes], read: Callable[..., Any] = links.read) -> list[str]:
    """Every single-bit flip of a token's octets and signs (of case apart, H29), and every truncation (H28)."""
    forged = [token[:end] for end in range(len(token))]
    for at, sign in enumerate(token):
        for bit in range(7):
            flipped = chr(ord(sign) ^ (1 << bit))
            if flipped.lower() != sign:
                forged.append(token[:at] + flipped + token[at + 1 :])
    passed = []
    for one in forged:
        try:
            read(one, keys, purpose=links.STOP)
        except links.LinkNotRecognised:
            continue
        passed.append(f"recognised: {one!r}")
    return passed
