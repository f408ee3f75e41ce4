"""`bidden privacy`: the record of processing, what is past its time, and how long an attribute is kept."""

from datetime import timedelta

from sqlalchemy.engine import Engine

from service.db.session import reading, transaction
from service.domain.ledger import queries as ledger
from service.domain.privacy import periods
from service.kit import clock
from service.kit.signing import Keyring
from tests import builders as make
from tests.cli.conftest import Run


def test_std_h17_the_record_is_printed_as_json_either_way(bidden: Run, engine: Engine) -> None:
    plain, program = bidden("privacy", "record"), bidden("privacy", "record", "--json")
    assert (plain.code, program.code) == (0, 0)
    assert plain.json["schema"] == program.json["schema"] == "urn:bidden:record-of-processing:1"
    assert plain.json["activities"] == program.json["activities"]
    assert plain.json["missing"]


def test_std_h19_it_says_what_would_go_and_takes_nothing(bidden: Run, engine: Engine, ring: Keyring) -> None:
    long_ago = clock.now() - timedelta(days=400)
    with transaction(engine) as session:
        make.a_person(session, ring, now=long_ago, attributes={"plan": "gold"})
    assert bidden("privacy", "attribute", "plan", "--days", "399", "--json").json == {
        "attribute": "plan",
        "changed": ["retention_days"],
    }
    plain, program = bidden("privacy", "retention"), bidden("privacy", "retention", "--json")
    assert (plain.code, program.code) == (0, 0)
    classes = {one["class"]: one for one in program.json["classes"]}
    assert set(classes) == set(periods.BY_NAME)
    assert (classes["attributes"]["due"], classes["attributes"]["days"]) == (1, None)
    assert (classes["unconfirmed"]["due"], classes["unconfirmed"]["days"]) == (0, 30)
    assert classes["links"]["last_run"] is None
    assert "attributes" in plain.out
    assert "never" in plain.out
    with reading(engine) as session:
        assert ledger.of_kinds(session, ("retention.purged",)) == []
        [said] = ledger.of_kinds(session, ("attribute.changed",))
        assert said.body == {"attribute": "plan", "field": "retention_days", "before": 1095, "after": 399}


def test_an_attribute_nobody_gave_and_days_that_are_none_are_refused(
    bidden: Run, engine: Engine, ring: Keyring
) -> None:
    with transaction(engine) as session:
        make.a_person(session, ring, now=clock.now(), attributes={"plan": "gold"})
    for arguments, code in {
        ("pet", "--days", "5"): "attribute_unknown",
        ("plan", "--days", "0"): "days_invalid",
        ("plan", "--days", "3651"): "days_invalid",
        ("plan", "--purpose", "a\nb"): "purpose_invalid",
        ("plan", "--purpose", ""): "purpose_invalid",
    }.items():
        refused = bidden("privacy", "attribute", *arguments, "--json")
        assert (refused.code, refused.json["error"]["code"]) == (1, code)
    same = bidden("privacy", "attribute", "plan", "--days", "1095", "--json")
    assert (same.code, same.json["changed"]) == (0, [])


def test_the_law_of_each_country_with_its_source(bidden: Run) -> None:
    plain, program = bidden("privacy", "law"), bidden("privacy", "law", "--json")
    assert "38-FZ" in plain.out
    table = {one["name"]: one for one in program.json["jurisdictions"]}
    assert table["Canada"]["permits"] == ["implied_inquiry", "implied_purchase"]
    assert table["Russia"]["permits"] == []
    assert table["Russia"]["answers"]["any"] == {"working_days": 10, "more": 5}
    assert "any request to be answered within 10 working days, for a reason 5 more" in plain.out
    for name, one in table.items():
        own = plain.out.partition(f"{name} (")[2].partition(one["looked_at"])[0]
        assert ("yes may be asked" in own, "yes may not be asked" in own) == (
            one["may_ask"],
            not one["may_ask"],
        )
        assert own.endswith("looked at on ")
    assert all(one["source"] and one["looked_at"] for one in table.values())


def test_what_ends_soon_and_whom_nobody_may_ask(bidden: Run) -> None:
    assert bidden("privacy", "ending", "--json").json == {"ending": []}
    assert bidden("privacy", "ending").out.strip() == "Nothing ends within 60 days."
    refused = bidden("privacy", "ask", "new-products", "--json")
    assert (refused.code, refused.json["error"]["code"]) == (1, "postal_address_missing")
    bidden("brand", "set", "default", "postal_address=Mill Lane 1, 12345 Riverton")
    assert bidden("privacy", "ask", "new-products", "--json").json["error"]["code"] == "nobody_to_ask"
    assert (
        bidden("privacy", "ask", "new-products", "--stop", "--json").json["error"]["code"] == "nothing_asked"
    )
