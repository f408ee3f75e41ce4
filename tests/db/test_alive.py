"""Each side of a connection to PostgreSQL finds out soon that the other is gone (F25)."""

from typing import Any

import psycopg
import pytest
from sqlalchemy import event

from service.db.engine import GONE, make_engine


def _asked_for(url: str) -> dict[str, Any]:
    """What the driver would be given; it is never asked."""
    seen: dict[str, Any] = {}

    def note(dialect: Any, record: Any, positional: Any, named: dict[str, Any]) -> None:
        seen.update(named)
        raise psycopg.OperationalError("enough")

    engine = make_engine(url)
    event.listen(engine, "do_connect", note)
    with pytest.raises(psycopg.OperationalError):
        engine.raw_connection()
    engine.dispose()
    return seen


def test_rel_f25_we_look_whether_the_server_is_there() -> None:
    given = _asked_for("postgresql+psycopg://bidden@db.example.org/bidden")
    assert given["tcp_user_timeout"] == GONE * 1000
    assert given["keepalives_idle"] + given["keepalives_interval"] * given["keepalives_count"] == GONE
    assert "options" not in given, "poolers refuse what they do not know"


def test_what_the_url_says_itself_comes_first() -> None:
    given = _asked_for("postgresql+psycopg://bidden@db.example.org/bidden?connect_timeout=30")
    assert given["connect_timeout"] == "30"


def test_rel_f25_the_server_looks_whether_we_are_there(postgres_url: str) -> None:
    """Over TCP; a Unix socket says 0, which is its way to say that there is nothing to look after."""
    engine = make_engine(postgres_url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.connect() as connection:
        local = connection.exec_driver_sql("SELECT inet_client_addr() IS NULL").scalar()
        shown = {
            name: connection.exec_driver_sql(f"SHOW {name}").scalar()
            for name in ("tcp_user_timeout", "tcp_keepalives_idle", "lock_timeout")
        }
    engine.dispose()
    assert shown["lock_timeout"] == "5s"
    assert (shown["tcp_user_timeout"], shown["tcp_keepalives_idle"]) == (("0", "0") if local else ("4s", "2"))


def test_what_is_answered_is_on_the_disk_however_the_server_is_set(postgres_url: str) -> None:
    """The suite's own server is told not to wait for it; a stricter word than ours stays."""
    engine = make_engine(postgres_url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SHOW synchronous_commit").scalar() == "on"
    engine.dispose()
    stricter = "options=-c%20synchronous_commit%3Dremote_apply"
    url = postgres_url.replace("postgresql://", "postgresql+psycopg://")
    engine = make_engine(f"{url}{'&' if '?' in url else '?'}{stricter}")
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SHOW synchronous_commit").scalar() == "remote_apply"
    engine.dispose()
