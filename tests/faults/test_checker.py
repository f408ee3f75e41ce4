"""The checker itself: green on a clean log made by hand, and red, by the right name, on each fault put into one.

A checker counts only after it was seen red.
"""

import copy
import zlib
from collections.abc import Callable
from typing import Any

import pytest

from tests.faults.checker import Evidence, check, read_lines, without_reply

TOPIC = "new-products"
PEOPLE = {f"reader{n}@example.org": f"u{n}" for n in range(6)}
CODES = {"sent": 250, "bounced": 550}


def journal(*payloads: str) -> bytes:
    """A journal as it would lie there."""
    lines = ("J 1 boot one", *payloads)
    return b"".join(b"%b %08x.\n" % (line.encode(), zlib.crc32(line.encode())) for line in lines)


def message(n: int, **other: Any) -> dict[str, Any]:
    """What the sink wrote of the mail to reader n."""
    return {
        "rcpt": f"reader{n}@example.org",
        "t_dot": 10.0 + n,
        "message_id": f"<m{n}@acme.example.org>",
        "body_sha256": f"{n}" * 8,
        "fault": None,
        "committed": True,
    } | other


def row(n: int, state: str = "sent", *codes: int | None) -> dict[str, Any]:
    """What the export says of reader n; an earlier attempt is deferred, or unknown if it had no reply."""
    reasons = {"deferred": "temporary", "unknown": "no_reply", "skipped": "withdrawn"}
    tries = codes or (CODES.get(state),)
    states = ["deferred" if code else "unknown" for code in tries[:-1]] + [state]
    return {
        "pos": n + 1,
        "external_ids": [{"source": "site", "id": f"u{n}"}],
        "state": state,
        "reason": reasons.get(state),
        "message_id": f"<m{n}@acme.example.org>",
        "warrant": n + 1,
        "attempts": [
            {"attempt": number, "at": None, "code": code, "state": said, "reason": reasons.get(said)}
            for number, (code, said) in enumerate(zip(tries, states, strict=True), 1)
        ],
    }


def entry(seq: int, kind: str, n: int, at: int = 0, topic: str = TOPIC) -> dict[str, Any]:
    """A ledger entry about reader n, so many seconds after the clocks began."""
    return {
        "seq": seq,
        "at": f"1970-01-01T00:00:{at:02d}+00:00",
        "kind": kind,
        "subject": f"p{n}",
        "body": {"topic": topic},
    }


def clean() -> Evidence:
    """Reader 0 to 2 got it, 3 is unknown (the sender died), 4 said no before the claim, 5 was refused by the server."""
    return Evidence(
        topic=TOPIC,
        people=dict(PEOPLE),
        sink=[message(0), message(1), message(2), message(3), message(5, committed=False, fault="dot:550")],
        report={
            "planned": 6,
            "outcomes": {
                "sent": 3, "bounced": 1, "deferred": 0, "cancelled": 0, "expired": 0, "unknown": 1,
                "skipped": {"withdrawn": 1},
            },
        },
        deliveries=[*map(row, range(3)), row(3, "unknown"), row(4, "skipped"), row(5, "bounced")],
        ledger=[
            *(entry(n + 1, "consent.given", n) for n in range(6)),
            entry(9, "consent.withdrawn", 4, 1),
        ],
        withdrawals=[{"person": "u4", "t_sent": 1.0, "t_ack": 1.1, "status": 200}],
        journals=[journal("S 1 3 1 t", "R 1 3 1 250 -", "S 1 4 1 t")],
        persons={f"u{n}": f"p{n}" for n in range(6)},
    )  # fmt: skip


def names(seen: Evidence) -> set[str]:
    """The names of what does not hold, in evidence that was changed after it was made."""
    seen.__post_init__()
    return {finding.name for finding in check(seen)}


def test_a_clean_log_is_green() -> None:
    assert check(clean()) == []


def _no(person: str, t_ack: float, status: int = 200) -> dict[str, Any]:
    return {"person": person, "t_sent": t_ack - 0.1, "t_ack": t_ack, "status": status}


def _withdrawn_late(seen: Evidence, status: int = 200) -> None:
    """Reader 1's no was acknowledged while the mail had not left; the ledger's time is later, so only P1 sees it."""
    seen.withdrawals.append(_no("u1", 10.9, status))
    seen.ledger.append(entry(10, "consent.withdrawn", 1, 10))


def _wait(seen: Evidence) -> None:
    seen.deliveries[2]["state"] = "deferred"
    seen.report["outcomes"] |= {"sent": 2, "deferred": 1}
    del seen.sink[2]


def _no_in_vain(seen: Evidence) -> None:
    """Reader 1's no was answered 503 and is nowhere, and so is the mail."""
    seen.withdrawals.append(_no("u1", 10.9, 503))
    del seen.deliveries[1], seen.sink[1]


BROKEN: list[tuple[str, Callable[[Evidence], Any]]] = [
    ("lost", lambda seen: seen.deliveries.pop()),
    ("lost", _wait),
    ("lost", _no_in_vain),
    ("lost", lambda seen: seen.ledger.pop()),
    ("not_final", _wait),
    ("false_accepted", lambda seen: seen.sink.pop(0)),
    ("silent", lambda seen: seen.sink.append(message(5))),
    ("silent", lambda seen: seen.sink.append(message(4))),
    ("message_id_differs", lambda seen: seen.sink[0].update(message_id="<other@acme.example.org>")),
    ("doubled", lambda seen: seen.sink.append(message(0))),
    ("doubled", lambda seen: seen.sink.append(message(3))),
    ("departed_after_no", _withdrawn_late),
    ("departed_after_no", lambda seen: seen.sink.append(message(4, committed=False))),
    ("without_warrant", lambda seen: seen.deliveries[0].update(warrant=None)),
    ("without_warrant", lambda seen: seen.deliveries[0].update(warrant=2)),
    ("without_warrant", lambda seen: seen.ledger[0].update(kind="consent.requested")),
    ("without_warrant", lambda seen: seen.ledger[0]["body"].update(topic="updates")),
    ("without_warrant", lambda seen: seen.ledger[0].update(at="1970-01-01T00:00:20+00:00")),
    ("without_warrant", lambda seen: seen.ledger.append(entry(10, "consent.withdrawn", 2, 5))),
    ("doubt_not_recorded", lambda seen: seen.deliveries.__setitem__(3, row(3))),
    ("doubt_not_recorded", lambda seen: seen.journals.append(journal("S 1 1 2 t"))),
    ("unknown_without_cause", lambda seen: seen.journals.clear()),
    ("unknown_without_cause", lambda seen: seen.deliveries.__setitem__(0, row(0, "unknown"))),
    ("unknown_without_cause", lambda seen: seen.deliveries.__setitem__(0, row(0, "sent", None, 250))),
    ("cut_not_recorded", lambda seen: seen.sink[0].update(fault="drop:kept")),
    ("too_many_unknown", lambda seen: setattr(seen, "connections", 0)),
    ("does_not_add_up", lambda seen: seen.report.update(planned=7)),
    ("does_not_add_up", lambda seen: seen.deliveries[5].update(pos=9)),
    ("does_not_add_up", lambda seen: seen.report["outcomes"].update(sent=2, bounced=2)),
    ("acknowledged_without_entry", lambda seen: seen.ledger.pop()),
    ("written_twice", lambda seen: seen.ledger.append(entry(10, "consent.withdrawn", 4, 1))),
]


@pytest.mark.parametrize(("name", "broken"), BROKEN, ids=lambda one: one if isinstance(one, str) else "")
def test_each_fault_turns_it_red(name: str, broken: Callable[[Evidence], Any]) -> None:
    seen = copy.deepcopy(clean())
    broken(seen)
    assert name in names(seen)


def _said_again(seen: Evidence) -> None:
    again = entry(10, "consent.withdrawn", 4, 1)
    again["body"]["state_before"] = "withdrawn"
    seen.ledger.append(again)


def test_a_no_said_again_may_have_an_entry_but_no_more_than_were_said() -> None:
    seen = clean()
    _said_again(seen)
    assert names(seen) == {"written_twice"}
    seen.withdrawals.append({"person": "u4", "t_sent": 2.0, "t_ack": 2.1, "status": 200})
    assert names(seen) == set()


def test_a_202_claims_nothing_about_departures() -> None:
    seen = clean()
    _withdrawn_late(seen, 202)
    assert names(seen) == set()


def test_a_no_without_an_answer_claims_nothing() -> None:
    seen = clean()
    seen.withdrawals.append({"person": "u1", "t_sent": 1.0, "t_ack": None, "status": None})
    assert names(seen) == set()


@pytest.mark.parametrize(
    ("promised", "change", "found"),
    [
        (True, {}, set()),
        (False, {}, {"doubled"}),
        (True, {"body_sha256": "other"}, {"doubled"}),
        (True, {"message_id": "<other@acme.example.org>"}, {"doubled", "message_id_differs"}),
    ],
)
def test_a_second_try_after_unknown(promised: bool, change: dict[str, str], found: set[str]) -> None:
    """Where it is promised, the same message may come twice, and the unknown stays on record."""
    seen = clean()
    seen.at_least_once = promised
    seen.deliveries[3] = row(3, "sent", None, 250)
    seen.report["outcomes"] |= {"sent": 4, "unknown": 0}
    seen.sink.append(message(3, **change))
    assert names(seen) == found


def test_a_scripted_cut_and_a_death_at_the_same_message_are_one_doubt() -> None:
    seen = clean()
    seen.sink[3]["fault"] = "drop:kept"
    assert names(seen) == set()
    seen.journals.clear()
    assert names(seen) == set()


def test_a_line_too_many_may_be_a_doubt() -> None:
    seen = clean()
    seen.sink[0]["fault"] = "stray:dot"
    assert names(seen) == set()
    seen.deliveries[0] = row(0, "unknown")
    seen.report["outcomes"] |= {"sent": 2, "unknown": 2}
    assert names(seen) == set()


def test_a_reply_that_nobody_understands_before_the_dot_is_no_doubt() -> None:
    seen = clean()
    seen.deliveries[0] = row(0, "sent", 699, 250)
    assert names(seen) == set()


def test_a_reply_to_the_dot_that_nobody_understands_is_a_doubt_on_record() -> None:
    seen = clean()
    seen.at_least_once = True
    seen.deliveries[0] = row(0, "sent", 299, 250)
    seen.sink[0]["fault"] = "dot:299"
    seen.sink.append(message(0))
    assert names(seen) == {"doubled", "cut_not_recorded"}
    seen.deliveries[0]["attempts"][0] |= {"state": "unknown", "reason": "odd_reply"}
    assert names(seen) == set()


@pytest.mark.parametrize(("code", "reason"), [(None, "suppressed"), (699, "gave_up"), (550, "mailbox_gone")])
def test_what_ends_a_member_in_doubt_is_no_doubt_of_its_own(code: int | None, reason: str) -> None:
    seen = clean()
    seen.deliveries[3]["attempts"].append(
        {"attempt": 2, "at": None, "code": code, "state": "unknown", "reason": reason}
    )
    assert names(seen) == set()
    del seen.deliveries[3]["attempts"][0]
    assert "unknown_without_doubt" in names(seen)


def test_cuts_from_outside_are_counted() -> None:
    seen = clean()
    seen.journals.clear()
    seen.cuts = 1
    assert names(seen) == set()


def test_exact_instants_leave_no_room() -> None:
    """Where the sink's log has the departures themselves, a millisecond is late."""
    seen = clean()
    seen.withdrawals.append(_no("u1", 10.999))
    seen.ledger.append(entry(10, "consent.withdrawn", 1, 11))
    assert names(seen) == set()
    seen.on_the_way = 0.0
    assert names(seen) == {"departed_after_no"}


@pytest.mark.parametrize(
    ("halt", "found"),
    [
        ({}, {"departed_after_no"}),
        ({"status": 202}, set()),
        ({"status": None, "t_ack": None}, set()),
        ({"status": 503}, set()),
        ({"until": 10.9}, set()),
        ({"t_ack": 15.5}, set()),
        ({"t_ack": 15.5, "until": 10.0}, set()),
    ],
)
def test_nothing_departs_from_a_halt_until_somebody_asks_to_go_on(
    halt: dict[str, Any], found: set[str]
) -> None:
    seen = clean()
    seen.halts = [{"what": "pause", "t_ack": 10.5, "status": 200, "until": None} | halt]
    assert names(seen) == found


def test_who_was_put_on_the_do_not_mail_list_needs_no_entry_of_their_own() -> None:
    seen = clean()
    seen.withdrawals.append(_no("u5", 20.0) | {"kind": "suppression.added"})
    assert names(seen) == set()
    seen.withdrawals[-1]["t_ack"] = 14.0
    assert names(seen) == {"departed_after_no"}


def test_nobody_is_owed_a_mail_that_was_called_off_before_there_was_an_audience() -> None:
    seen = clean()
    del seen.deliveries[5]
    seen.report["planned"], seen.report["outcomes"]["bounced"] = 5, 0
    assert names(seen) == {"lost"}
    seen.excused = {"u5"}
    assert names(seen) == set()


def test_what_was_in_a_lost_machines_hands_is_in_doubt() -> None:
    seen = clean()
    seen.journals.clear()
    seen.doubtful = {(4, 1)}
    assert names(seen) == set()
    seen.doubtful.add((1, 1))
    assert names(seen) == {"doubt_not_recorded"}


def test_what_was_recorded_before_a_death_is_in_no_doubt() -> None:
    """A reply that was heard, and found no room in the journal."""
    seen = clean()
    seen.journals.append(journal("S 1 1 1 t"))
    assert names(seen) == {"doubt_not_recorded"}
    seen.settled = {(1, 1)}
    assert names(seen) == set()


def test_a_connection_cut_before_a_death_leaves_a_line_without_a_reply_too() -> None:
    seen = clean()
    seen.connections = 0
    assert names(seen) == {"too_many_unknown"}
    seen.sink[3]["fault"] = "drop:dot"
    assert names(seen) == set()


def test_a_journal_is_read_up_to_the_first_torn_line() -> None:
    whole = journal("S 1 7 1 t", "S 1 8 1 t", "R 1 7 1 250 2.0.0", "S 1 9 1 t", "X 1 9 1 withdrawn")
    assert without_reply(whole) == {(8, 1)}
    assert without_reply(whole[:-1]) == {(8, 1), (9, 1)}
    assert without_reply(whole.replace(b"R 1 7", b"R 1 6")) == {(7, 1), (8, 1)}


def test_a_line_cut_by_a_kill_is_not_read(tmp_path: Any) -> None:
    log = tmp_path / "sink.jsonl"
    log.write_bytes(b'{"a": 1}\n{"a": 2}\n{"a"')
    assert read_lines(log) == [{"a": 1}, {"a": 2}]
    assert read_lines(log, 9) == [{"a": 2}]
