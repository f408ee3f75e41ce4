"""`bidden suppressions`: the do-not-mail list, and what stands for one address, which is read from the standard input."""

import os

from sqlalchemy.engine import Engine
from sqlmodel import Session
from typer.testing import CliRunner

from service.cli.main import app
from service.db.session import reading, transaction
from service.domain.ledger import queries as ledger
from service.domain.suppressions import actions
from service.kit import clock
from service.kit.signing import Keyring
from tests import builders as make
from tests.cli.conftest import Run


def _put(session: Session, ring: Keyring, email: str, cause: str = "hard_bounce") -> None:
    actions.add(
        session,
        make.address_hash(ring, email),
        scope="all",
        cause=cause,
        origin="m_1",
        subject=None,
        now=clock.now(),
        by="system",
    )


def test_the_list_newest_first_with_what_would_lift_it(bidden: Run, engine: Engine, ring: Keyring) -> None:
    assert bidden("suppressions").out.strip() == "Nobody. Good."
    assert bidden("suppressions", "--json").json == {"items": [], "next": None}
    with transaction(engine) as session:
        ana = make.a_person(session, ring, now=clock.now(), email="ana@example.org").public_id
        _put(session, ring, "ana@example.org", "complaint")
        _put(session, ring, "gone@example.org")
    first = bidden("suppressions", "--limit", "1", "--json").json
    [gone] = first["items"]
    assert {key: gone[key] for key in ("person", "scope", "topic", "cause", "origin")} == {
        "person": None,
        "scope": "all",
        "topic": None,
        "cause": "hard_bounce",
        "origin": "m_1",
    }
    assert gone["lifted_by"] == "A new confirmation from that mailbox."
    second = bidden("suppressions", "--limit", "1", "--after", first["next"], "--json").json
    assert [one["person"] for one in second["items"]] == [ana]
    assert second["next"] is None
    plain = bidden("suppressions", "--cause", "complaint")
    assert ana in plain.out
    assert "They reported a mail as spam." in plain.out
    assert "gone" not in plain.out + bidden("suppressions").out
    refused = bidden("suppressions", "--cause", "boredom", "--json")
    assert (refused.code, refused.json["error"]["code"]) == (1, "cause_unknown")


def test_an_address_is_looked_up_and_the_look_is_written_down(
    bidden: Run, engine: Engine, ring: Keyring
) -> None:
    with transaction(engine) as session:
        _put(session, ring, "gone@example.org")
        _put(session, ring, "else@example.org")
    found = bidden("suppressions", "--address", "Gone@example.org", "--json").json
    assert [one["cause"] for one in found["items"]] == ["hard_bounce"]
    nothing = bidden("suppressions", "--address", "zoe@example.org")
    assert (nothing.code, nothing.out.strip()) == (0, "This address is not on the list.")
    refused = bidden("suppressions", "--address", "nonsense", "--json")
    assert (refused.code, refused.json["error"]["field"]) == (1, "address")
    with reading(engine) as session:
        [look] = ledger.of_kinds(session, ("suppression.viewed",))
        assert (look.body, look.actor) == ({"entries": [found["items"][0]["entry"]]}, "cli")


def test_an_address_is_read_from_the_standard_input_so_that_no_history_keeps_it(
    engine: Engine, ring: Keyring, environment: dict[str, str]
) -> None:
    with transaction(engine) as session:
        _put(session, ring, "gone@example.org")
    arguments = ("suppressions", "--address", "-")
    answer = CliRunner().invoke(app, arguments, env=environment, input="gone@example.org\n")
    assert answer.exit_code == 0
    assert "The mailbox does not exist" in answer.stdout


def test_a_cause_of_another_version_is_shown_as_it_is(bidden: Run, engine: Engine, ring: Keyring) -> None:
    """A restored copy takes over what its file of stops says."""
    with transaction(engine) as session:
        _put(session, ring, "gone@example.org", "weather")
    assert "weather" in bidden("suppressions").out
    [row] = bidden("suppressions", "--json").json["items"]
    assert (row["cause"], row["lifted_by"]) == ("weather", "")


def test_of_several_lines_none_is_looked_up(
    engine: Engine, ring: Keyring, environment: dict[str, str]
) -> None:
    """The first one's answer would be taken for all of them."""
    with transaction(engine) as session:
        _put(session, ring, "gone@example.org")
    several = "zoe@example.org\n" + "gone@example.org\n" * 1000
    arguments = ("suppressions", "--address", "-", "--json")
    answer = CliRunner().invoke(app, arguments, env=environment, input=several)
    assert answer.exit_code == 1
    assert '"code": "one_address"' in answer.stdout
    assert "not on the list" not in answer.stdout


def test_octets_that_are_no_text_are_refused_as_such(environment: dict[str, str]) -> None:
    arguments = ("suppressions", "--address", os.fsdecode(b"b\xfccher@example.org"), "--json")
    answer = CliRunner().invoke(app, arguments, env=environment)
    assert (answer.exit_code, '"code": "address_control_char"' in answer.stdout) == (1, True)
