"""An opt-out of commercial mail is done by the act that ends all advertising: nobody has to close it by hand, ten days late."""

from datetime import datetime

import pytest
from sqlmodel import Session

from service.domain.privacy import requests
from service.kit.signing import Keyring
from tests import builders as make


def test_no_advertising_closes_an_opt_out_too(session: Session, ring: Keyring, now: datetime) -> None:
    ana = make.a_person(session, ring, now=now)
    given = {"door": "staff", "who": "Ana", "text": "No more offers.", "person": ana, "by": make.STAFF}
    asked = [
        requests.receive(session, ring, right=right, came_on=now.date(), now=now, **given)  # type: ignore[arg-type]
        for right in ("opt_out", "objection", "objection_other")
    ]
    requests.fulfilled(session, ana, "objection", door="staff", now=now, by=make.STAFF)
    assert [one.outcome for one in asked] == ["done", "done", ""]


@pytest.mark.parametrize("right", ["restriction", "access"])
def test_nothing_else_does(session: Session, ring: Keyring, now: datetime, right: str) -> None:
    ana = make.a_person(session, ring, now=now)
    row = requests.receive(
        session, ring, right="opt_out", door="staff", came_on=now.date(), person=ana, who="Ana",
        text="No more offers.", now=now, by=make.STAFF,
    )  # fmt: skip
    requests.fulfilled(session, ana, right, door="staff", now=now, by=make.STAFF)
    assert row.closed_at is None
