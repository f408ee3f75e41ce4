"""Journeys speak to a whole installation from outside: commands, HTTP and SMTP; they import nothing of the product."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.mailbox import Mailbox, mailbox
from tests.stack import Stack, free_port, stack


@dataclass
class Town:
    """An installation and the mail server of its readers."""

    house: Stack
    box: Mailbox


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    """`bidden up` on SQLite, sending to a mail server of the test's own."""
    port = free_port()
    with (
        mailbox(port) as box,
        stack(tmp_path, BIDDEN_SMTP_URL=f"smtp://127.0.0.1:{port}?starttls=never&connections=4") as house,
    ):
        house.start("up")
        house.ready()
        yield Town(house, box)
