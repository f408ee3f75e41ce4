"""`bidden prove` of somebody who was merged: what they had said under their former registration is proven too."""

import json
from datetime import timedelta
from pathlib import Path

from sqlalchemy.engine import Engine

from service.db.session import transaction
from service.domain.people import mailbox
from service.domain.people import queries as people
from service.kit import clock
from service.kit.signing import Keyring, load_or_make
from tests import builders as make
from tests.cli.conftest import Run
from tests.cli.test_cli_ledger import read


def _merged(engine: Engine, ring: Keyring) -> tuple[str, str]:
    """Somebody who agreed at another mailbox, found today to be one with somebody else."""
    now = clock.now()
    with transaction(engine) as session:
        ana = make.a_person(session, ring, "ana@example.org", now=now - timedelta(days=9))
        ben = make.a_person(session, ring, "ben@example.org", external_id="b", now=now - timedelta(days=5))
        names = ana.public_id, ben.public_id
        known = mailbox.Known(ben, None, None, people.person_key(ring, ben))  # type: ignore[arg-type]
        mailbox.merge(session, ring, known, ana, now=now - timedelta(days=1), by="person")
    return names


def test_what_was_said_before_a_merge_is_proven(bidden: Run, engine: Engine, tmp_path: Path) -> None:
    key = bidden("ledger", "checkpoint", "--key").out.strip()
    ana, ben = _merged(engine, load_or_make(tmp_path / "secret.key"))
    day = (clock.now() - timedelta(days=3)).date().isoformat()
    before, today = bidden("prove", ben, "--on", day).json, bidden("prove", ben).json
    for file, permits in ((before, True), (today, False)):
        assert file["person"] == ana
        [one] = file["merged"]
        assert one["person"] == ben
        assert {row["permits"] for row in one["standing"]} == {permits}
        given = [event for event in one["events"] if event["kind"] == "consent.given"]
        assert given
        assert all(event["evidence"] for event in given)
        kept = tmp_path / "file.json"
        kept.write_text(json.dumps(file))
        code, said = read(kept, key)
        assert (code, said["fault"]) == (0, None)
        given[0]["at"] = "2020-01-01T00:00:00+00:00"
        kept.write_text(json.dumps(file))
        assert read(kept, key)[1]["fault"] == "retold_differs"
