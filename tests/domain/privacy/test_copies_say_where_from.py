"""The copy says which address a message came from: it is held with it, and may be none of those mail goes to."""

import json
from datetime import datetime

from sqlmodel import Session

from service.domain.privacy import actions, copies, requests
from service.kit import addresses
from service.kit.signing import Keyring
from tests import builders as make
from tests.domain.privacy.schemas import faults, published


def test_std_h9_a_message_from_elsewhere_says_its_address(
    session: Session, ring: Keyring, now: datetime
) -> None:
    ana = make.a_person(session, ring, now=now)
    for sender in ("ana@example.org", "office@example.org"):
        message = actions.ask(
            session, ring, address=addresses.parse(sender), name="Ana", subject="data", text=f"I am {sender}.",
            locale="en", now=now,
        )  # fmt: skip
    row = requests.receive(
        session,
        ring,
        right="access",
        door="form",
        came_on=now.date(),
        contact=message,
        now=now,
        by=make.STAFF,
    )
    requests.belongs_to(session, row.public_id, ana, now=now, by=make.STAFF)
    found = json.loads(json.dumps(copies.access_copy(session, ring, ana, now=now)))
    assert faults(published("access-copy"), found) == []
    assert [one["from"] for one in found["messages"]] == ["ana@example.org", "office@example.org"]
