"""POST /people/bulk: a line for a line, one bad line harms no other, a repeat goes on where it was cut off."""

import json
from typing import Any

import pytest
from sqlmodel import col, func, select
from starlette.testclient import TestClient

from service.api.v1 import bulk
from service.db.session import reading
from service.domain.people.tables import Identity, Person
from service.ops.house import House
from tests.api.shapes import assert_problem, said_yes

MEDIA = {"content-type": "application/x-ndjson"}


def lines(*people: Any) -> bytes:
    return b"".join(json.dumps(one).encode() + b"\n" for one in people)


def reader(number: int, **more: Any) -> dict[str, Any]:
    return {"external_id": str(number), "email": f"r{number}@example.org", **more}


def post(api: TestClient, content: bytes, **headers: str) -> list[dict[str, Any]]:
    answer = api.post("people/bulk", content=content, headers={**MEDIA, **headers})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == bulk.MEDIA
    return [json.loads(line) for line in answer.text.splitlines()]


def people(house: House) -> int:
    with reading(house.engine) as session:
        return session.exec(
            select(func.count()).select_from(Person).where(col(Person.state) != "merged")
        ).one()


def test_a_line_for_a_line(api: TestClient, house: House) -> None:
    first = post(api, lines(*(reader(n, consents=said_yes("updates")) for n in range(450))))
    assert [one["index"] for one in first] == list(range(450))
    assert {(one["status"], one["code"]) for one in first} == {(201, "created")}
    assert people(house) == 450
    again = post(api, lines(reader(0), reader(1, locale="de")))
    assert [(one["status"], one["code"]) for one in again] == [(200, "unchanged"), (200, "changed")]


def test_bad_lines_harm_no_other(api: TestClient, house: House) -> None:
    content = b"".join(
        [
            lines(reader(1)),
            b"{not json}\n",
            b"\n",
            lines({"email": "x@example.org"}),
            lines(reader(2, email="nowhere")),
            b'{"external_id": "3", "email": "\xff@example.org"}\n',
            lines(reader(4, shoe_size=41)),
            lines(reader(5, consents=said_yes("no-such-topic"))),
            lines(reader(6)),
        ]
    )
    found = {one["index"]: (one["status"], one["code"], one.get("field")) for one in post(api, content)}
    assert found == {
        0: (201, "created", None),
        1: (400, "json_invalid", None),
        3: (422, "field_missing", "external_id"),
        4: (422, "address_syntax", "email"),
        5: (422, "invalid_text", None),
        6: (422, "unknown_field", "shoe_size"),
        7: (422, "topic_unknown", "consents[0].topic"),
        8: (201, "created", None),
    }
    assert people(house) == 2


def test_the_same_person_and_mailbox_many_times(api: TestClient, house: House) -> None:
    same = [
        reader(1, email="A@example.org"),
        reader(1, email="a@example.org"),
        reader(2, email=" a@example.org"),
    ]
    same += [reader(1, email="a@example.org", locale="fr")]
    assert [one["code"] for one in post(api, lines(*same))] == ["created", "unchanged", "created", "changed"]
    with reading(house.engine) as session:
        assert session.exec(select(func.count()).select_from(Identity)).one() == 2


def test_a_repeat_answers_the_same_and_does_nothing(api: TestClient, house: House) -> None:
    content = lines(*(reader(n) for n in range(250)))
    first = post(api, content, **{"idempotency-key": "import-1"})
    assert post(api, content, **{"idempotency-key": "import-1"}) == first
    refused = api.post(
        "people/bulk", content=lines(reader(1)), headers={**MEDIA, "idempotency-key": "import-1"}
    )
    assert_problem(refused, 409, "idempotency_key_reused")


def test_long_keys_that_end_otherwise_are_two_requests(
    api: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else of the second only the first lines would be done, and the noes in the others be acknowledged and lost."""
    monkeypatch.setattr(bulk, "PER_TRANSACTION", 1)
    content, key = lines(reader(1, locale="de"), reader(2, locale="de")), "k" * 199
    first = post(api, content, **{"idempotency-key": key + "1"})
    assert [one["code"] for one in first] == ["created", "created"]
    post(api, lines(reader(1, locale="en"), reader(2, locale="en")))
    again = post(api, content, **{"idempotency-key": key + "2"})
    assert [one["code"] for one in again] == ["changed", "changed"]


def test_a_key_of_another_request_is_none_of_a_later_part_of_this_one(
    api: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "PER_TRANSACTION", 1)
    post(api, lines(reader(9)), **{"idempotency-key": "day-7#1"})
    done = post(api, lines(reader(1), reader(2)), **{"idempotency-key": "day-7"})
    assert [one["code"] for one in done] == ["created", "created"]


def test_rel_h45_too_much(api: TestClient) -> None:
    assert_problem(api.post("people/bulk", content=b"{}\n" * 5001, headers=MEDIA), 422, "too_many_lines")
    assert_problem(
        api.post("people/bulk", content=b" " * (17 * 1024 * 1024), headers=MEDIA), 413, "body_too_large"
    )


@pytest.mark.parametrize("media", ["text/html", "multipart/form-data"])
def test_other_media_are_not_read(api: TestClient, media: str) -> None:
    refused = api.post("people/bulk", content=lines(reader(1)), headers={"content-type": media})
    assert_problem(refused, 415, "media_type_unsupported")


def test_a_topic_answered_twice_is_refused_and_harms_no_other_line(api: TestClient, house: House) -> None:
    both = [*said_yes("updates"), {"topic": "updates", "given": False}]
    said = post(api, lines(reader(1), reader(2, consents=both), reader(3)))
    assert [one["code"] for one in said] == ["created", "topic_twice", "created"]
    assert said[1]["field"] == "consents[1].topic"
    assert people(house) == 2
