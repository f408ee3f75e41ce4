"""Nobody's data where it does not belong (P6): people whose every field is a word found nowhere else, and everything that can go
wrong going wrong around them. The words must not stand in a log, in an answer that refuses, in a metric or in a redirect."""

import re
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import create_engine, text

from tests.journeys.test_api_journey import send_announcement, yes
from tests.mailbox import Mailbox, mailbox
from tests.stack import Stack, free_port, stack, until

pytestmark = pytest.mark.journey
ODD = (
    "/u/{}",
    "/p/{}",
    "/why/{}",
    "/confirm/{}",
    "/me/enter/{}",
    "/staff/start/{}",
    "/media/{}.png",
    "/policies/{}",
    "/changelog/{}",
    "/{}",
)
FIELDS = re.compile(r'(?<=value=")[^"]*|(?<=>)[^<]*(?=</textarea>)')


@dataclass
class Street:
    """An installation in which the words are, and everything that came out of it where they may not be."""

    house: Stack
    box: Mailbox
    words: list[str] = field(default_factory=list)
    said: dict[str, str] = field(default_factory=dict)  # where → what it said

    def word(self, kind: str) -> str:
        """A word that stands nowhere else, and is looked for from now on."""
        self.words.append(f"canary{kind}{secrets.token_hex(6)}")
        return self.words[-1]

    def number(self) -> str:
        """The same of digits."""
        self.words.append(f"{secrets.randbelow(9 * 10**11) + 10**11}")
        return self.words[-1]

    def heard(self, where: str, answer: httpx2.Response) -> httpx2.Response:
        """An answer: what refuses may hold no word, nor may any head."""
        self.said[f"{where}, head"] = "\n".join(f"{name}: {value}" for name, value in answer.headers.items())
        if answer.status_code >= 400:
            # A form that is shown again keeps what its reader typed, in its fields alone.
            self.said[f"{where}, {answer.status_code}"] = FIELDS.sub("", answer.text)
        return answer

    def refused(self, where: str, answer: httpx2.Response, *statuses: int) -> None:
        """The same of one that has to refuse, with one of these codes."""
        assert self.heard(where, answer).status_code in statuses, f"{where}: {answer.status_code}"

    def found(self) -> dict[str, list[str]]:
        """Where which words stand that may not: word → places."""
        said = dict(self.said)
        for path in self.house.directory.glob("*.log"):
            said[path.name] = path.read_text()
        said["metrics"] = httpx2.get(f"{self.house.base_url}/metrics").text
        return {
            word: where
            for word in self.words
            if (where := [name for name, text in said.items() if word in text.lower()])
        }


@pytest.fixture(params=["sqlite", "postgres"])
def street(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Street]:
    """Every process, each with a log of its own that keeps all it can say."""
    more = {"BIDDEN_LOG_LEVEL": "DEBUG"}
    if request.param == "postgres":
        make: Callable[[], str] = request.getfixturevalue("new_postgres_database")
        more["BIDDEN_DATABASE_URL"] = make()
    port = free_port()
    with (
        mailbox(port) as box,
        stack(tmp_path, BIDDEN_SMTP_URL=f"smtp://127.0.0.1:{port}?starttls=never", **more) as house,
    ):
        for process in ("web", "clock", "send"):
            house.start(process)
        house.ready()
        yield Street(house, box)


def _registered(street: Street, client: httpx2.Client, *, reply: str = "") -> dict[str, Any]:
    """Somebody all of whose fields are words; `reply`: what their mail server answers to RCPT, with their address."""
    word = street.word
    person: dict[str, Any] = {
        "email": f"{word('local')}@{word('domain')}.example.org",
        "external": word("external"),
        "profile": {
            "first_name": word("first"), "last_name": word("last"), "company": word("company"),
            "postal_address": word("street"), "telephone": f"+49 30 {street.number()}",
        },
        "attributes": {"plan": word("plan")},
        "consents": [yes("new-products")],
    }  # fmt: skip
    sent_as = {name: value for name, value in person.items() if name != "external"}
    street.heard("registration", client.put(f"/people/{person['external']}", json=sent_as)).raise_for_status()
    if reply:
        street.box.refuse[person["email"]] = reply.format(person["email"])
    return person


def _wrong_over_the_api(street: Street, client: httpx2.Client, person: dict[str, Any]) -> None:
    """400, 401, 404, 409, 413, 422, each with words in what was sent."""
    word, path = street.word, f"/people/{person['external']}"
    mail = person["email"]
    refused = street.refused
    refused(
        "no JSON", client.put(path, content=f'{{"email": "{mail}", "profile": {word("broken")}'), 400, 422
    )
    refused("no UTF-8", client.put(path, content=f'{{"email": "{mail}\xff"}}'.encode("latin-1")), 400, 422)
    refused("nobody", client.get(f"/people/{word('nobody')}"), 404)
    refused("no such place", client.get(f"/{word('place')}/{mail}"), 404)
    refused("two signs", client.put(path, json={"email": f"{word('two')}@@example.org"}), 422)
    refused(
        "a line break", client.put(path, json={"email": f"{word('line')}\r\nRCPT TO:<x@example.org>"}), 422
    )
    refused("an unknown field", client.put(path, json={"email": mail, "shoe_size": word("value")}), 422)
    refused("a wrong kind", client.put(path, json={"email": mail, "profile": [word("listed")]}), 422)
    refused("an unknown topic", client.put(path, json={"email": mail, "consents": [yes(word("topic"))]}), 422)
    evidence = {"source": word("source"), "evidence": {"at": word("at"), "url": f"javascript:{word('url')}"}}
    said = {"topic": "new-products", "given": True, **evidence}
    refused("evidence of nothing", client.put(path, json={"email": mail, "consents": [said]}), 422)
    refused(
        "too much",
        client.put(path, json={"email": mail, "profile": {"company": word("much") * 40_000}}),
        413,
        422,
    )
    lines = (
        f'{{"external_id": "{word("bulk")}", "email": "{word("bulkmail")}"}}\nno json {word("bulkline")}\n'
    )
    bulk = client.post("/people/bulk", content=lines, headers={"Content-Type": "application/x-ndjson"})
    street.heard("bulk", bulk)
    stranger = httpx2.get(f"{client.base_url}people", headers={"Authorization": f"Bearer bk_{word('key')}"})
    refused("a wrong key", stranger, 401, 403, 404)
    refused(
        "a wrong order", client.get("/deliveries", params={"order": word("order"), "email": mail}), 404, 422
    )


def _wrong_on_pages(street: Street, person: dict[str, Any]) -> None:
    """Pages that are not there, forms that cannot be taken, links somebody has cut; with words in path, query and head."""
    word, mail = street.word, person["email"]
    head = {
        "User-Agent": word("agent"),
        "Referer": f"https://example.org/{word('referrer')}",
        "Cookie": f"bidden-me={word('cookie')}",
    }
    with httpx2.Client(base_url=street.house.base_url, headers=head) as visitor:
        for path in ODD:
            street.refused(
                path,
                visitor.get(path.format(word("path")), params={"q": word("query"), "email": mail}),
                404,
                409,
                303,
            )
        for path in ("/join", "/contact", "/lost-link", "/me/sign-in", "/staff/login"):
            form = {
                "email": f"{word('form')}@",
                "name": word("name"),
                "message": word("message"),
                "password": word("password"),
            }
            street.heard(f"form {path}", visitor.post(path, data=form))
            street.heard(
                f"form {path} of a stranger", httpx2.post(f"{street.house.base_url}{path}", data=form)
            )
        street.heard("host", visitor.get("/", headers={"Host": f"{word('host')}.example.org"}))
        street.heard(
            "origin", visitor.post("/contact", headers={"Origin": f"https://{word('origin')}.example.org"})
        )


def _refused_by_mail_servers(street: Street, client: httpx2.Client) -> None:
    """A mailbox that is not there, one that is full, one whose server is cross: each names the reader in its words."""
    word = street.word
    for reply in (
        f"550 5.1.1 <{{}}>: Recipient rejected, no such user {word('said')}",
        f"452 4.2.2 {{}} is over quota, see https://example.org/{word('quota')}",
        f"554 5.7.1 Mail to {{}} refused as spam, ticket {word('spam')}",
    ):
        _registered(street, client, reply=reply)
    for _ in range(2):
        _registered(street, client)
    announcement = send_announcement(client)
    path = f"/announcements/{announcement}/report"
    until("the others' mails", lambda: client.get(path).json()["outcomes"].get("sent", 0) >= 2)
    [mail] = {str(one["List-Unsubscribe"]) for one in street.box.to(_registered_addresses(street)[-1])}
    street.words.append(mail.strip("<>").rpartition("/")[2])  # the link itself is theirs alone
    page = street.heard("the link", httpx2.get(mail.strip("<>")))
    assert (
        page.headers["Referrer-Policy"] == "no-referrer"
    )  # no other site is told where its reader came from
    street.heard("the stop", httpx2.post(mail.strip("<>"), data={"List-Unsubscribe": "One-Click"}))


def _registered_addresses(street: Street) -> list[str]:
    return [rcpt for rcpt, _ in street.box.raw]


BREAKING = {
    # What a person's row, an attribute, a batch may not become any more: the database's own words then name the values.
    "sqlite": [
        "CREATE TRIGGER canary_identity BEFORE INSERT ON identity BEGIN SELECT RAISE(ABORT, 'no such reader'); END",
        "CREATE TRIGGER canary_batch BEFORE UPDATE ON batch BEGIN SELECT RAISE(ABORT, 'no such batch'); END",
    ],
    "postgresql": [
        "ALTER TABLE identity ADD CONSTRAINT canary_identity CHECK (id < 0) NOT VALID",
        "ALTER TABLE person_attribute ADD CONSTRAINT canary_attribute CHECK (person_id < 0) NOT VALID",
        "ALTER TABLE batch ADD CONSTRAINT canary_batch CHECK (state <> 'claimed') NOT VALID",
    ],
}


def _broken_inside(street: Street, client: httpx2.Client, person: dict[str, Any], tmp_path: Path) -> None:
    """The database refuses rows: 500 from API and pages, a command and a sender end with a traceback."""
    word, house = street.word, street.house
    url = house.environment.get("BIDDEN_DATABASE_URL") or f"sqlite:///{house.directory}/data/bidden.db"
    _registered(street, client)
    engine = create_engine(url)
    with engine.begin() as connection:
        for statement in BREAKING[engine.dialect.name]:
            connection.execute(text(statement))
    engine.dispose()
    said = {
        "email": f"{word('late')}@example.org",
        "profile": {"first_name": word("latename")},
        "attributes": {"plan": word("lateplan")},
    }
    street.refused("the database refuses", client.put(f"/people/{word('lateid')}", json=said), 500, 503)
    shown = httpx2.get(f"{house.base_url}/join").text
    joining = dict(re.findall(r'type="hidden" name="([^"]+)" value="([^"]*)"', shown))
    joining |= {
        "email": f"{word('join')}@example.org",
        "first_name": word("joinname"),
        "topic": "new-products",
    }
    street.refused("a page", httpx2.post(f"{house.base_url}/join", data=joining), 500, 503)
    table = tmp_path / "readers.csv"
    row = f"{word('row')}@example.org,{word('rowname')},{word('rowid')},{word('rowplan')}"
    table.write_text(f"email,first_name,external_id,plan\n{row}\n")
    street.said["import"] = house.run("people", "import", str(table), "--source", "shop", refused=True)
    assert "Traceback" in street.said["import"]
    send_announcement(client)  # nobody can claim it any more: the sender ends for good
    sender = house.processes[2]
    until("the sender's end", lambda: sender.poll() is not None, 90)
    assert "Traceback" in (house.directory / "send-2.log").read_text()


def test_no_word_of_a_reader_gets_out(street: Street, tmp_path: Path) -> None:
    with street.house.client() as client:
        person = _registered(street, client)
        _wrong_over_the_api(street, client, person)
        _wrong_on_pages(street, person)
        _refused_by_mail_servers(street, client)
        _broken_inside(street, client, person, tmp_path)
    assert len(street.words) > 90
    assert street.found() == {}

    # The same eyes see red: a line as a careless hand writes it, an answer that repeats what was sent.
    word = street.words[0]
    (street.house.directory / "careless.log").write_text(f"could not write to {word.upper()}\n")
    street.said["answer"] = word
    assert street.found() == {word: ["answer", "careless.log"]}
