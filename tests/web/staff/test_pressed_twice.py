"""A button of the registers pressed twice: what was written down stands there once."""

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from starlette.testclient import TestClient

from service.kit import clock
from service.web.staff.breaches import MINUTE
from tests.web.staff.conftest import Office

Browser = Callable[..., TestClient]
TODAY = clock.now().date().isoformat()
FORMS = {
    "requests": {
        "right": "access",
        "who": "A reader",
        "came_on": TODAY,
        "text": "By letter: what do you hold?",
    },
    "disclosures": {
        "to": "A court",
        "made_on": TODAY,
        "scope": "The address",
        "ground": "An order",
        "document": "File 7",
        "told": "told",
    },
    "breaches": {"noticed_at": clock.now().strftime(MINUTE), "what": "A disk was left on a train"},
}
ENTRIES = {"requests": "request.received", "disclosures": "disclosure.made", "breaches": "breach.noticed"}


@pytest.mark.parametrize("register", list(FORMS))
def test_written_down_once(browser: Browser, office: Office, register: str) -> None:
    officer = browser("privacy_officer")
    form, path = FORMS[register], f"/staff/privacy/{register}/new"
    page = officer.get(path).text
    form |= {"reference": _hidden(page)}
    if approver := re.search(r'<option value="(staff:[^"]+)"', page):
        form |= {"approver": approver[1]}
    together = Barrier(2)

    def press(_: int) -> str:
        together.wait()
        answer = officer.post(path, data=form)
        assert answer.status_code == 303, answer.text
        return answer.headers["location"]

    with ThreadPoolExecutor(2) as hands:
        assert len(set(hands.map(press, range(2)))) == 1
    assert officer.post(path, data=form).status_code == 303
    kind = ENTRIES[register]
    assert officer.get(f"/staff/ledger?kind={kind}").text.count(f">{kind}</summary>") == 1
    again = form | {"reference": _hidden(officer.get(path).text)}
    assert officer.post(path, data=again).status_code == 303
    assert officer.get(f"/staff/ledger?kind={kind}").text.count(f">{kind}</summary>") == 2


def _hidden(page: str) -> str:
    found = re.search(r'name="reference" value="([^"]+)"', page)
    assert found
    return found[1]
