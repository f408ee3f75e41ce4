"""A receipt or an evidence file with a true proof, changed beside it: verify_ledger.py holds what is retold against the texts."""

import copy
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import Engine

from service.db.session import transaction
from service.domain.preferences.actions import stop
from service.kit import clock
from service.kit.signing import load_or_make
from tests import builders as make
from tests.cli.conftest import Run
from tests.cli.test_cli_ledger import read
from tests.domain.privacy.test_disclosures import give

Change = Callable[[dict[str, Any]], object]


@pytest.fixture
def written(bidden: Run, engine: Engine, tmp_path: Path) -> dict[str, dict[str, Any]]:
    now, ring = clock.now(), load_or_make(tmp_path / "secret.key")
    with transaction(engine) as session:
        ana = make.a_person(session, ring, "ana@example.org", now=now - timedelta(days=2))
        stop(session, ring, make.a_link(session, ana, "updates"), how="link", evidence={}, now=now)
        give(session, [ana], now)
    bidden("prove", "ana@example.org", "--receipts", str(tmp_path / "receipts"))
    files = {one.stem: json.loads(one.read_text()) for one in (tmp_path / "receipts").iterdir()}
    return files | {"evidence": bidden("prove", "ana@example.org").json}


def to(place: str, value: object) -> Change:
    """Put a value where `place` leads (`events/0/at`)."""

    def change(document: dict[str, Any]) -> None:
        *way, last = [int(step) if step.lstrip("-").isdigit() else step for step in place.split("/")]
        within: Any = document
        for step in way:
            within = within[step]
        assert within[last] != value
        within[last] = value

    return change


def turned(document: dict[str, Any]) -> None:
    """The no first and the yes last, in the proof as beside it."""
    for items in (document["events"], document["proof"]["entries"]):
        items.reverse()
    last = document["events"][-1]
    document |= {"state": last["state"], "status": last["status"]}


def hidden(document: dict[str, Any]) -> None:
    """A no is taken from among the events, and stands with what was given to others, where it says nothing."""
    event = next(one for one in document["events"] if one["kind"] == "consent.withdrawn")
    document["events"].remove(event)
    nothing = dict.fromkeys(("on", "to", "ground", "document", "scope"))
    document["disclosures"].append({"entry": event["entry"], **nothing})
    before = next(one for one in document["events"][::-1] if one["body"].get("topic") == "updates")
    standing = next(one for one in document["standing"] if one["topic"] == "updates")
    names = ("wording", "policy", "source", "method")
    standing |= {"state": "given", "since": before["at"], "entry": before["entry"], "permits": True}
    standing |= {name: before["body"].get(name) for name in names} | {
        "basis": before["body"].get("basis", "consent")
    }


RECEIPT: dict[str, Change] = {
    "another person": to("subject", "p_other"),
    "another topic": to("purpose", "important-notices"),
    "another state": to("state", "given"),
    "another status": to("status", "ConsentGiven"),
    "another basis": to("basis", "contract"),
    "another text": to("notice/text", "Send me everything, for ever."),
    "another hash": to("notice/sha256", "0" * 64),
    "no words at all": to("notice", None),
    "another policy": to("policy", {"id": "other-v1-en", "version": 1, "sha256": "0" * 64}),
    "another controller": to("processing/profile/parties/0/name", "Somebody else"),
    "another processing": to("processing/sha256", "0" * 64),
    "an older processing": to("processing/published_at", "2020-01-01T00:00:00+00:00"),
    "the processing of another entry": to("processing/entry", 2),
    "no processing": to("processing", None),
    "a processing that is none": to("processing", [1]),
    "another date": to("events/0/at", "2020-01-01T00:00:00+00:00"),
    "another source": to("events/0/source", "shop"),
    "another method": to("events/0/method", "pressed twice"),
    "another actor": to("events/0/actor", "person"),
    "another entry": to("events/0/entry", 1),
    "an event without words": to("events/0/wording_sha256", "1" * 64),
    "an event that was a yes": to("events/-1/status", "ConsentGiven"),
    "an event left out": lambda document: document["events"].pop(),
    "an event twice": lambda document: document["events"].append(document["events"][-1]),
    "events turned round": turned,
    "no events": to("events", None),
    "events that are none": to("events", [1, 2]),
}
EVIDENCE: dict[str, Change] = {
    "another person": to("person", "p_other"),
    "another date": to("events/0/at", "2020-01-01T00:00:00+00:00"),
    "another kind": to("events/-1/kind", "consent.given"),
    "another body": to("events/-1/body/source", "shop"),
    "an event left out": lambda document: document["events"].pop(),
    "standing that permits": to("standing/-1/permits", "yes"),
    "standing since": to("standing/0/since", "2020-01-01T00:00:00+00:00"),
    "standing left out": lambda document: document["standing"].pop(),
    "another text": to("wordings/0/text", "Send me everything, for ever."),
    "another title": to("wordings/0/title", "Everything"),
    "another hash": to("wordings/0/sha256", "0" * 64),
    "another name of the words": to("wordings/0/id", "updates-v9-en"),
    "another controller": to("processing/0/profile/parties/0/name", "Somebody else"),
    "another retention": to("processing/0/profile/retention/0/days", 1),
    "the processing left out": to("processing", []),
    "given to another": to("disclosures/0/to", "Nobody"),
    "given on another day": to("disclosures/0/on", "2020-01-01"),
    "a no among what was given to others": hidden,
    "nobody, in place of no list of people made one": to("merged", {}),
    "words that are no list": to("wordings", ""),
    "another class of a topic": to("topics/0/class", "service"),
    "a topic out of use": to("topics/0/retired", True),
    "a topic in use, in another word": to("topics/0/retired", "no"),
    "a topic that promises more": to("topics/0/since_version", 2),
    "another name of a topic": to("topics/0/topic", "offers"),
    "a topic made on another day": to("topics/0/entries/0/at", "2020-01-01T00:00:00+00:00"),
    "a topic made otherwise": to("topics/0/entries/0/kind", "topic.restored"),
    "a topic without its beginning": lambda document: document["topics"][0]["entries"].pop(),
    "a topic left out": lambda document: document["topics"].pop(),
    "a topic twice": lambda document: document["topics"].append(document["topics"][0]),
    "topics that are no list": to("topics", {}),
    "a disclosure left out": lambda document: document["disclosures"].pop(),
}


def test_what_was_retold_otherwise_does_not_hold(
    bidden: Run, tmp_path: Path, written: dict[str, dict[str, Any]]
) -> None:
    key, file = bidden("ledger", "checkpoint", "--key").out.strip(), tmp_path / "changed.json"
    for name, document in written.items():
        file.write_text(json.dumps(document))
        code, said = read(file, key)
        assert (name, code, said["kind"]) == (name, 0, "evidence" if name == "evidence" else "receipt")
    passed = []
    for name, changes in (("receipt-updates", RECEIPT), ("evidence", EVIDENCE)):
        for what, change in changes.items():
            document = copy.deepcopy(written[name])
            change(document)
            file.write_text(json.dumps(document))
            code, said = read(file, key)
            if (code, said["fault"]) != (1, "retold_differs"):
                passed.append((name, what, code, said["fault"]))
    assert passed == []


def test_what_stands_in_the_place_of_no_processing_is_refused(
    bidden: Run, tmp_path: Path, written: dict[str, dict[str, Any]]
) -> None:
    """A receipt of the time before any was put down: its proof has no entry of one, and it says null."""
    key, file = bidden("ledger", "checkpoint", "--key").out.strip(), tmp_path / "changed.json"
    receipt = written["receipt-updates"]
    proof = receipt["proof"]["entries"]
    proof[:] = [one for one in proof if "processing.published" not in one["text"]]
    for value in (None, False, 0, "", [], {}):
        file.write_text(json.dumps(receipt | {"processing": value}))
        assert (value, read(file, key)[0]) == (value, 0 if value is None else 1)
