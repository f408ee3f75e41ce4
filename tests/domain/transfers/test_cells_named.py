"""What shows only beside what is known here is told at the file's own cell, by which it can be mended."""

from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy.engine import Engine

from service.domain.transfers import rules
from service.kit import clock
from service.kit.signing import Keyring
from service.ops import imports
from service.ops.house import House
from tests import builders as make
from tests.domain.transfers import files

NAMED = rules.Grant("new-products", "shop")
WORDS = rules.Grant("new-products", "shop", text=files.WORDS)
BOUGHT = rules.Grant("new-products", "shop", text=files.WORDS, basis="implied_purchase")


@pytest.fixture
def house(engine: Engine, ring: Keyring, tmp_path: Path) -> House:
    return make.a_house(engine, ring, tmp_path)


@pytest.mark.parametrize(
    ("header", "cell", "mended", "columns", "grant"),
    [
        ("Group there", "7", "seven", {"Group there": "attribute:plan"}, WORDS),
        ("More", '{"plan": 7}', '{"plan": "pro"}', {"More": "attributes"}, WORDS),
        ("Words", "new-products-v9-en", "new-products-v1-en", {"Words": "wording:new-products"}, NAMED),
        ("Sale", "2020-01-02", "2026-01-02", {"Sale": "since:new-products"}, BOUGHT),
        ("Pressed", "", "2026-01-02", {"Pressed": "confirmed_at"}, WORDS),
    ],
)
def test_the_cell_is_named_and_mended(
    house: House, header: str, cell: str, mended: str, columns: dict[str, str], grant: rules.Grant
) -> None:
    quoted = cell.replace('"', '""')
    content = f'email,When,{header}\nana@example.org,2024-01-02,"{quoted}"\n'.encode()
    dated = {} if {"since:new-products", "confirmed_at"} & set(columns.values()) else {"When": "agreed_at"}
    job = files.job(content, grant, columns={"email": "email", **dated, **columns}, attested=grant is BOUGHT)
    found = imports.dry_run(house, job, now=clock.now())
    assert [(one.column, one.value) for one in found.faults] == [(header, cell)]
    job = replace(job, mended={1: {header: mended}})
    assert imports.dry_run(house, job, now=clock.now()).counts.new == 1
