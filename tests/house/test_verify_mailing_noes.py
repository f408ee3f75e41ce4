"""The verifier of a mailing heeds what lies over a person or a mailbox, and accuses nobody of what the gate lets through."""

from typing import Any

import pytest

import verify_mailing
from service.domain.preferences import rules
from verify_mailing import Fault, Record, Report

Told = tuple[str, str | None, dict[str, Any]]


def over(scope: str, cause: str, mailbox: str = "h1", subject: str | None = "p1", **more: Any) -> Told:
    origin = {"origin": more.pop("origin", "staff")}
    return (
        "suppression.added",
        subject,
        {"address_hash": mailbox, "scope": scope, "cause": cause, **origin, **more},
    )


def off(scope: str, cause: str, mailbox: str = "h1", subject: str | None = "p1", **more: Any) -> Told:
    return "suppression.lifted", subject, {"address_hash": mailbox, "scope": scope, "cause": cause, **more}


def moved(pending: bool, person: str = "p1") -> Told:
    return "address.changed", person, {"pending": pending}


RESTRICTED: Told = ("person.restricted", "p1", {"how": "me"})
LIFTED: Told = ("person.restriction_lifted", "p1", {"how": "me"})
OBJECTED: Told = ("person.objected", "p1", {"how": "me"})
MERGED: Told = ("person.merged", "p1", {"into": "p2"})
OTHER: Told = ("mailing.started", "m0", {"topic": "news"})
LEGAL, NO_ADVERTISING = over("all", "legal"), over("marketing", "objection")


def holds(before: list[Told], kind: str = "marketing", after: list[Told] | None = None) -> bool:
    """Whether a mail holds that was claimed after these entries; `after`: those between the claim and its seal."""
    record, after = Record(), after or []
    start: list[Told] = [
        ("topic.created", "news", {"class": kind}),
        ("consent.given", "p1", {"topic": "news", "basis": "contract"}),
        ("mailing.started", "m1", {"topic": "news"}),
    ]
    seen = len(start) + len(before)
    row = {
        "pos": 1,
        "attempt": 1,
        "person": "p1",
        "warrant": 2,
        "message_id": "x",
        "state": "sent",
        "reason": "",
    }
    root = verify_mailing.root([verify_mailing.leaf(row)]).hex()
    seal: Told = "batch.sealed", "m1", {"covers": "1", "positions": 1, "root": root, "seen": seen}
    for seq, (what, subject, body) in enumerate([*start, *before, *after, seal], 1):
        entry = {"seq": seq, "at": seq, "kind": what, "subject": subject, "body": body}
        verify_mailing.note(record, entry, "m1")
    rows, report = {(1, 1): row}, Report()
    try:
        verify_mailing.check_permissions(
            rows, verify_mailing.check_seals(rows, record, report), record, report
        )
    except Fault as found:
        return (found.word, found.position) != ("not_permitted", 1)
    return True


STOPS: dict[str, tuple[list[Told], tuple[str, ...]]] = {
    "restricted": ([RESTRICTED], ("marketing", "notice", "service")),
    "restricted anew": ([RESTRICTED, LIFTED, RESTRICTED], ("service",)),
    "barred by law": ([LEGAL], ("marketing", "notice", "service")),
    "barred anew": ([LEGAL, off("all", "legal"), LEGAL], ("service",)),
    "another cause was lifted": ([LEGAL, off("all", "hard_bounce")], ("service",)),
    "another mailbox was lifted": ([LEGAL, off("all", "legal", "h2")], ("service",)),
    "objected": ([OBJECTED], ("marketing",)),
    "objected, listed": ([NO_ADVERTISING], ("marketing",)),
    "objected, and moved": ([OBJECTED, moved(False)], ("marketing",)),
    "taken along": ([moved(False), over("marketing", "objection", "h2", origin="moved")], ("marketing",)),
    "complained": ([over("marketing", "complaint", origin="moved")], ("marketing",)),
    "a new address waits": ([LEGAL, moved(True)], ("service",)),
    "one topic": ([over("topic", "withdrawal", topic="news", origin="link")], ("marketing", "notice")),
    "a dead mailbox": ([OTHER, over("all", "hard_bounce", origin="m0")], ("marketing", "service")),
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "kind"), [(name, kind) for name, (_, kinds) in STOPS.items() for kind in kinds]
)
def test_what_lies_over_somebody_is_no_permission(name: str, kind: str) -> None:
    assert not holds(STOPS[name][0], kind)


FREE: dict[str, tuple[list[Told], tuple[str, ...]]] = {
    "nothing": ([], ("marketing", "notice", "service")),
    "lifted": ([RESTRICTED, LIFTED], ("marketing",)),
    "objected, of what is no advertising": ([OBJECTED, NO_ADVERTISING], ("notice", "service")),
    "taken back": ([NO_ADVERTISING, OBJECTED, off("marketing", "objection")], ("marketing",)),
    "taken back elsewhere": ([OBJECTED, MERGED, off("marketing", "objection", "h2", "p2")], ("marketing",)),
    "the law no more": ([LEGAL, off("all", "legal", subject=None)], ("marketing", "service")),
    "gone from that mailbox": ([LEGAL, moved(True), moved(False)], ("marketing", "service")),
    "of a mailbox that was left by being made one": ([LEGAL, MERGED], ("service",)),
    "another topic": ([over("topic", "withdrawal", topic="other")], ("marketing",)),
    "no contract's matter": ([over("topic", "withdrawal", topic="news")], ("service",)),
    "somebody else": ([over("all", "legal", subject="p9"), ("person.restricted", "p9", {})], ("marketing",)),
    "nobody named": ([over("all", "legal", subject=None)], ("marketing",)),
    "a file of stops speaks of an earlier mailbox": ([over("all", "legal", origin="restore")], ("service",)),
    "a button's mailbox is dead": ([moved(True), OTHER, over("all", "hard_bounce", "h2", origin="m0")], ("service",)),
    "a single mail came back": ([over("all", "hard_bounce", "h2", origin="m9")], ("service",)),
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "kind"), [(name, kind) for name, (_, kinds) in FREE.items() for kind in kinds]
)
def test_nobody_is_accused_of_what_the_gate_lets_through(name: str, kind: str) -> None:
    assert holds(FREE[name][0], kind)


@pytest.mark.parametrize("said", [RESTRICTED, OBJECTED, LEGAL, NO_ADVERTISING])
def test_what_was_claimed_before_a_no_is_no_breach(said: Told) -> None:
    """It was in a sender's memory; as with a withdrawal."""
    assert holds([], after=[said])


@pytest.mark.parametrize(
    ("said", "lifted"), [(RESTRICTED, LIFTED), (LEGAL, off("all", "legal")), (LEGAL, moved(False))]
)
def test_what_was_lifted_while_the_claim_was_read_is_no_breach(said: Told, lifted: Told) -> None:
    """PostgreSQL may show the gate a later moment than the entry the claim begins with."""
    assert holds([said], after=[lifted])


def test_every_refusal_of_the_gate_is_known() -> None:
    """But for those of a mail that asks, which is no mailing of a topic."""
    asking = {"answered", "law_forbids_asking", "covered"}
    assert {*rules.REASONS} - asking == {*verify_mailing.REFUSALS} - {"address_changed"}
