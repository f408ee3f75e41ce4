"""A form of the registers that is sent once more: pressed twice it is one thing, filled in anew (after the browser's way back) another."""

import re
from collections.abc import Callable

import pytest
from sqlmodel import col, select
from starlette.testclient import TestClient

from service.db.session import reading
from service.domain.privacy import disclosures, queries
from service.domain.privacy.tables import RightsRequest
from service.kit import clock
from tests.domain.privacy.test_disclosures import GIVEN
from tests.web.staff.conftest import Office

Browser = Callable[..., TestClient]
HERE = "/staff/privacy"


def _request(office: Office) -> dict[str, str]:
    day = clock.now().date().isoformat()
    return {"right": "access", "who": "Ana Ruiz, by letter", "came_on": day, "text": "A copy, please."}


def _disclosure(office: Office) -> dict[str, str]:
    approver, day = f"staff:{office.ids['admin']}", clock.now().date().isoformat()
    return {**GIVEN, "made_on": day, "people": "", "approver": approver, "told": "told"}


def _breach(office: Office) -> dict[str, str]:
    return {"noticed_at": clock.now().strftime("%Y-%m-%dT%H:%M"), "what": "A disk was left on a train"}


def _count(office: Office, what: str) -> int:
    with reading(office.world.house.engine) as session:
        if what == "requests":
            return len(session.exec(select(RightsRequest).order_by(col(RightsRequest.id))).all())
        if what == "breaches":
            return len(queries.breaches(session))
        return len(disclosures.register(session))


@pytest.mark.parametrize(
    ("what", "given", "other"),
    [
        ("requests", _request, {"text": "Another letter altogether."}),
        ("requests", _request, {"right": "erasure"}),
        ("disclosures", _disclosure, {"to": "Tax office"}),
        ("breaches", _breach, {"what": "A laptop was stolen"}),
    ],
)
def test_filled_in_anew_it_is_another_and_is_not_lost(
    browser: Browser,
    office: Office,
    what: str,
    given: Callable[[Office], dict[str, str]],
    other: dict[str, str],
) -> None:
    officer, path = browser("privacy_officer"), f"{HERE}/{what}/new"
    form = given(office) | {"reference": _reference(officer.get(path).text)}
    for _ in range(2):
        assert officer.post(path, data=form).status_code == 303
    assert _count(office, what) == 1
    anew = officer.post(path, data=form | other)
    assert anew.status_code == 409
    assert "was sent before, with something else in it" in anew.text
    assert next(iter(other.values())) in anew.text
    assert _count(office, what) == 1
    again = form | other | {"reference": _reference(anew.text)}
    assert again["reference"] != form["reference"]
    for _ in range(2):
        assert officer.post(path, data=again).status_code == 303
    assert _count(office, what) == 2


def _reference(page: str) -> str:
    found = re.search(r'name="reference" value="([^"]+)"', page)
    assert found
    return found[1]
