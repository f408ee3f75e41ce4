"""What one row says under a plan, and everything a plan must say before a yes is one. No database."""

from datetime import UTC, datetime
from io import BytesIO
from typing import Any

import pytest

from service.domain.transfers import reading, rows, rules, sources
from service.kit.errors import Invalid
from tests.conftest import NOW
from tests.domain.transfers import files

OPTED = datetime(2020, 2, 3, 4, 5, 6, tzinfo=UTC)


def understood(content: bytes, *grants: rules.Grant, **plan: Any) -> list[rows.Row | list[rows.Fault]]:
    facts = reading.examine(BytesIO(content))
    columns = plan.pop("columns", None) or sources.proposed(facts.columns, ["updates", "new-products"])
    made = rules.check_plan(rules.Plan("old-shop", columns, grants, **plan), facts.columns, now=NOW)
    found = reading.records(BytesIO(content), facts)
    return [rows.understand(one, facts.columns, made, now=NOW) for one in found]


def one(content: bytes, *grants: rules.Grant, **plan: Any) -> rows.Row:
    [row] = understood(content, *grants, **plan)
    assert isinstance(row, rows.Row)
    return row


def test_a_listmonk_row() -> None:
    ana, ben, cem = understood(files.LISTMONK, files.DATED)
    assert isinstance(ana, rows.Row)
    assert (ana.external_id, ana.profile) == ("5f3c", {"first_name": "Ana Maria", "last_name": "Kov"})
    assert ana.attributes == {"plan": "pro"}
    assert sorted(ana.left_out) == [
        "attribute_identifying",
        "attribute_invalid",
    ]  # an address, a nested value
    assert [(item.topic, item.agreed_at) for item in ana.items] == [
        ("new-products", datetime(2024, 1, 2, tzinfo=UTC))
    ]
    assert isinstance(ben, rows.Row)
    assert (ben.no, ben.items, ben.noes) == ("no", (), ("new-products",))
    assert isinstance(cem, rows.Row)
    assert (cem.no, cem.items) == ("stopped", ())


def test_a_mailchimp_row_has_its_trail_only_with_request_press_and_address() -> None:
    ana, ben = understood(files.MAILCHIMP, files.GRANT, attested=True)
    assert isinstance(ana, rows.Row)
    assert ana.attributes == {"member_rating": 4, "tags": ["VIP", "Blog"]}
    assert ana.zone == "Europe/Berlin"
    [item] = ana.items
    assert item.agreed_at == OPTED
    assert item.confirmed == {
        "at": "2020-02-03T04:09:00+00:00", "method": "double opt-in elsewhere", "ip": "192.0.2.7",
    }  # fmt: skip
    assert isinstance(ben, rows.Row)
    assert ben.items[0].confirmed is None  # CONFIRM_TIME alone stands in every row of theirs


def test_a_trail_counts_only_when_somebody_vouches_for_it() -> None:
    ana, _ = understood(files.MAILCHIMP, files.GRANT)
    assert isinstance(ana, rows.Row)
    assert ana.items[0].confirmed is None


def test_mailchimps_people_who_left_are_noes_and_a_spam_report_is_one() -> None:
    cem, dan = understood(files.MAILCHIMP_GONE, files.GRANT)
    assert isinstance(cem, rows.Row)
    assert isinstance(dan, rows.Row)
    assert (cem.no, cem.items, cem.no_at) == ("no", (), datetime(2022, 1, 1, 10, tzinfo=UTC))
    assert (dan.no, dan.items) == ("complained", ())


@pytest.mark.parametrize(
    "status", ["unsubscribed", "Blocklisted", "cleaned", "bounced", "complained", "opted out"]
)
def test_p7_no_word_for_a_no_becomes_a_yes(status: str) -> None:
    row = one(f"email,status\nana@example.org,{status}\n".encode(), files.DATED)
    assert row.items == ()
    assert row.no in rules.NOES


def test_a_state_nobody_knows_is_not_taken_for_a_yes() -> None:
    [faults] = understood(b"email,status\nana@example.org,gold\n", files.DATED)
    assert isinstance(faults, list)
    assert [(fault.column, fault.value, fault.code) for fault in faults] == [
        ("status", "gold", "state_unknown")
    ]
    assert "subscribed" in faults[0].fix


@pytest.mark.parametrize(
    ("email", "contact", "no"),
    [
        ("0", "1", "no"),
        ("1", "0", "no"),
        ("", "3", "no"),
        ("2", "", "no"),
        ("no", "Yes", "no"),
        ("1", "perhaps", "no"),
        ("0", "false", ""),
    ],
)
def test_p7_each_column_of_noes_counts(email: str, contact: str, no: str) -> None:
    head = "email,firstname,lastname,points,doNotEmail,doNotContact"
    row = one(f"{head}\nana@example.org,Ana,Ruiz,3,{email},{contact}\n".encode(), files.DATED)
    assert (row.no, bool(row.items)) == (no, not no)


def test_what_nobody_knows_in_a_column_of_noes_is_not_taken_for_leave_to_write() -> None:
    head = b"email,firstname,lastname,points,doNotEmail,doNotContact"
    [faults] = understood(head + b"\nana@example.org,Ana,Ruiz,3,0,perhaps\n", files.DATED)
    assert isinstance(faults, list)
    assert [(fault.column, fault.value, fault.code) for fault in faults] == [
        ("doNotContact", "perhaps", "state_unknown")
    ]
    assert "yes or no" in faults[0].fix


def test_who_was_only_waited_for_brings_no_yes() -> None:
    row = one(b"email,status\nana@example.org,pending\n", files.DATED)
    assert (row.items, row.no) == ((), "")


def test_a_whole_file_of_people_who_left() -> None:
    assert one(b"email\nana@example.org\n", files.DATED, status="no").no == "no"


def test_every_bad_cell_of_a_row_is_named_with_its_way_to_mend() -> None:
    content = "email,first name,subscribed at\nana@,\u202eAna,yesterday\n".encode()
    [faults] = understood(content, files.GRANT)
    assert isinstance(faults, list)
    assert [(fault.row, fault.line, fault.column, fault.code) for fault in faults] == [
        (1, 2, "email", "address_syntax"),
        (1, 2, "first name", "header_control_char"),
        (1, 2, "subscribed at", "date_unclear"),
    ]
    assert all(fault.sentence for fault in faults)
    assert "2026-11-24" in faults[2].fix


@pytest.mark.parametrize(
    ("cell", "way", "code"),
    [
        ("2027-01-01", "iso", "date_to_come"),
        ("31.02.2024", "dmy", "date_unclear"),
        ("12/31/2024", "dmy", "date_unclear"),
        ("01/02/2024", "iso", "date_unclear"),
        ("0001-01-01", "iso", "date_unclear"),
        ("0001-01-01T00:00:00+14:00", "iso", "date_unclear"),
        ("9999-12-31T23:59:59-14:00", "iso", "date_unclear"),
        ("", "iso", "date_missing"),
    ],
)
def test_dates_that_are_none(cell: str, way: str, code: str) -> None:
    [faults] = understood(f"email,subscribed at\nana@example.org,{cell}\n".encode(), files.GRANT, dates=way)
    assert isinstance(faults, list)
    assert [fault.code for fault in faults] == [code]


@pytest.mark.parametrize(
    ("cell", "way", "at"),
    [
        ("2024-05-01 10:00:00", "iso", datetime(2024, 5, 1, 10, tzinfo=UTC)),
        ("2024-05-01T10:00:00+02:00", "iso", datetime(2024, 5, 1, 8, tzinfo=UTC)),
        ("1.5.2024", "dmy", datetime(2024, 5, 1, tzinfo=UTC)),
        ("05/01/2024 9:30", "mdy", datetime(2024, 5, 1, 9, 30, tzinfo=UTC)),
    ],
)
def test_dates_as_the_plan_says_they_are_written(cell: str, way: str, at: datetime) -> None:
    row = one(f"email,subscribed at\nana@example.org,{cell}\n".encode(), files.GRANT, dates=way)
    assert row.items[0].agreed_at == at


HOSTILE = {
    "control": "a\x00b", "bidi": "\u202eevil", "encoded word": "=?utf-8?q?x?=", "megabyte": "x" * 100_000,
    "lone mark": "\ufffd", "line": "a\nb",
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_refused_with_their_cell(name: str) -> None:
    content = f'email,first name\nana@example.org,"{HOSTILE[name]}"\n'.encode()
    [faults] = understood(content)
    assert isinstance(faults, list)
    assert [fault.column for fault in faults] == ["first name"]
    assert len(faults[0].value) <= 200


@pytest.mark.parametrize("name", ["=1+1", "+49 30", "-2", "@here", "\ttab"])
def test_rel_h63_a_cell_like_a_formula_is_kept_as_text(name: str) -> None:
    row = one(f'email,company\nana@example.org,"{name}"\n'.encode())
    assert row.profile["company"] == name.strip()


def test_hostile_json_is_refused_and_deep_json_does_no_harm() -> None:
    deep = "[" * 100_000
    for cell in ("{", "[1]", deep):
        [faults] = understood(f'uuid,email,attributes,status\n1,a@example.org,"{cell}",enabled\n'.encode())
        assert isinstance(faults, list)
        assert [fault.code for fault in faults] == ["attributes_not_json"]


def test_std_h4_a_yes_without_words_date_or_source_is_no_plan() -> None:
    content = b"email\nana@example.org\n"
    for wrong in (
        rules.Grant("new-products", "", text=files.WORDS, on="2024-01-01"),
        rules.Grant("new-products", "shop", on="2024-01-01"),
        rules.Grant("new-products", "shop", text=files.WORDS),
        rules.Grant("new-products", "shop", text=files.WORDS, wording="new-products-v1-en", on="2024-01-01"),
    ):
        with pytest.raises(rules.ProofMissing):
            understood(content, wrong)


@pytest.mark.parametrize(
    ("plan", "code"),
    [
        ({"columns": {"name": "first_name"}}, "address_column_missing"),
        ({"columns": {"mail": "email"}}, "column_unknown"),
        ({"columns": {"email": "email", "name": "email"}}, "column_twice"),
        ({"columns": {"email": "email", "name": "password"}}, "plan_invalid"),
        ({"dates": "ymd"}, "plan_invalid"),
        ({"status": "perhaps"}, "plan_invalid"),
    ],
)
def test_plans_that_do_not_fit_the_file(plan: dict[str, Any], code: str) -> None:
    with pytest.raises(Invalid) as refused:
        understood(b"email,name\nana@example.org,Ana\n", **plan)
    assert refused.value.code == code


def test_a_plan_is_read_back_as_it_was_kept() -> None:
    plan = rules.Plan("old-shop", {"email": "email"}, (files.DATED,), attested=True)
    kept = rules.plan_of(plan.as_json())
    assert kept.digest == plan.digest
    assert kept.grants == plan.grants
    assert rules.Plan("old-shop", {"email": "email"}).digest != plan.digest


@pytest.mark.parametrize("cell", ["\ufffd", "x" * 300, "=?utf-8?q?x?=", "a\u202eb"])
@pytest.mark.parametrize("column", ["first name", "id"])
def test_p7_nothing_that_is_not_kept_is_in_the_way_of_a_no(column: str, cell: str) -> None:
    columns = {"email": "email", "first name": "first_name", "id": "external_id"}
    columns |= {"status": "status", "status of updates": "state:new-products"}
    told = dict.fromkeys(columns, "") | {"email": "ana@example.org"}
    content = ",".join(columns) + "\n"
    content += ",".join((told | {"status": "unsubscribed", column: cell}).values()) + "\n"
    content += ",".join((told | {"status of updates": "no", "status": "yes", "first name": cell}).values())
    whole, single = understood(content.encode(), columns=columns)
    assert isinstance(whole, rows.Row)
    assert (whole.noes, whole.no, whole.profile) == (("new-products",), "no", {})
    assert isinstance(single, rows.Row)
    assert (single.noes, single.no, single.profile) == (("new-products",), "no", {})


def test_an_empty_state_is_not_taken_for_a_yes_unless_the_plan_says_so() -> None:
    content = b"email,status\nana@example.org,subscribed\nben@example.org,\ncem@example.org\n"
    told = [row.items for row in understood(content, files.DATED) if isinstance(row, rows.Row)]
    assert [len(items) for items in told] == [1, 0, 0]
    told = [row.items for row in understood(content, files.DATED, status="yes") if isinstance(row, rows.Row)]
    assert [len(items) for items in told] == [1, 1, 1]
