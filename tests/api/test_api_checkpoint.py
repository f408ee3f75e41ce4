"""`GET /ledger/checkpoint`: the last signed head, and how it goes on from one seen before."""

from fastapi.testclient import TestClient

from scheduler import jobs
from service.kit import clock, merkle, notes
from service.ops.house import House


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
