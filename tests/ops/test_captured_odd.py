"""Copies of mails in the captured inbox by addresses whose letters a database may not know how to lower."""

import pytest

from service.db.session import reading, transaction
from service.inbox import Captured
from service.kit import clock
from service.ops import captured
from service.ops.house import House


@pytest.mark.parametrize("kept", ["Änne.É@example.org", "ÄNNE.É@EXAMPLE.ORG"])
def test_mails_to_an_address_with_capital_umlauts_are_forgotten(house: House, kept: str) -> None:
    mail = f"To: {kept}\r\nSubject: Hello\r\n\r\nHello\r\n".encode()
    captured.keep(house, Captured("b@example.org", kept, mail, clock.now()))
    with reading(house.engine) as session:
        assert captured.count(session, to=kept) == 1
    with transaction(house.engine) as session:
        assert captured.forget(session, ["Änne.É@example.org"]) == 1
