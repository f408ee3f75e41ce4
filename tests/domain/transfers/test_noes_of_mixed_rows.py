"""A row that says yes to one topic and no to another: whatever becomes of its yes, its no is said (P7)."""

from pathlib import Path

import pytest
from sqlalchemy.engine import Engine

from service.domain.transfers import rules
from service.kit.signing import Keyring
from service.ops.house import House
from tests import builders as make
from tests.domain.transfers import files
from tests.domain.transfers.test_imports import holds, states

HEAD = "email,id,new-products state,updates state\n"
BOTH = tuple(
    rules.Grant(slug, "shop", text=files.WORDS, on="2024-01-02", basis=rules.LEGACY)
    for slug in ("new-products", "updates")
)


@pytest.fixture
def house(engine: Engine, ring: Keyring, tmp_path: Path) -> House:
    return make.a_house(engine, ring, tmp_path)


def imported(house: House, *rows: str) -> files.Tried:
    done = files.imported(house, files.job((HEAD + "\n".join(rows)).encode(), *BOTH))
    assert done.examined.counts.as_json() == done.row.counts
    return done


def test_p7_the_no_is_said_though_the_yes_beside_it_is_kept_out(house: House) -> None:
    imported(house, "ana@example.org,1,given,given")
    imported(house, "ana@example.org,1,withdrawn,given")
    done = imported(house, "ana@example.org,1,given,unsubscribed")
    assert done.counts == {"noes": {"no": 1}, "left_out": {"kept_no:new-products": 1}}
    assert (states(house), states(house, slug="updates")) == (["withdrawn"], ["withdrawn"])
    again = imported(house, "", "ana@example.org,1,given,unsubscribed")
    assert again.counts == {"unchanged": 1, "left_out": {"kept_no:new-products": 1}}
    holds(house)


def test_p7_the_no_is_said_though_the_id_is_known_with_another_address(house: House) -> None:
    imported(house, "ana@example.org,1,given,given", "ben@example.org,2,given,given")
    assert imported(house, "ana@example.org,2,given,unsubscribed").counts == {"noes": {"no": 1}}
    assert states(house, slug="updates") == ["withdrawn"]
    assert states(house) == ["given"]
    assert states(house, "ben@example.org", "updates") == ["given"]


def test_a_graver_no_than_the_one_that_stands_is_foretold(house: House) -> None:
    def told(word: str) -> dict[str, object]:
        done = files.imported(house, files.job(f"email,status\nana@example.org,{word}\n".encode(), *BOTH))
        assert done.examined.counts.as_json() == done.row.counts
        return done.counts

    assert told("unsubscribed") == {"noes": {"no": 1}}
    assert told("blocklisted") == {"noes": {"stopped": 1}}
    assert told("blocked") == {"unchanged": 1}
