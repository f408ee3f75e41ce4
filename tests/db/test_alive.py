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


def test_rel_f25_both_sides_look_whether_the_other_is_there() -> None:
    given = _asked_for("postgresql+psycopg://bidden@db.example.org/bidden")
    assert given["tcp_user_timeout"] == GONE * 1000
    assert given["keepalives_idle"] + given["keepalives_interval"] * given["keepalives_count"] == GONE
    assert f"-c tcp_user_timeout={GONE * 1000}" in given["options"]
    assert "-c tcp_keepalives_idle=2" in given["options"]


def test_what_the_url_says_itself_comes_first() -> None:
    given = _asked_for(
        "postgresql+psycopg://bidden@db.example.org/bidden?connect_timeout=30&options=-csearch_path=x"
    )
    assert given["connect_timeout"] == "30"
    assert given["options"] == "-csearch_path=x"
