"""What is kept of a server's words: an outcome is never changed nor removed, so no name that an erasure would have to take out."""

import pytest

from scheduler.work import result
from service.domain.deliveries.queries import Member
from service.mail.replies import Reply
from service.mail.transport import Outcome

TOLD = {
    "<ana.smith@example.org>: Recipient address rejected: User unknown": "<…@…>: Recipient address rejected: User unknown",
    "5.1.1 user ana.smith unknown": "5.1.1 user … unknown",
    "mailbox Ana.Smith unavailable": "mailbox … unavailable",
    "see https://example.com/why?to=ana.smith%40example.org": "see https://example.com/why?to=…%40example.org",
    "bounces+ana.smith=example.org is full": "bounces+…=example.org is full",
    "banana.smithy is no name of theirs": "banana.smithy is no name of theirs",
}


@pytest.mark.parametrize("address", ["ana.smith@example.org", "ana.smith+news@example.org"])
@pytest.mark.parametrize("said", TOLD)
def test_a_name_in_a_servers_words_is_not_kept(address: str, said: str) -> None:
    member = Member(**dict.fromkeys(Member._fields) | {"pos": 1, "attempt": 1, "address": address})
    kept = result(member, "<1@example.org>", Outcome("replied", Reply(550, "5.1.1", said), "rcpt"))
    assert kept.reply == TOLD[said]


@pytest.mark.parametrize(
    "address", ["o'brien@example.org", "a=b@example.org", "a@example.org", "ä@example.org"]
)
def test_an_odd_name_is_not_kept_either(address: str) -> None:
    member = Member(**dict.fromkeys(Member._fields) | {"pos": 1, "attempt": 1, "address": address})
    said = f"<{address}>: a mailbox nobody has"
    kept = result(member, "<1@example.org>", Outcome("replied", Reply(550, "5.1.1", said), "rcpt"))
    assert kept.reply.startswith("<…@…>: ")
