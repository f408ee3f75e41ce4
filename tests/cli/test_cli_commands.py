"""Every command: what it prints, with and without --json, and its exit code (0 done, 1 refused, 2 wrong use)."""

import re
from datetime import datetime
from pathlib import Path

import pytest
from sqlalchemy import select, text, update
from sqlalchemy.engine import Engine

from service.db.engine import is_sqlite
from service.db.session import reading, transaction
from service.domain.brands import queries as brands
from service.domain.deliveries import freeze
from service.domain.mailings.tables import Mailing
from service.domain.preferences.tables import Preference
from service.kit import clock
from service.kit.signing import Keyring
from tests import builders as make
from tests.cli.conftest import Run

WORDS = "# Hello\n\nThe new kettle is here.\n\n[See it](https://shop.example.org/kettle)\n"
POST = "---\ntitle: Version 2\ntopic: updates\nmail: false\n---\n* faster\n* smaller\n"


def test_keys_are_made_listed_and_revoked(bidden: Run) -> None:
    made = bidden("keys", "create", "--name", "Shop", "--source", "shop", "--scope", "all", "--json")
    assert made.code == 0, made.err
    assert made.json["key"].startswith("bk_")
    assert "consents:attest" in made.json["scopes"]
    listed = bidden("keys", "list", "--json").json["items"]
    assert [(one["name"], one["source"], one["revoked_at"]) for one in listed] == [("Shop", "shop", None)]
    assert made.json["key"] not in bidden("keys", "list").out
    assert bidden("keys", "revoke", made.json["id"]).code == 0
    assert bidden("keys", "list", "--json").json["items"][0]["revoked_at"]


def test_a_key_for_some_topics_only(bidden: Run) -> None:
    base = ("keys", "create", "--name", "n", "--source", "s", "--scope", "topics:read,people:read")
    assert bidden(*base, "--topic", "updates", "--json").json["scopes"] == ["people:read", "topics:read"]
    refused = bidden(*base, "--topic", "nothing")
    assert refused.code == 1
    assert "topic_unknown" in refused.err


@pytest.mark.parametrize(
    ("arguments", "why", "then"),
    [
        (("keys", "create", "--name", "n", "--source", "s", "--scope", "root"), "scope_unknown", None),
        (("keys", "create", "--name", "n", "--source", "me", "--scope", "all"), "source_reserved", None),
        (("keys", "revoke", "k_0"), "key_unknown", "bidden keys list"),
        (("brand", "set", "default", "iban=1"), "unknown_field", None),
        (("brand", "dkim", "use", "b1"), "selector_unknown", "bidden brand dkim show"),
        (("brand", "dkim", "new", "nobody"), "brand_unknown", None),
        (("brand", "dkim", "new", "--selector", "a.b"), "selector_invalid", None),
        (("announce", "report", "a_0"), "announcement_unknown", None),
        (("notice", "resume", "n_0"), "notice_unknown", None),
        (("staff", "invite", "nowhere", "--name", "N", "--role", "admin"), "address_syntax", None),
        (
            ("staff", "invite", "n@example.org", "--name", "N", "--role", "king"),
            "role_unknown",
            "One of: marketing, product, privacy_officer, admin",
        ),
    ],
)
def test_a_refusal_says_what_and_why_and_a_next_step_only_where_it_mends(
    bidden: Run, arguments: tuple[str, ...], why: str, then: str | None
) -> None:
    words = bidden(*arguments)
    assert words.code == 1
    assert words.err.startswith("Not done: ")
    assert why in words.err
    assert "bidden doctor" not in words.err
    error = bidden(*arguments, "--json").json["error"]
    assert error["code"] == why
    assert ("next: " in words.err) == (error["fix"] is not None)
    assert then is None or error["fix"] == then


@pytest.mark.parametrize(
    "arguments",
    [("nonsense",), ("keys", "create"), ("brand", "set", "default", "oops"), ("announce", "create")],
)
def test_wrong_use_is_two(bidden: Run, arguments: tuple[str, ...]) -> None:
    assert bidden(*arguments).code == 2


def test_db_check_names_a_guard_that_was_taken_down(bidden: Run, engine: Engine) -> None:
    assert bidden("db", "check").code == 0
    with engine.execution_options(write=True).begin() as connection:
        on = "" if is_sqlite(engine) else " ON ledger_entry"
        connection.execute(text(f"DROP TRIGGER ledger_entry_in_order{on}"))
    refused = bidden("db", "check", "--json")
    assert (refused.code, refused.json["error"]["code"]) == (1, "guards_missing")
    assert "ledger_entry_in_order" in refused.json["error"]["detail"]


def test_settings_that_cannot_be_are_refused_without_their_values(bidden: Run) -> None:
    refused = bidden(
        "keys", "list", BIDDEN_PUBLIC_URL="http://mail.example.org", BIDDEN_SMTP_URL="smtp://u:hunter2@h"
    )
    assert refused.code == 1
    assert "config_base_url" in refused.err
    assert "hunter2" not in refused.err + refused.out


@pytest.mark.parametrize(
    "url",
    [
        "https://mail.example.org/>",
        "https://mail.example.org/a b",
        "http://mail.example.org",
        "ftp://mail.example.org",
        "https://mail.example.org\r\nX: y",
    ],
)
def test_rel_h15_a_base_url_that_cannot_be_starts_nothing(bidden: Run, url: str) -> None:
    for start in (("up",), ("web",), ("send",)):
        refused = bidden(*start, BIDDEN_PUBLIC_URL=url)
        assert refused.code == 1
        assert "config_base_url" in refused.err
        assert "Traceback" not in refused.err


def test_a_database_without_tables_says_what_to_do(bidden: Run, tmp_path: Path) -> None:
    nothing = f"sqlite:///{tmp_path}/empty.db"
    refused = bidden("keys", "list", BIDDEN_DATABASE_URL=nothing)
    assert (refused.code, "bidden db upgrade" in refused.err) == (1, True)
    assert bidden("db", "check", BIDDEN_DATABASE_URL=nothing).code == 1
    assert bidden("db", "upgrade", BIDDEN_DATABASE_URL=nothing).code == 0
    assert bidden("db", "check", BIDDEN_DATABASE_URL=nothing).code == 0
    assert bidden("db", "upgrade", BIDDEN_DATABASE_URL=nothing).code == 0


def test_brand_set_and_show(bidden: Run) -> None:
    changed = bidden("brand", "set", "default", "postal_address=Mill Lane 1\\n12345 Riverton", "--json").json
    assert changed == {"brand": "default", "changed": ["postal_address"]}
    assert "Riverton" in bidden("brand", "show", "--json").json["postal_address"]
    assert (
        bidden("brand", "set", "default", "postal_address=Mill Lane 1\\n12345 Riverton", "--json").json[
            "changed"
        ]
        == []
    )


def test_std_e7_dkim_keys_from_new_to_retired(bidden: Run) -> None:
    assert "No key" in bidden("brand", "dkim", "show").out
    made = bidden("brand", "dkim", "new", "--selector", "one", "--json")
    assert made.code == 0, made.out + made.err
    record = made.json["record"]
    assert (record["name"], record["type"]) == ("one._domainkey.example.org", "TXT")
    assert record["value"] == "".join(record["strings"])
    assert record["value"].startswith("v=DKIM1; k=rsa; p=MII")
    assert max(map(len, record["strings"])) == 255
    assert bidden("brand", "dkim", "use", "one", "--json").json == {
        "brand": "default", "signing": "one", "before": None,
    }  # fmt: skip
    second = bidden("brand", "dkim", "new")
    [selector] = re.findall(r"^(b\d{8})\._domainkey\.example\.org\. TXT \"v=DKIM1", second.out, re.M)
    assert f"bidden brand dkim use {selector} default" in second.out
    refused = bidden("brand", "dkim", "new")
    assert (refused.code, f"bidden brand dkim retire {selector} default" in refused.err) == (1, True)
    assert bidden("brand", "dkim", "retire", "one", "--json").json["error"]["code"] == "selector_signs"
    used = bidden("brand", "dkim", "use", selector)
    assert (used.code, "bidden brand dkim retire one default" in used.out) == (0, True)
    shown = bidden("brand", "dkim", "show", "--json").json["keys"]
    assert [(key["selector"], key["state"]) for key in shown] == [("one", "published"), (selector, "signing")]
    assert "private" not in str(shown)
    assert record["zone_line"] in bidden("brand", "dkim", "show").out
    assert bidden("brand", "dkim", "retire", "one").code == 0
    assert bidden("brand", "dkim", "retire", selector, "--unsigned").code == 0
    assert bidden("brand", "dkim", "show", "--json").json["keys"] == []
    assert bidden("ledger", "verify").code == 0


def test_invite_prints_the_link(bidden: Run) -> None:
    made = bidden("staff", "invite", "jana@example.org", "--name", "Jana", "--role", "marketing", "--json")
    assert made.code == 0, made.err
    assert "/staff/start/" in made.json["link"]
    assert "jana@example.org" not in bidden("ledger", "verify").out


def test_announce_from_options_to_cancelled(bidden: Run, tmp_path: Path) -> None:
    bidden("brand", "set", "default", "postal_address=Mill Lane 1")
    body = tmp_path / "body.md"
    body.write_text(WORDS)
    options = (
        "--topic",
        "new-products",
        "--template",
        "launch",
        "--subject",
        "Kettle",
        "--body-file",
        str(body),
    )
    made = bidden(
        "announce", "create", *options, "--attribute", "plan=pro", "--attribute", "plan=team", "--json"
    )
    assert made.code == 0, made.out + made.err
    name, digest = made.json["id"], made.json["content_hash"]
    assert bidden("announce", "schedule", name, "--at", "now").code == 1
    assert bidden("announce", "submit", name, "--json").json["state"] == "in_review"
    assert (
        bidden("announce", "approve", name, "--content-hash", "0" * 64, "--json").json["error"]["code"]
        == "stale_version"
    )
    assert bidden("announce", "approve", name, "--content-hash", digest, "--json").json["state"] == "approved"
    when = ("--at", "2027-03-01T09:00", "--zone", "Europe/Berlin")
    assert bidden("announce", "schedule", name, *when, "--json").json["due_at"].startswith("2027-03-01T08:00")
    assert "leaves        2027-03-01 08:00:00 UTC (2027-03-01" in bidden("announce", "show", name).out
    assert bidden("announce", "pause", name, "--json").json["state"] == "paused"
    assert bidden("announce", "resume", name, "--json").json["state"] == "scheduled"
    assert bidden("announce", "cancel", name, "--json").json["state"] == "cancelled"
    report = bidden("announce", "report", name, "--json").json
    assert (report["state"], report["planned"], report["outcomes"]["sent"]) == ("cancelled", 0, 0)
    assert "cancelled" in bidden("announce", "report", name).out


def test_scheduling_for_now_says_when_it_leaves_and_what_holds_it(bidden: Run, tmp_path: Path) -> None:
    bidden("brand", "set", "default", "postal_address=Mill Lane 1")
    body = tmp_path / "body.md"
    body.write_text(WORDS)
    written = (
        "--topic",
        "new-products",
        "--template",
        "launch",
        "--subject",
        "Kettle",
        "--body-file",
        str(body),
    )
    name = bidden("announce", "create", *written, "--json").json["id"]
    for step in ("submit", "approve"):
        assert bidden("announce", step, name).code == 0
    said = bidden("announce", "schedule", name, "--at", "now")
    assert re.search(r"leaves +\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", said.out), said.out
    assert f"held until then; bidden announce cancel {name} calls it back" in said.out
    shown = bidden("announce", "show", name, "--json").json
    assert shown["hold_until"] == shown["due_at"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.toml", 'topic="new-products"\ntemplate="launch"\n[content.en]\nsubject="Kettle"\nbody="Words"\n'),
        (
            "a.json",
            '{"topic":"new-products","template":"launch","content":{"en":{"subject":"Kettle","body":"Words"}}}',
        ),
        ("a.md", "---\ntopic: new-products\ntemplate: launch\nsubject: Kettle\n---\nWords\n"),
    ],
)
def test_announce_from_a_file(bidden: Run, tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    made = bidden("announce", "create", str(tmp_path / name), "--json")
    assert (made.code, made.json["name"], made.json["state"]) == (0, "Kettle", "draft")


@pytest.mark.parametrize(
    "text", ["no front matter", "---\n- a list\n---\nx", "---\nnickname: x\n---\nx", "---\n: [\n---\n"]
)
def test_a_file_that_is_no_announcement(bidden: Run, tmp_path: Path, text: str) -> None:
    (tmp_path / "a.md").write_text(text)
    assert (
        bidden("announce", "create", str(tmp_path / "a.md"), "--json").json["error"]["code"] == "file_invalid"
    )


def test_post_publishes_and_prints_the_address(bidden: Run, tmp_path: Path) -> None:
    (tmp_path / "v2.md").write_text(POST)
    done = bidden("post", str(tmp_path / "v2.md"), "--json")
    assert done.code == 0, done.out + done.err
    assert done.json["url"] == "http://127.0.0.1:8000/changelog/version-2"
    assert (done.json["mail"], done.json["people"]) == (False, 0)
    twice = bidden("post", str(tmp_path / "v2.md"), "--json")
    assert (twice.code, twice.json["error"]["code"]) == (1, "already_posted")
    draft = bidden("post", str(tmp_path / "v2.md"), "--draft", "--again", "--json").json
    assert (draft["state"], draft["url"]) == ("draft", None)
    (tmp_path / "bad.md").write_bytes(b"\xff\xfe")
    assert bidden("post", str(tmp_path / "bad.md")).code == 1


def test_ledger_verify(bidden: Run) -> None:
    assert bidden("ledger", "verify", "--json").json["holds"] is True
    assert bidden("ledger", "verify", "--projection").code == 0


def test_ledger_verify_finds_what_was_written_past_it(
    bidden: Run, engine: Engine, ring: Keyring, now: datetime
) -> None:
    with transaction(engine) as session:
        make.a_person(session, ring, now=now)
        session.flush()
        session.connection().execute(update(Preference).values(cadence="weekly"))
    said = bidden("ledger", "verify", "--projection")
    assert said.code == 1
    assert "cadence" in said.out + said.err
    assert bidden("ledger", "verify").code == 0


def test_ledger_verify_says_damaged_where_a_date_is_none_any_more(
    bidden: Run, engine: Engine, ring: Keyring, now: datetime
) -> None:
    if not is_sqlite(engine):
        return  # PostgreSQL keeps dates as dates
    with transaction(engine) as session:
        make.a_person(session, ring, now=now)
        session.flush()
        session.connection().exec_driver_sql("UPDATE preference SET since_at = '2026-11-28 10:00:18.12767x'")
    said = bidden("ledger", "verify", "--projection")
    assert said.code == 1
    assert "damaged" in said.out + said.err


def test_backup_and_restore(bidden: Run, tmp_path: Path, database_url: str) -> None:
    copy = tmp_path / "copies" / "one.db"
    if not database_url.startswith("sqlite"):
        refused = bidden("db", "backup", str(copy), "--json", PATH="/nowhere")
        assert refused.json["error"]["code"] == "tool_missing"
        return
    assert bidden("db", "backup", str(copy), "--json").json["bytes"] > 100_000
    assert bidden("db", "backup", str(copy), "--json").json["error"]["code"] == "copy_there"
    assert bidden("db", "restore", str(copy), "--json").json["error"]["code"] == "database_there"
    done = bidden("db", "restore", str(copy), "--replace", "--json")
    assert done.code == 0, done.out + done.err
    assert done.json["sending_on"] is False
    assert bidden("ledger", "checkpoint").code == 0
    later = tmp_path / "copies" / "two.db"
    assert bidden("db", "backup", str(later)).code == 0
    lacking = {"BIDDEN_SAFE_DIR": str(tmp_path / "elsewhere")}
    again = ("db", "restore", str(later), "--replace")
    refused = bidden(*again, "--json", **lacking)
    assert refused.json["error"]["code"] == "withdrawals_missing"
    assert "--without-withdrawals" in refused.json["error"]["fix"]
    done = bidden(*again, "--without-withdrawals", **lacking)
    assert done.code == 0, done.out + done.err
    assert "lacked lines that the copy tells of" in done.out


def test_sending_is_switched_off_and_on(bidden: Run, engine: Engine) -> None:
    for word, on in (("off", False), ("on", True)):
        assert bidden("send", word, "--json").json == {"sending_on": on}
        with reading(engine) as session:
            assert brands.setting(session, "sending_on") is on


def test_doctor_says_what_is_wrong(bidden: Run) -> None:
    free = {"BIDDEN_LISTEN": "127.0.0.1:9", "BIDDEN_INBOX_LISTEN": "127.0.0.1:9"}
    found = bidden("doctor", "--json", **free)
    assert found.code == 1
    wrong = {one["name"]: one for one in found.json["facts"] if not one["ok"]}
    assert set(wrong) >= {"senders", "public address", "captured inbox", "postal address"}
    assert all(one["why"] and one["fix"] for one in wrong.values())


def test_a_halted_notice_goes_on_by_command(bidden: Run, engine: Engine, tmp_path: Path) -> None:
    file = tmp_path / "terms.md"
    file.write_text("---\ntitle: Terms\ntopic: important-notices\nmail: true\n---\nNew terms.\n")
    bidden("brand", "set", "default", "postal_address=Street 1, Berlin")
    made = bidden("post", str(file), "--json").json["id"]
    early = bidden("notice", "resume", made, "--json")
    assert (early.code, early.json["error"]["code"]) == (1, "wrong_state")
    with transaction(engine) as session:
        mailing = session.scalars(select(Mailing)).one()
        freeze.halt(session, mailing, "render_errors", now=clock.now())
    assert bidden("notice", "report", made).out.startswith("halted (render_errors); planned 0")
    assert "goes on" in bidden("notice", "resume", made).out
    assert bidden("notice", "cancel", made, "--json").json["mailing_state"] == "cancelled"
