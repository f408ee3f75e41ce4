"""The verifier of a mailing takes two registrations for one only from when they were made one, and heeds what waits or was retired."""

from typing import Any

import pytest

import verify_mailing
from tests.house.test_verify_mailing_noes import (
    LEGAL,
    LIFTED,
    MERGED,
    OBJECTED,
    RESTRICTED,
    Told,
    holds,
    moved,
    over,
)
from verify_mailing import Fault, Record, Report

MAIL = "mail"


def said(kind: str, person: str, topic: str = "news", **more: Any) -> Told:
    return f"consent.{kind}", person, {"topic": topic, "basis": "consent", **more}


def mail(person: str, warrant: int) -> Told:
    """A mail is claimed here, and sealed at once; `warrant` is the number of an entry."""
    return MAIL, person, {"warrant": warrant}


def permitted(*told: Told, kind: str = "marketing") -> bool:
    """Whether every mail among these holds. The first of them is entry 3."""
    start: list[Told] = [
        ("topic.created", "news", {"class": kind}),
        ("mailing.started", "m1", {"topic": "news"}),
    ]
    record, report = Record(), Report()
    rows: dict[tuple[int, int], dict[str, Any]] = {}
    for seq, (what, subject, body) in enumerate([*start, *told], 1):
        if what == MAIL:
            pos = len(rows) + 1
            own = {"person": subject, "message_id": "x", "state": "sent", "reason": ""}
            rows[pos, 1] = {"pos": pos, "attempt": 1, "warrant": body["warrant"], **own}
            root = verify_mailing.root([verify_mailing.leaf(rows[pos, 1])]).hex()
            what, subject = "batch.sealed", "m1"
            body = {"covers": str(pos), "positions": 1, "root": root, "seen": seq - 1}
        entry = {"seq": seq, "at": seq, "kind": what, "subject": subject, "body": body}
        verify_mailing.note(record, entry, "m1")
    try:
        seen = verify_mailing.check_seals(rows, record, report)
        verify_mailing.check_permissions(rows, seen, record, report)
    except Fault as found:
        return found.word != "not_permitted"
    return True


TWO = said("given", "p1"), said("given", "p2")  # entries 3 and 4
NO, OVER, BACK = said("withdrawn", "p1"), said("expired", "p1"), said("given", "p1")

FREE: dict[str, tuple[Told, ...]] = {
    "their no, before": (*TWO, NO, mail("p2", 4), MERGED),
    "their objection, before": (*TWO, OBJECTED, mail("p2", 4), MERGED),
    "their bar, before": (*TWO, LEGAL, mail("p2", 4), MERGED),
    "the other's objection, before": (*TWO, ("person.objected", "p2", {}), mail("p1", 3), MERGED),
    "the other's no, before": (*TWO, said("withdrawn", "p2"), mail("p1", 3), MERGED),
    "what ran out of theirs": (*TWO, OVER, MERGED, mail("p2", 4)),
    "their no, taken back": (*TWO, NO, BACK, MERGED, mail("p2", 4)),
    "their no, and a yes since": (*TWO, NO, MERGED, said("withdrawn", "p2"), said("given", "p2"), mail("p2", 8)),
}  # fmt: skip


@pytest.mark.parametrize("name", FREE)
def test_two_are_not_one_before_they_are_made_one(name: str) -> None:
    assert permitted(*FREE[name])


STOPS: dict[str, tuple[Told, ...]] = {
    "their no goes along": (*TWO, NO, MERGED, mail("p2", 4)),
    "their objection goes along": (*TWO, OBJECTED, MERGED, mail("p2", 4)),
    "a no since": (*TWO, MERGED, said("withdrawn", "p2"), mail("p2", 4)),
    "another's yes": (*TWO, mail("p2", 3), MERGED),
    "the one who is left, erased": (*TWO, MERGED, ("person.erased", "p2", {}), mail("p2", 4)),
}  # fmt: skip


@pytest.mark.parametrize("name", STOPS)
def test_what_goes_along_stops_from_then_on(name: str) -> None:
    assert not permitted(*STOPS[name])


KEPT: Told = ("address.kept", "p1", {})
CONFIRMED: Told = ("address.confirmed", "p1", {})
RETIRED, USED_AGAIN = ("topic.retired", "news", {}), ("topic.restored", "news", {})


def test_a_new_address_that_waits_stops_what_is_no_service() -> None:
    for kind in ("marketing", "notice"):
        assert not holds([moved(True)], kind)
        assert holds([moved(True), moved(False)], kind)
        assert holds([moved(True), KEPT], kind)
        assert holds([moved(True)], kind, after=[moved(False)])
        assert not holds([moved(True), KEPT, moved(True)], kind)
    assert holds([moved(True)], "service")


def test_a_site_may_have_had_the_new_address_confirmed() -> None:
    """Older entries call it `pending` then, and no second `address.changed` follows."""
    assert holds([moved(True), CONFIRMED], "marketing")
    assert holds([LEGAL, moved(True), CONFIRMED], "service"), "what lay over the old mailbox"
    assert not holds([LEGAL, CONFIRMED], "service"), "they have not moved"
    assert not holds([moved(True), CONFIRMED, moved(True)], "marketing")


def test_a_retired_topic_permits_nothing() -> None:
    for kind in ("marketing", "notice", "service"):
        assert not holds([RETIRED], kind)
        assert holds([RETIRED, USED_AGAIN], kind)
        assert holds([("topic.retired", "other", {})], kind)
        assert holds([], kind, after=[RETIRED])


def test_who_was_restricted_before_and_is_made_one_stays_so_by_an_entry_of_the_other() -> None:
    theirs = ("person.restricted", "p2", {"how": "merge"})
    assert not permitted(*TWO, RESTRICTED, theirs, MERGED, mail("p2", 4))
    assert permitted(*TWO, RESTRICTED, mail("p2", 4), LIFTED, MERGED)
    assert permitted(*TWO, over("all", "legal", "h2", "p9"), mail("p2", 4))


def test_what_was_brought_back_permits_only_where_it_was_a_yes() -> None:
    """An undo of a stop brings a no back, too, where nothing else had been said before."""
    for state, holds_then in (("given", True), ("renewed", True), ("refused", False), ("requested", False)):
        back = said("restored", "p1", state=state)
        assert permitted(*TWO, NO, back, mail("p1", 6)) is holds_then
