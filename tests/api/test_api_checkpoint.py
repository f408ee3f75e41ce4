"""`GET /ledger/checkpoint`: the last signed head, and how it goes on from one seen before; receipts whose proof leads there."""

import json
from collections.abc import Callable
from pathlib import Path

from fastapi.testclient import TestClient

import verify_ledger
from scheduler import jobs
from service.domain.ledger import checkpoints
from service.kit import clock, merkle, notes
from service.ops.house import House
from tests.api.shapes import ana, said_yes


def test_the_head_and_its_growth(api: TestClient, house: House) -> None:
    missing = api.get("ledger/checkpoint")
    assert (missing.status_code, missing.json()["code"]) == (404, "nothing_signed")
    jobs.checkpoint(house, clock.now())
    first = api.get("ledger/checkpoint").json()
    keys = dict(zip(first["keys"], [notes.read_key(one)[1] for one in first["keys"]], strict=True))
    head = notes.opened(first["note"], keys)
    assert (head.size, head.root, head.origin) == (first["size"], first["root"], first["origin"])
    assert first["consistency"] == []
    body = {"email": "zoe@example.org"}
    assert api.put("people/77", json=body).status_code in (200, 201)
    jobs.checkpoint(house, clock.now())
    second = api.get(f"ledger/checkpoint?since={first['size']}").json()
    assert second["size"] > first["size"]
    assert merkle.consistent(
        first["size"], second["size"], first["root"], second["root"], second["consistency"]
    )
    assert api.get(f"ledger/checkpoint?since={second['size'] + 1}").json()["consistency"] == []
    for since in ("-1", "x", str(2**60)):
        assert api.get(f"ledger/checkpoint?since={since}").status_code == 422


def test_std_j3_receipts_hold_without_us_and_show_a_key_its_topics_only(
    api: TestClient,
    house: House,
    client_of: Callable[[str], TestClient],
    make_key: Callable[..., str],
    tmp_path: Path,
) -> None:
    api.put("people/1", json=ana(consents=said_yes("updates", "new-products", confirmed=True)))
    found = api.get("people/1/receipts").json()["receipts"]
    assert [one["purpose"] for one in found] == ["new-products", "updates"]
    [public] = checkpoints.keys(house.ring)
    for one in found:
        (tmp_path / "receipt.json").write_text(json.dumps(one))
        assert verify_ledger.main([str(tmp_path / "receipt.json"), "--key", public]) == 0
    narrow = client_of(make_key("people:read", topics=["updates"]))
    assert [one["purpose"] for one in narrow.get("people/1/receipts").json()["receipts"]] == ["updates"]
