"""A sender needs no room for temporary files (F18): what one of its statements sets aside stays in memory."""

from sqlalchemy.engine import Engine

from service.db.engine import is_sqlite, spare_temporary_files


def kept_in_memory(engine: Engine) -> bool:
    with engine.connect() as connection:
        return bool(connection.exec_driver_sql("PRAGMA temp_store").scalar_one() == 2)


def test_what_is_set_aside_stays_in_memory_from_then_on(engine: Engine) -> None:
    if not is_sqlite(engine):
        spare_temporary_files(engine)  # its server has temporary files of its own
        return
    assert not kept_in_memory(engine)
    spare_temporary_files(engine)
    assert kept_in_memory(engine)
