"""PUT and GET /people: never a 409 for a known address, never a yes out of a no, each source its own."""

import json
import threading
from collections.abc import Callable

import pytest
from sqlmodel import col, func, select
from starlette.testclient import TestClient

from service.db.session import reading, transaction
from service.domain.ledger import queries as entries
from service.domain.mailings.tables import Mailing
from service.domain.people.tables import Person
from service.domain.preferences.registration import Registration, register_many
from service.kit import clock
from service.kit.ids import new_id
from service.ops.house import House
from tests import builders as make
from tests.api.shapes import ana, assert_problem, said_yes


def mails(house: House) -> int:
    with reading(house.engine) as session:
        return session.exec(
            select(func.count()).select_from(Mailing).where(col(Mailing.kind) == "system")
        ).one()


def test_register_answers_what_changed_and_what_happens_next(api: TestClient, house: House) -> None:
    first = api.put("people/1", json=ana(consents=said_yes("new-products", confirmed=False)))
    assert first.status_code == 201
    assert first.json()["created"] is True
    assert first.json()["consents"] == [
        {"topic": "new-products", "state": "requested", "result": "confirmation_sent"}
    ]
    assert first.json()["mail"] == "confirmation_sent"
    assert first.json()["next"]
    again = api.put("people/1", json=ana(locale="de"))
    assert (again.status_code, again.json()["changed"], again.json()["mail"]) == (200, ["locale"], None)
    assert again.json()["person"] == first.json()["person"]
    assert mails(house) == 1


def test_register_with_attested_confirmation_gives_at_once(api: TestClient, house: House) -> None:
    done = api.put("people/1", json=ana(consents=said_yes("new-products", "updates"))).json()
    assert [one["result"] for one in done["consents"]] == ["given", "given"]
    assert (done["mail"], mails(house)) == (None, 0)


def test_attestation_of_a_key_that_may_not_is_not_taken(
    client_of: Callable[[str], TestClient], make_key: Callable[..., str], house: House
) -> None:
    done = (
        client_of(make_key("people:write"))
        .put("people/1", json=ana(consents=said_yes("new-products")))
        .json()
    )
    assert done["consents"][0]["state"] == "requested"
    assert mails(house) == 1


def test_a_known_address_is_no_conflict_and_says_nothing(
    api: TestClient, client_of: Callable[[str], TestClient], make_key: Callable[..., str]
) -> None:
    api.put(
        "people/1",
        json=ana(consents=said_yes("new-products"), profile={"first_name": "Ana", "company": "Kettles"}),
    )
    crm = client_of(make_key("people:write", "people:read", source="crm"))
    known = crm.put("people/x", json=ana(profile={"first_name": "A."}))
    unknown = crm.put("people/y", json={"email": "nobody@example.org", "profile": {"first_name": "N."}})
    assert known.status_code == unknown.status_code == 201
    assert {**known.json(), "person": ""} == {**unknown.json(), "person": ""}
    assert crm.get("people/x").json()["profile"]["company"] == ""
    assert crm.get("people/x/preferences").json() == crm.get("people/y/preferences").json()


def test_a_no_is_never_made_a_yes(api: TestClient) -> None:
    api.put("people/1", json=ana(consents=said_yes("new-products")))
    no = {"topic": "new-products", "given": False}
    assert api.put("people/1", json=ana(consents=[no])).json()["consents"][0]["result"] == "withdrawn"
    back = api.put("people/1", json=ana(consents=said_yes("new-products", at="2026-10-01T00:00:00Z"))).json()
    assert back["consents"] == [{"topic": "new-products", "state": "withdrawn", "result": "kept_no"}]


def test_each_source_sees_its_own(
    api: TestClient, client_of: Callable[[str], TestClient], make_key: Callable[..., str]
) -> None:
    api.put("people/1", json=ana())
    other = client_of(make_key("people:read", source="crm"))
    assert_problem(other.get("people/1"), 404, "unknown_person")
    assert other.get("people/1").content == other.get("people/2").content


def test_equal_puts_at_once_make_one_person(api: TestClient, house: House) -> None:
    answers: list[int] = []
    puts = [
        threading.Thread(target=lambda: answers.append(api.put("people/1", json=ana()).status_code))
        for _ in range(8)
    ]
    for one in puts:
        one.start()
    for one in puts:
        one.join()
    assert set(answers) <= {200, 201}
    with reading(house.engine) as session:
        assert session.exec(select(func.count()).select_from(Person)).one() == 1


@pytest.mark.parametrize(
    ("email", "code"),
    [
        ("a@b.example\r\nRCPT TO:<x@y.example>", "address_control_char"),
        ("a\x00b@example.org", "address_control_char"),
    ],
)
def test_rel_h01_address_with_commands(api: TestClient, email: str, code: str) -> None:
    assert_problem(api.put("people/1", json={"email": email}), 422, code, "email")


def test_rel_h02_address_with_parameters(api: TestClient) -> None:
    assert_problem(
        api.put("people/1", json={"email": "u@x.example> AUTH=<z@x.example"}), 422, "address_syntax", "email"
    )


def test_rel_h03_quoted_local_part_with_line_break(api: TestClient) -> None:
    assert_problem(
        api.put("people/1", json={"email": '"a\r\nb"@example.org'}), 422, "address_control_char", "email"
    )


@pytest.mark.parametrize("sign", ["\x00", "\x1b", "\x85", "\u2028"])
@pytest.mark.parametrize("field", ["first_name", "last_name", "company"])
def test_rel_h04_unseen_signs_in_names(api: TestClient, sign: str, field: str) -> None:
    said = ana(profile={field: f"An{sign}a"})
    assert_problem(api.put("people/1", json=said), 422, "header_control_char", f"profile.{field}")


@pytest.mark.parametrize("name", ["x" * 5000, "(" * 5000])
def test_rel_h06_name_too_long(api: TestClient, name: str) -> None:
    refused = api.put("people/1", json=ana(profile={"first_name": name}))
    assert_problem(refused, 422, "name_too_long", "profile.first_name")
    assert name not in refused.text
    assert api.put("people/1", json=ana(profile={"first_name": "x" * 200})).status_code == 201


def test_rel_h07_address_too_long(api: TestClient) -> None:
    assert_problem(
        api.put("people/1", json={"email": f"{'a' * 65}@example.org"}), 422, "address_too_long", "email"
    )
    long_domain = ".".join(["d" * 60] * 4)
    assert_problem(
        api.put("people/1", json={"email": f"a@{long_domain}{'d' * 9}.org"}), 422, "address_too_long", "email"
    )
    assert api.put("people/1", json={"email": f"{'a' * 64}@example.org"}).status_code == 201


@pytest.mark.parametrize(
    ("typed", "stored"),
    [
        ("ana@bücher.example.org", "ana@xn--bcher-kva.example.org"),
        ("ana@xn--bcher-kva.example.org", "ana@xn--bcher-kva.example.org"),
    ],
)
def test_rel_h08_international_domain_is_stored_as_a_label(api: TestClient, typed: str, stored: str) -> None:
    assert api.put("people/1", json={"email": typed}).status_code == 201
    assert api.get("people/1").json()["email"] == stored


def test_rel_h10_one_mailbox_by_case_and_space_and_the_stricter_wins(
    api: TestClient, client_of: Callable[[str], TestClient], make_key: Callable[..., str]
) -> None:
    api.put("people/1", json=ana(consents=said_yes("new-products")))
    crm = client_of(make_key(source="crm"))
    no = {"topic": "new-products", "given": False}
    crm.put("people/9", json={"email": "Ana@Example.org ", "consents": [no]})
    states = {one["topic"]: one["state"] for one in api.get("people/1/preferences").json()["topics"]}
    assert states["new-products"] == "withdrawn"


@pytest.mark.parametrize("email", ["ana@localhost", "ana@[127.0.0.1]", "ana@intranet"])
def test_rel_h11_domain_not_public(api: TestClient, email: str) -> None:
    assert_problem(api.put("people/1", json={"email": email}), 422, "domain_not_public", "email")


@pytest.mark.parametrize(
    "email", [["a@example.org", "b@example.org"], "a@example.org,b@example.org", {"a": 1}, 7, None]
)
def test_rel_h54_one_address_only(api: TestClient, house: House, email: object) -> None:
    said = {"email": email, "consents": said_yes("new-products", confirmed=False)}
    assert_problem(api.put("people/1", json=said), 422, "address_syntax", "email")
    assert mails(house) == 0


@pytest.mark.parametrize("odd", ["-1", str(1 << 63), "nobody", "%00", "%ff", "x" * 300, "p_aaaaaaaaaaaaa"])
@pytest.mark.parametrize("rest", ["", "/preferences", "/consents"])
def test_rel_h49_ids_that_are_not_ours(api: TestClient, odd: str, rest: str) -> None:
    answer = api.get(f"people/{odd}{rest}")
    assert_problem(answer, 404, "unknown_person")
    assert answer.content == api.get(f"people/absent{rest}").content


@pytest.mark.parametrize(
    ("said", "code", "field"),
    [
        ({}, "field_missing", "email"),
        (ana(zone="Mars/Olympus"), "zone_unknown", "zone"),
        (ana(locale="x" * 30), "locale_invalid", "locale"),
        (ana(profile={"iban": "DE00"}), "unknown_field", "profile.iban"),
        (ana(nickname="A"), "unknown_field", "nickname"),
        (ana(attributes={"plan": 1.5}), "attribute_invalid", "attributes.plan"),
        (ana(attributes={"email": "x"}), "attribute_identifying", "attributes.email"),
        (ana(attributes={"E-Mail": "x"}), "attribute_identifying", "attributes.email"),
        (ana(attributes={"first_name": "Ana"}), "attribute_identifying", "attributes.firstname"),
        (
            ana(attributes={"postal_address": "Mill Lane 1"}),
            "attribute_identifying",
            "attributes.postaladdress",
        ),
        (ana(attributes={"owner": "Ana <ana@example.org>"}), "attribute_identifying", "attributes.owner"),
        (ana(attributes={"also": ["a", "x@example.org"]}), "attribute_identifying", "attributes.also"),
        (ana(attributes={"n": 10**30}), "field_invalid", "attributes.n"),
        (ana(consents=[{"topic": "new-products", "given": "yes"}]), "field_invalid", "consents[0].given"),
        (ana(consents=[{"topic": "new-products", "given": True}]), "evidence_missing", "consents[0].source"),
        (ana(consents=said_yes("no-such-topic")), "topic_unknown", "consents[0].topic"),
    ],
)
def test_refusals_name_the_field(api: TestClient, said: object, code: str, field: str) -> None:
    assert_problem(api.put("people/1", json=said), 422, code, field)


def test_attributes_are_read_back_as_they_were_given(api: TestClient) -> None:
    given = {"plan": "pro", "seats": 3, "trial": False, "uses": ["api", "web"], "one": ["web"]}
    api.put("people/1", json=ana(attributes=given))
    assert api.get("people/1").json()["attributes"] == given
    api.put("people/1", json=ana(attributes={"plan": None, "uses": []}))
    assert api.get("people/1").json()["attributes"] == {"seats": 3, "trial": False, "one": ["web"]}


def test_a_changed_attribute_is_among_what_changed(api: TestClient, house: House) -> None:
    api.put("people/1", json=ana(attributes={"plan": "pro", "uses": ["api", "web"]}))
    same = api.put("people/1", json=ana(attributes={"uses": ["web", "api"], "plan": "pro"}))
    assert same.json()["changed"] == []
    changed = api.put("people/1", json=ana(attributes={"plan": "team"}))
    assert changed.json()["changed"] == ["attributes"]
    line = json.dumps({"external_id": "1", **ana(attributes={"plan": "free"})}).encode() + b"\n"
    answer = api.post("people/bulk", content=line, headers={"content-type": "application/x-ndjson"})
    assert json.loads(answer.text)["code"] == "changed"
    assert api.get("people/1").json()["attributes"] == {"plan": "free", "uses": ["api", "web"]}
    with reading(house.engine) as session:
        changes = entries.page(session, after=None, limit=None, kind="person.changed")
    kept = [entry.body["fields"] for entry in changes.rows]
    assert kept == [["attributes"], ["attributes"]]


@pytest.mark.parametrize("value", ["5", True, ["5"]])
def test_an_attribute_keeps_the_type_it_was_declared_with(api: TestClient, value: object) -> None:
    api.put("people/1", json=ana(attributes={"seats": None}))  # taking away declares nothing
    api.put("people/1", json=ana(attributes={"seats": 5}))
    answer = api.put("people/1", json=ana(attributes={"seats": value}))
    assert_problem(answer, 422, "attribute_invalid", "attributes.seats")
    assert answer.json()["fix"] == "seats is known here as a whole number."
    assert api.get("people/1").json()["attributes"] == {"seats": 5}
    assert api.put("people/1", json=ana(attributes={"seats": None})).status_code == 200


def test_an_attribute_is_what_does_not_identify(api: TestClient) -> None:
    """Taking away what came in before is always taken; @names and small words are no addresses."""
    given = {"email": None, "name": [], "handle_shown": "@ana", "plan": "pro", "country": ["de", "at"]}
    assert api.put("people/1", json=ana(attributes=given)).status_code == 201
    assert api.get("people/1").json()["attributes"] == {
        "handle_shown": "@ana",
        "plan": "pro",
        "country": ["at", "de"],
    }


def test_erase_answers_the_same_again_and_brings_nobody_back(api: TestClient, house: House) -> None:
    person = api.put("people/1", json=ana(consents=said_yes("new-products"))).json()["person"]
    assert_problem(api.delete("people/2"), 404, "unknown_person")
    done = api.delete("people/1")
    assert (done.status_code, done.json()["person"], done.json()["erased"]) == (200, person, True)
    assert "keyed hash" in done.json()["stays"]
    assert api.delete("people/1").json() == done.json()
    assert_problem(api.get("people/1"), 404, "unknown_person")
    assert_problem(api.get("people/1/preferences"), 404, "unknown_person")
    again = api.put("people/1", json=ana())
    assert_problem(again, 409, "erased", "email")
    assert "/join" in again.json()["fix"]
    assert_problem(api.put("people/9", json=ana()), 409, "erased", "email")
    lines = [{**ana(), "external_id": "1"}, {"external_id": "3", "email": "bea@example.org"}]
    bulk = api.post("people/bulk", content="\n".join(json.dumps(one) for one in lines))
    told = [json.loads(line) for line in bulk.text.splitlines()]
    assert [(one["status"], one["code"]) for one in told] == [(409, "erased"), (201, "created")]
    with reading(house.engine) as session:
        assert len(entries.of_subject(session, person, kinds=("person.erased",))) == 1


def test_a_source_erases_only_whom_it_knows(
    api: TestClient, client_of: Callable[[str], TestClient], make_key: Callable[..., str]
) -> None:
    api.put("people/1", json=ana())
    other = client_of(make_key("people:write", source="crm"))
    assert_problem(other.delete("people/1"), 404, "unknown_person")
    assert api.get("people/1").status_code == 200


def _comes_back(house: House) -> None:
    """By the sign-up form and the button of its mail."""
    now = clock.now()
    visitor = Registration(new_id("v"), "ana@example.org", consents=[make.an_answer(at=now)], attested=False)
    with transaction(house.engine) as session:
        register_many(
            session, house.ring, "join", [visitor], attest=False, topics=None, now=now, by="visitor"
        )
    with transaction(house.engine) as session:
        make.press(session, house.ring, make.buttons(session)[-1], now=now)


def test_who_came_back_is_erased_again_and_the_answer_speaks_of_them(api: TestClient, house: House) -> None:
    api.put("people/1", json=ana(consents=said_yes("new-products")))
    gone = [api.delete("people/1").json()]
    for _ in range(2):
        assert_problem(api.put("people/1", json=ana()), 409, "erased")
        _comes_back(house)
        assert api.put("people/1", json=ana(consents=said_yes("updates"))).status_code in (200, 201)
        again = api.delete("people/1")
        assert again.status_code == 200, again.text
        assert again.json()["person"] not in [one["person"] for one in gone]
        assert api.get("people/1").status_code == 404
        assert api.delete("people/1").json() == again.json(), "said again"
        gone.append(again.json())
    with reading(house.engine) as session:
        assert set(session.exec(select(Person.state)).all()) == {"erased"}
