"""A yes to words of another system stands on those: the record does not go on naming ours, which its owner was asked by before."""

from pathlib import Path

from sqlalchemy.engine import Engine
from sqlmodel import select

from service.db.session import reading, transaction
from service.domain.consent.tables import Consent
from service.kit import clock
from service.kit.signing import load_or_make
from tests import builders as make
from tests.cli.conftest import Run
from tests.cli.test_cli_people import PROOF, a_file
from tests.domain.transfers import files


def test_a_yes_that_an_import_brings_rests_on_no_words_of_ours(
    bidden: Run, engine: Engine, tmp_path: Path
) -> None:
    bidden("ledger", "checkpoint")
    with transaction(engine) as session:
        ring, now = load_or_make(tmp_path / "secret.key"), clock.now()
        make.a_person(session, ring, "ana@example.org", yes=("updates",), now=now)
        answer = make.an_answer("new-products", at=now)
        make.register(session, ring, "ana@example.org", [answer], now=now)
        topic = make.the_topic(session, "new-products").id
    with reading(engine) as session:
        [record] = session.exec(select(Consent).where(Consent.topic_id == topic)).all()
        assert record.wording_id is not None, "asked before our words"
    bidden("people", "import", a_file(tmp_path, files.MAILCHIMP), *PROOF, "--confirmed", "--json")
    with reading(engine) as session:
        person = session.get_one(make.Person, record.person_id)
        assert make.the_state(session, person, "new-products") == "given"
        [now_kept] = session.exec(
            select(Consent).where(Consent.topic_id == topic, Consent.person_id == record.person_id)
        ).all()
        assert (now_kept.wording_id, now_kept.policy_version_id) == (None, None)
