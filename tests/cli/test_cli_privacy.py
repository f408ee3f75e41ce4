"""`bidden privacy record`: the record of processing from the command line."""

from sqlalchemy.engine import Engine

from tests.cli.conftest import Run


def test_std_h17_the_record_is_printed_as_json_either_way(bidden: Run, engine: Engine) -> None:
    plain, program = bidden("privacy", "record"), bidden("privacy", "record", "--json")
    assert (plain.code, program.code) == (0, 0)
    assert plain.json["schema"] == program.json["schema"] == "urn:bidden:record-of-processing:1"
    assert plain.json["activities"] == program.json["activities"]
    assert plain.json["missing"]
