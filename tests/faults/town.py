"""What a fault run plays in: one installation in processes, a mail server per trial, and the evidence of each mailing.

Web and clock run from trial to trial; every trial has people, a mailing, a sink and senders of its own. Everything goes through
commands, the API and SMTP on loopback; nothing of the product is imported. Only processes started here are ever killed.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx2

from tests.faults import checker
from tests.stack import Stack, free_port, until

Process = subprocess.Popen[bytes]
CONNECTIONS = 8
SERVICE_TIME = ("--delay", "0.002")  # how long the mail server takes for a message
SLOWLY = ("--delay", "0.05")  # 240 messages in a second and a half
PEOPLE = 240
BULK = 2_000  # people signed up by one request
SERVICE = "service"  # the module that is started; a sabotage run starts another
SUPERVISED = 0.5  # seconds after which a supervisor starts again what died
NEVER = 90.0  # seconds after which a mailing counts as one that never ends
TOPICS = {"marketing": "new-products", "important": "important-notices"}
WORDS = {
    "preheader": "A plan for the week.",
    "body": "Dear {{ first_name|default('reader') }},\n\nit is **here**.",
}


@dataclass
class Mailing:
    """One trial's mailing with all that was seen of it."""

    kind: str
    people: dict[str, str]  # address → external id
    log: Path
    port: int
    plans: list[str]  # the values of the attribute that its audience has
    fsync: bool = True  # whether the sink's log outlives the sink's own death
    path: str = ""
    sink: Process | None = None
    said: list[dict[str, Any]] = field(default_factory=list)
    journals: list[bytes] = field(default_factory=list)
    deaths: list[float] = field(default_factory=list)
    cuts: int = 0

    def lines(self) -> list[dict[str, Any]]:
        """What the sink has seen so far."""
        return checker.read_lines(self.log)

    def recoveries(self) -> list[float]:
        """Seconds from each death to the next message, where one came."""
        began = sorted(line["t_mail"] for line in self.lines())
        # What lay in the sink's buffers is read after the death, too; nobody is started again before SUPERVISED.
        nexts = [next((moment for moment in began if moment > death + 0.4), None) for death in self.deaths]
        return [after - death for after, death in zip(nexts, self.deaths, strict=True) if after is not None]


class Town:
    """One installation and its processes."""

    def __init__(
        self,
        directory: Path,
        database_url: str = "",
        *,
        sender: str = SERVICE,
        web: str = SERVICE,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        environment = {"BIDDEN_DATABASE_URL": database_url} if database_url else {}
        self.stack = Stack(directory, BIDDEN_HOLD_SECONDS="0", **environment)
        self.stack.environment["BIDDEN_SMTP_URL"] = "smtp://127.0.0.1:9"  # set anew by each trial
        self.journals = directory / "data" / "journal"
        self.logs = directory  # where processes say what they say
        self.words: dict[int, Path] = {}
        self.beside: list[Any] = []  # what else trials made for this town and closes with it
        self.modules = {"send": sender, "web": web}
        # What a process of that name (`web`, `clock`, a sender's) alone is given.
        self.apart: dict[str, dict[str, str]] = {}
        self.trials = self.started = 0
        self.running: list[Process] = []
        self.ledger: list[dict[str, Any]] = []
        self.cursor: str | None = None
        self.stack.prepare()
        self.http = self.stack.client()
        self.clock = self.start("clock")
        self.web = self.start("web")
        self.ready()

    # Processes

    def start(
        self, *arguments: str, failpoint: str = "", under: Sequence[str] = (), **environment: str
    ) -> Process:
        """A process of the installation, made to die at a failpoint if one is named; `under` a command in front of it."""
        self.started += 1
        module = self.modules.get(arguments[0], SERVICE)
        given = self.stack.environment | self.apart.get(arguments[-1], {}) | environment
        given |= {"BIDDEN_FAILPOINT": failpoint} if failpoint else {}
        command = [*under, sys.executable, "-m", module, *arguments]
        path = self.logs / f"{self.started:03d}-{arguments[0]}.log"
        with path.open("wb") as log:
            process = subprocess.Popen(command, env=given, stdout=log, stderr=subprocess.STDOUT)
        self.words[process.pid] = path
        self.running.append(process)
        return process

    def sender(
        self, name: str = "one", failpoint: str = "", under: Sequence[str] = (), **environment: str
    ) -> Process:
        """A sender of that name."""
        return self.start("send", "--name", name, failpoint=failpoint, under=under, **environment)

    def end(self, *processes: Process, how: int = signal.SIGTERM) -> None:
        """End processes that were started here; what does not heed SIGTERM is killed."""
        for process in processes:
            if process.poll() is None:
                process.send_signal(how)
                process.send_signal(signal.SIGCONT)
        for process in processes:
            try:
                process.wait(40)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process in self.running:
                self.running.remove(process)

    def ready(self) -> None:
        """Wait until the web process answers."""
        until("the web process", self._answers, 150, 0.05)

    def _answers(self) -> bool:
        try:
            return httpx2.get(f"{self.stack.base_url}/readyz", timeout=2).status_code == 200
        except httpx2.HTTPError:
            return False

    def again(self, role: str, failpoint: str = "", under: Sequence[str] = (), **environment: str) -> Process:
        """Web or clock anew, instead of the one that runs or died."""
        self.end(getattr(self, role))
        process = self.start(role, failpoint=failpoint, under=under, **environment)
        setattr(self, role, process)
        if role == "web":
            self.ready()
        return process

    def close(self) -> None:
        """End everything."""
        self.http.close()
        self.end(*self.running)
        for one in reversed(self.beside):
            one.close()

    # A trial's mailing

    @contextmanager
    def mailing(
        self,
        kind: str,
        *behaviour: str,
        people: int = PEOPLE,
        early: frozenset[int] = frozenset(),
        fsync: bool = True,
    ) -> Iterator[Mailing]:
        """People who have agreed, and a mail server for their mail; afterwards no sender is left.

        Those whose number is in `early` have a plan of their own, so that they can be written to before."""
        self.trials += 1
        plans = [f"t{self.trials}", f"t{self.trials}-early"]
        names = {f"t{self.trials}-{n}": plans[n in early] for n in range(people)}
        log = self.directory / f"sink-{self.trials}.jsonl"
        addresses = {f"{name}@example.org": name for name in names}
        made = Mailing(kind, addresses, log, free_port(), plans if early else plans[:1], fsync)
        everybody = list(names.items())
        for start in range(0, people, BULK):
            self._sign_up(dict(everybody[start : start + BULK]))
        self.serve(made, *behaviour)
        url = f"smtp://127.0.0.1:{made.port}?starttls=never&connections={CONNECTIONS}"
        self.stack.environment["BIDDEN_SMTP_URL"] = url
        try:
            yield made
        finally:
            self.end(*[process for process in self.running if process not in (self.web, self.clock)])

    def serve(self, made: Mailing, *behaviour: str, within: str = "") -> None:
        """The mail server of this mailing, at its port; its log goes on where it was. `within`: in that network namespace."""
        command = [
            *(["ip", "netns", "exec", within] if within else []),
            sys.executable,
            "-m",
            "tests.faults.sink",
            "--port",
            str(made.port),
            "--log",
            str(made.log),
        ]
        options = ["--max-seconds", "1800", *(["--fsync"] if made.fsync else []), *behaviour]
        made.sink = subprocess.Popen([*command, *options], stdout=subprocess.PIPE)
        assert made.sink.stdout is not None
        assert made.sink.stdout.readline()
        made.sink.stdout.close()
        self.running.append(made.sink)

    def _sign_up(self, plans: dict[str, str]) -> None:
        at = "2026-01-05T10:00:00Z"
        said = {
            "given": True,
            "source": "form",
            "evidence": {"at": at},
            "confirmed": {"at": at, "method": "mail"},
        }
        lines = [
            json.dumps(
                {
                    "external_id": name,
                    "email": f"{name}@example.org",
                    "attributes": {"plan": plan},
                    "consents": [{"topic": topic, **said} for topic in TOPICS.values()],
                }
            )
            for name, plan in plans.items()
        ]
        answer = self.http.post(
            "/people/bulk", content="\n".join(lines), headers={"Content-Type": "application/x-ndjson"}
        )
        wrong = [line for line in map(json.loads, answer.text.splitlines()) if line["status"] != 201]
        assert answer.status_code == 200, answer.text
        assert not wrong, wrong[:3]

    def launch(self, made: Mailing) -> None:
        """Announce it, or publish the notice: from now on the clock has it."""
        audience = {"attributes": {"plan": made.plans}}
        if made.kind == "important":
            words = {"title": "An outage", **WORDS}
            said: dict[str, Any] = {"content": {"en": words}, "mail": True}
        else:
            said = {"content": {"en": {"subject": "The planner", **WORDS}}, "template": "letter"}
        group = "notices" if made.kind == "important" else "announcements"
        draft = self._post(f"/{group}", said | {"topic": TOPICS[made.kind], "audience": audience})
        made.path = f"/{group}/{draft['id']}"
        if made.kind == "important":
            self._post(f"{made.path}/publish", {})
            return
        self._post(f"{made.path}/submit", {})
        self._post(f"{made.path}/approve", {"content_hash": draft["content_hash"]})
        self._post(f"{made.path}/schedule", {"at": "now"})

    def _post(self, path: str, said: dict[str, Any]) -> Any:
        answer = self.http.post(path, json=said)
        assert answer.status_code in (200, 201, 202), answer.text
        return answer.json()

    def withdraw(
        self, made: Mailing, person: str, ask: Callable[[], httpx2.Response] | None = None
    ) -> int | None:
        """One person says no, to the API unless by `ask`; the answer's code, None when none came."""
        ask = ask or partial(self.by_api, httpx2, person, TOPICS[made.kind])
        sent = time.monotonic()
        status = None
        with suppress(httpx2.HTTPError):
            status = ask().status_code
        acknowledged = time.monotonic() if status else None
        made.said.append({"person": person, "t_sent": sent, "t_ack": acknowledged, "status": status})
        return status

    def by_api(self, client: Any, person: str, topic: str) -> httpx2.Response:
        """A no through the API, by that client or by a connection of its own."""
        answer: httpx2.Response = client.put(
            f"{self.stack.base_url}/api/v1/people/{person}/preferences",
            json={"topics": [{"topic": topic, "state": "withdrawn"}]},
            headers={"Authorization": f"Bearer {self.stack.key}"},
            timeout=20,
        )
        return answer

    # What becomes of it

    def report(self, made: Mailing) -> Any:
        """The report as it stands."""
        return self.http.get(f"{made.path}/report").json()

    def ended(self, made: Mailing) -> bool:
        """Whether the mailing is sent, or halted by itself; False while nobody answers."""
        try:
            return bool(made.path) and self.report(made)["state"] in ("sent", "halted")
        except httpx2.HTTPError:
            return False

    def dies(self, made: Mailing, process: Process, seconds: float = NEVER) -> bool:
        """Wait until the process has died by SIGKILL: then keep the journals as they lie there. False if the mailing ended first."""
        deadline = time.monotonic() + seconds
        look = 0.0
        while process.poll() is None:
            now = time.monotonic()
            assert now < deadline, "neither died nor ended"
            if now > look:
                if self.ended(made):
                    return False
                look = now + 0.5
            time.sleep(0.002)
        assert process.returncode == -signal.SIGKILL, self.said(process.returncode)
        self.bury(made)
        return True

    def bury(self, made: Mailing, name: str = "one") -> None:
        """Note a death, and keep that sender's journals as they lie there now."""
        made.deaths.append(time.monotonic())
        found = sorted(self.journals.glob(f"{name}.*.journal"))
        made.journals += [path.read_bytes() for path in found]
        self.running = [process for process in self.running if process.poll() is None]

    def kill(self, made: Mailing, sender: Process) -> None:
        """Kill a sender, unless it is dead already, and note its death."""
        sender.kill()
        sender.wait()
        self.bury(made)

    def words_of(self, process: Process) -> bytes:
        """What a process has said so far."""
        return self.words[process.pid].read_bytes()

    def said(self, code: int) -> str:
        """The last words of the processes, for a failure that was not asked for."""
        logs = sorted(self.directory.glob("*.log"))[-3:]
        return f"ended with {code}: " + "\n".join(path.read_text()[-1500:] for path in logs)

    def evidence(self, made: Mailing, seconds: float = NEVER) -> checker.Evidence:
        """Wait for the end; then everything the checker asks for."""
        until("the end of the mailing", lambda: self.ended(made), seconds, 0.05 if seconds == NEVER else 1)
        lines = self.http.get(f"{made.path}/deliveries", headers={"Accept": "application/x-ndjson"})
        asked = {one["person"] for one in made.said} | set(list(made.people.values())[:10])
        persons = {one: self.http.get(f"/people/{one}").json()["person"] for one in asked}
        return checker.Evidence(
            topic=TOPICS[made.kind],
            people=made.people,
            sink=made.lines(),
            report=self.report(made),
            deliveries=[json.loads(line) for line in lines.text.splitlines()],
            ledger=self.entries(),
            withdrawals=made.said,
            journals=made.journals,
            persons=persons,
            at_least_once=made.kind == "important",
            connections=CONNECTIONS,
            cuts=made.cuts,
            wall=time.time() - time.monotonic(),
        )

    def entries(self) -> list[dict[str, Any]]:
        """The whole ledger; what was read before is not read again."""
        while True:
            query = {"limit": 200} | ({"cursor": self.cursor} if self.cursor else {})
            page = self.http.get("/ledger", params=query).json()
            fresh = [one for one in page["items"] if not self.ledger or one["seq"] > self.ledger[-1]["seq"]]
            self.ledger += fresh
            if not page["next"]:
                return list(self.ledger)
            self.cursor = page["next"]


def wait_for(question: Callable[[], bool], seconds: float = NEVER) -> None:
    """Look every two milliseconds until it is so."""
    deadline = time.monotonic() + seconds
    while not question():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.002)


def has_begun(made: Mailing, octets: int = 1) -> Callable[[], bool]:
    """Whether the sink's log has grown to that size."""
    return lambda: made.log.exists() and os.stat(made.log).st_size >= octets
