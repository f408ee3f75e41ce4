"""The verifier of a mailing before a ledger whose chain and heads hold, but whose entries are not as docs/ledger.md has them."""

import json
from pathlib import Path
from typing import Any

import pytest

import verify_ledger
import verify_mailing
from verify_ledger import COPIES

Entry = tuple[str, str | None, dict[str, Any]]
ROW = {"pos": 1, "attempt": 1, "person": "p1", "message_id": "x", "state": "sent", "reason": ""}
TOPIC: Entry = "topic.created", "news", {"class": "marketing"}
STARTED: Entry = "mailing.started", "m1", {"topic": "news"}
GIVEN: Entry = "consent.given", "p1", {"topic": "news", "basis": "contract"}


def seal(warrant: int, **more: Any) -> Entry:
    root = verify_mailing.root([verify_mailing.leaf({**ROW, "warrant": warrant})]).hex()
    return "batch.sealed", "m1", {"covers": "1", "positions": 1, "root": root, "seen": 3, **more}


def checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entries: list[Entry], warrant: int = 3
) -> verify_mailing.Report:
    """The bundle's own check is another test's: here it holds."""
    outcomes, bundle = tmp_path / "outcomes", tmp_path / "bundle"
    head = {"format": "bidden-outcomes", "version": 1, "mailing": "m1"}
    outcomes.write_text(
        "\n".join(map(json.dumps, ({"outcomes": head}, {"outcome": {**ROW, "warrant": warrant}})))
    )
    lines: list[dict[str, Any]] = [{"bundle": {}}]
    for seq, (kind, subject, body) in enumerate(entries, 1):
        entry = {"seq": seq, "at": seq, "kind": kind, "subject": subject, "body": body}
        text = {"text": json.dumps(entry), "hash": ""}
        lines.append({"entry": {**dict.fromkeys(COPIES), **text, "seq": seq}})
    bundle.write_text("\n".join(map(json.dumps, lines)))
    sound = verify_ledger.Report(holds=True, kind="bundle")
    monkeypatch.setattr(verify_ledger, "check", lambda *_: sound)
    return verify_mailing.check(str(outcomes), str(bundle), {})


def test_a_mail_is_permitted_by_what_stood_before_its_seal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert checked(tmp_path, monkeypatch, [TOPIC, STARTED, GIVEN, seal(3)]).holds
    later = [TOPIC, STARTED, seal(4, seen=9), GIVEN]
    found = checked(tmp_path, monkeypatch, later, 4)
    assert (found.holds, found.fault, found.position) == (False, "seal_differs", 3)


ODD: dict[str, Entry] = {
    "no number that was seen": seal(3, seen="3"),
    "nothing seen": seal(3, seen=None),
    "a covered text that is none": seal(3, covers=5),
    "a covered number without end": seal(3, covers="9" * 5000),
    "a moment that is none": ("consent.given", "p1", {"topic": "news", "valid_until": "soon"}),
    "a moment without zone": ("consent.given", "p1", {"topic": "news", "valid_until": "2026-01-01"}),
    "a moment that is a number": ("consent.given", "p1", {"topic": "news", "valid_until": 5}),
    "topics that are none": ("person.registered", "p1", {"topics": 5}),
    "topics without a name": ("person.registered", "p1", {"topics": [{}]}),
    "a topic that is a list": ("consent.given", "p1", {"topic": []}),
    "a no to a list": ("consent.withdrawn", "p1", {"topic": []}),
    "made one with nobody": ("person.merged", "p1", {}),
    "made one with a list": ("person.merged", "p1", {"into": []}),
    "a bar of a list": ("suppression.added", "p1", {"scope": [], "address_hash": []}),
    "lifted from a list": ("suppression.lifted", "p1", {"scope": [], "address_hash": []}),
    "restores a list": ("consent.restored", "p1", {"topic": "news", "restores": []}),
}


@pytest.mark.parametrize("what", ODD)
def test_what_is_odd_is_said_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    entries = [TOPIC, STARTED, GIVEN, ODD[what]]
    found = checked(tmp_path, monkeypatch, entries if ODD[what][0] == "batch.sealed" else [*entries, seal(3)])
    assert (found.holds, found.fault in ("unreadable", "seal_differs"), found.position) == (False, True, 4)


def test_of_two_beginnings_the_first_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    again: Entry = "mailing.started", "m1", {"topic": "news", "since_version": "2"}
    assert checked(tmp_path, monkeypatch, [TOPIC, STARTED, GIVEN, again, seal(3)]).holds
    other: Entry = "mailing.started", "m1", {"topic": "other"}
    assert checked(tmp_path, monkeypatch, [TOPIC, other, GIVEN, STARTED, seal(3)]).fault == "not_permitted"
    found = checked(tmp_path, monkeypatch, [TOPIC, again, GIVEN, seal(3)])
    assert (found.fault, found.position) == ("unreadable", 2)
