"""DKIM keys of a brand: two live at most, one that signs, sealed, each change one entry."""

import sqlite3
from base64 import b64encode
from datetime import datetime, timedelta

import pytest
from alembic import command
from cryptography.hazmat.primitives import serialization
from sqlalchemy import MetaData, select, text
from sqlalchemy.engine import Engine
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session

from service.db import migrate
from service.db.engine import make_engine
from service.db.session import transaction
from service.domain.brands import actions, queries, rules
from service.domain.brands.tables import DkimKey
from service.domain.ledger.actions import appended
from service.kit import sealing
from service.kit.signing import Keyring
from service.mail import dkim
from tests import checks
from tests.house.test_database import GUARDS, GUARDS_POSTGRESQL, standing_guards
from tests.mail.oracle import DER

BY = "cli"


def make(session: Session, ring: Keyring, now: datetime, selector: str | None = None) -> DkimKey:
    return actions.new_dkim_key(session, ring, "default", private=DER, selector=selector, now=now, by=BY)


def use(session: Session, selector: str, now: datetime) -> str | None:
    return actions.use_dkim_key(session, "default", selector, now=now, by=BY)


def signs(session: Session, ring: Keyring) -> str | None:
    key = queries.signing_key(session, ring, queries.default_brand(session))
    return key.selector if key else None


def test_a_key_is_published_then_signs_then_rests_then_ends(
    session: Session, ring: Keyring, now: datetime
) -> None:
    later = now + timedelta(days=90)
    assert signs(session, ring) is None
    first = make(session, ring, now)
    assert (first.selector, first.domain, first.state) == ("b20261124", "example.org", "published")
    assert signs(session, ring) is None
    assert use(session, "b20261124", now) is None
    assert signs(session, ring) == "b20261124"
    second = make(session, ring, later)
    assert signs(session, ring) == "b20261124"
    assert use(session, second.selector, later) == "b20261124"
    assert signs(session, ring) == second.selector == "b20270222"
    assert (first.state, first.ended_at, first.sealed is not None) == ("published", later, True)
    actions.retire_dkim_key(session, "default", "b20261124", now=later, by=BY)
    assert (first.state, first.sealed, first.retired_at) == ("retired", None, later)
    live = queries.live_dkim_keys(session, queries.default_brand(session))
    assert [key.selector for key in live] == ["b20270222"]


def test_each_change_is_one_entry(session: Session, ring: Keyring, now: datetime) -> None:
    make(session, ring, now, "one")
    use(session, "one", now)
    use(session, "one", now)
    make(session, ring, now, "two")
    use(session, "two", now)
    actions.retire_dkim_key(session, "default", "one", now=now, by=BY)
    actions.retire_dkim_key(session, "default", "one", now=now, by=BY)
    assert [entry.kind for entry in appended(session)] == [
        "dkim_key.created", "dkim_key.used", "dkim_key.created", "dkim_key.used", "dkim_key.retired",
    ]  # fmt: skip
    assert not any(entry.takes for entry in appended(session))
    assert '"before":"one"' in appended(session)[3].text
    assert dkim.public_text(DER) in appended(session)[0].text


def test_std_e7_two_selectors_live_at_most(session: Session, ring: Keyring, now: datetime) -> None:
    make(session, ring, now, "one")
    use(session, "one", now)
    make(session, ring, now, "two")
    with pytest.raises(rules.TwoSelectorsLive) as refused:
        make(session, ring, now, "three")
    assert refused.value.fix == "bidden brand dkim retire two default"  # never the one that signs
    actions.retire_dkim_key(session, "default", "two", now=now, by=BY)
    assert make(session, ring, now, "three").state == "published"


def test_a_selector_never_comes_back(session: Session, ring: Keyring, now: datetime) -> None:
    make(session, ring, now)
    assert make(session, ring, now).selector == "b20261124b"
    actions.retire_dkim_key(session, "default", "b20261124", now=now, by=BY)
    with pytest.raises(rules.SelectorTaken):
        make(session, ring, now, "B20261124")
    with pytest.raises(rules.SelectorRetired):
        use(session, "b20261124", now)
    with pytest.raises(rules.SelectorUnknown):
        use(session, "b2", now)


@pytest.mark.parametrize("selector", [" ", "a.b", "-a", "a-", "ä", "a b", "x" * 64, 'a"', "a;b", "a\n b"])
def test_a_selector_is_one_plain_label(session: Session, ring: Keyring, now: datetime, selector: str) -> None:
    with pytest.raises(rules.SelectorInvalid):
        make(session, ring, now, selector)


def test_selectors_of_one_day_run_out_with_a_word(now: datetime) -> None:
    taken: list[str] = []
    for _ in range(26):
        taken.append(rules.next_selector(now.date(), taken))
    assert (len(set(taken)), taken[-1]) == (26, "b20261124z")
    with pytest.raises(rules.SelectorTaken):
        rules.next_selector(now.date(), taken)


def test_the_key_that_signs_ends_only_when_unsigned_mail_is_wanted(
    session: Session, ring: Keyring, now: datetime
) -> None:
    make(session, ring, now, "one")
    use(session, "one", now)
    with pytest.raises(rules.SelectorSigns):
        actions.retire_dkim_key(session, "default", "one", now=now, by=BY)
    assert signs(session, ring) == "one"
    actions.retire_dkim_key(session, "default", "one", unsigned=True, now=now, by=BY)
    assert signs(session, ring) is None


def test_std_e4_a_key_of_another_from_domain_is_not_used(
    session: Session, ring: Keyring, now: datetime
) -> None:
    make(session, ring, now, "one")
    use(session, "one", now)
    actions.set_fields(session, "default", {"from_domain": "mail.example.org"}, now=now, by=BY)
    assert signs(session, ring) is None
    with pytest.raises(rules.SelectorOfAnotherDomain):
        use(session, "one", now)
    assert make(session, ring, now, "two").domain == "mail.example.org"
    assert use(session, "two", now) == "one"
    assert signs(session, ring) == "two"
    actions.retire_dkim_key(session, "default", "one", now=now, by=BY)
    assert make(session, ring, now, "one").domain == "mail.example.org"  # the same word under another domain
    assert use(session, "one", now) == "two"


def test_std_e7_the_database_alone_cannot_sign(session: Session, ring: Keyring, now: datetime) -> None:
    row = make(session, ring, now, "one")
    use(session, "one", now)
    assert row.sealed is not None
    assert DER[40:80] not in row.sealed
    for kind in (serialization.load_der_private_key, serialization.load_pem_private_key):
        with pytest.raises(ValueError):
            kind(row.sealed, None)
    thief = Keyring({1: b"x" * 32}, ring.installation)
    with pytest.raises(sealing.Unsealable):
        queries.opened(thief.house_key, row.domain, row.selector, row.sealed)
    assert queries.signing_key(session, thief, queries.default_brand(session)) is None
    with pytest.raises(sealing.Unsealable):  # moved to another row
        queries.opened(ring.house_key, row.domain, "two", row.sealed)
    opened = queries.opened(ring.house_key, row.domain, row.selector, row.sealed)
    assert opened.private.private_numbers() == dkim.open_private_key(DER).private_numbers()


def test_std_e7_no_file_of_the_database_holds_the_key(
    engine: Engine, ring: Keyring, now: datetime, database_url: str
) -> None:
    with transaction(engine) as session:
        make(session, ring, now, "one")
        use(session, "one", now)
    with engine.connect() as connection:
        tables = connection.execute(text("SELECT * FROM dkim_key")).mappings().all()
        entries = connection.execute(text("SELECT entry FROM ledger_entry")).scalars().all()
    parts = (DER[400:430], DER[-40:-10])  # of the private exponent and of the coefficient
    for row in tables:
        assert not any(part in bytes(row["sealed"]) for part in parts)
    for entry in entries:
        assert not any(part.hex() in entry or b64encode(part).decode() in entry for part in parts)
    if database_url.startswith("sqlite"):
        file = sqlite3.connect(database_url.removeprefix("sqlite:///"))
        dump = file.serialize()
        file.close()
        assert not any(part in dump for part in parts)


def test_the_opened_key_is_kept_for_the_next_batch(session: Session, ring: Keyring, now: datetime) -> None:
    make(session, ring, now, "one")
    use(session, "one", now)
    brand = queries.default_brand(session)
    assert queries.signing_key(session, ring, brand) is queries.signing_key(session, ring, brand)


def test_the_database_itself_refuses_two_that_sign(engine: Engine, ring: Keyring, now: datetime) -> None:
    with transaction(engine) as session:
        make(session, ring, now, "one")
        make(session, ring, now, "two")
        use(session, "one", now)
    with (
        pytest.raises(IntegrityError),
        engine.execution_options(write=True).begin() as connection,
    ):
        connection.execute(text("UPDATE dkim_key SET state = 'signing'"))


def copy_seeds(source: Engine, target: Engine) -> None:
    """What an installation begins with, as far as the older shape has columns for it."""
    new, old = MetaData(), MetaData()
    new.reflect(source)
    old.reflect(target)
    with source.connect() as there, target.execution_options(write=True).begin() as here:
        for table in old.sorted_tables:
            known = [column.name for column in table.columns]
            columns = [new.tables[table.name].c[name] for name in known]
            rows = [row._asdict() for row in there.execute(select(*columns).order_by(columns[0]))]
            if rows and table.name != "alembic_version":
                here.execute(table.insert(), rows)


def test_an_installation_of_the_first_shape_is_brought_up(
    request: pytest.FixtureRequest, ring: Keyring, now: datetime, template: str, tmp_path: object
) -> None:
    """From the first migration with its seeds to the newest: the tables agree, the chain holds, keys can be made."""
    sqlite = template.startswith("sqlite")
    url = f"sqlite:///{tmp_path}/old.db" if sqlite else request.getfixturevalue("postgres_database")
    engine = make_engine(url)
    try:
        config = migrate._config()
        with engine.execution_options(write=True).begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "0001")
        copy_seeds(request.getfixturevalue("engine"), engine)
        assert migrate.shape(engine) == "older"
        assert migrate.drift(engine) != []
        migrate.upgrade(engine)
        assert migrate.shape(engine) == "expected"
        assert migrate.drift(engine) == []
        assert standing_guards(engine) == (GUARDS if sqlite else GUARDS_POSTGRESQL)
        with transaction(engine) as session:
            make(session, ring, now, "one")
            use(session, "one", now)
            assert signs(session, ring) == "one"
        assert checks.chain(engine) == []
    finally:
        engine.dispose()
