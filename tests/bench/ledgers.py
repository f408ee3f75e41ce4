"""The ledger's pace: entries one by one and in batches, reading it whole, and one person among ten million entries.

    python -m tests.bench.ledgers --people 1000000 --database postgres

Not part of `make bench`: it takes minutes. Twenty thousand people register and say no, each no a transaction of its own, by 32
writers at once; then entries come two hundred to a transaction, and the command and verify_ledger.py read what there is. At last
the ledger grows to ten entries for each of `--people` by rows made as the pen makes them, 5,000 of them of one person, whose
timeline and whose proof are asked for.
"""

import multiprocessing
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import insert
from sqlmodel import Session, col, select

from service.db.session import reading, transaction
from service.domain.consent import actions as consent
from service.domain.ledger import bundles, checkpoints, queries, rules, tree
from service.domain.ledger.tables import LedgerEntry
from service.domain.links import rules as links
from service.domain.people import queries as people
from service.domain.people.tables import Person
from service.domain.preferences import actions as preferences
from service.domain.preferences.registration import Registration, register_many
from service.domain.topics import queries as topics
from service.kit import clock
from service.ops.house import House, open_house
from service.web.staff import timeline
from service.web.staff.lines import PAGE
from tests.bench import runs
from tests.stack import Stack, stack

TOPIC = "new-products"
REGISTERED, WRITERS, PROCESSES = 20_000, 32, 2
BATCH, BATCHES = 200, 500
OF_ONE = 5_000
ASKED = 30  # how often what takes milliseconds is asked


def register(house: House) -> None:
    """People u0, u1, … who agreed to the topic."""
    confirmed = {"at": "2026-01-05T10:01:00Z", "method": "own mail"}
    said = {"topic": TOPIC, "given": True, "source": "form", "confirmed": confirmed}
    said["evidence"] = {"at": "2026-01-05T10:00:00Z", "url": "https://acme.example.org/join"}
    for start in range(0, REGISTERED, BATCH):
        items = [
            Registration(f"u{n}", f"u{n}@example.org", "en", consents=[said])
            for n in range(start, start + BATCH)
        ]
        with transaction(house.engine) as session:
            how = {"attest": True, "topics": None, "now": clock.now(), "by": "cli"}
            register_many(session, house.ring, "bench", items, **how)


def say_noes(aliases: list[int], topic: int) -> float:
    """In a process of its own: a share of the noes, by a share of the writers; the seconds it took."""
    house, waiting = open_house(), iter(aliases)
    lock, began = threading.Lock(), time.perf_counter()

    def write() -> None:
        while True:
            with lock:
                alias = next(waiting, None)
            if alias is None:
                return
            link = links.Link(links.STOP, alias, topic, 0, 0)
            with transaction(house.engine) as session:
                preferences.stop(session, house.ring, link, how="api", evidence={}, now=clock.now())

    writers = [threading.Thread(target=write) for _ in range(WRITERS // PROCESSES)]
    for one in writers:
        one.start()
    for one in writers:
        one.join()
    return time.perf_counter() - began


def one_by_one(house: House) -> float:
    """Transactions a second."""
    with reading(house.engine) as session:
        aliases = list(session.exec(select(Person.alias).order_by(col(Person.id))))
        topic, before = topics.by_slug(session, TOPIC).alias, queries.tail(session)[0]
    shares = [(aliases[n::PROCESSES], topic) for n in range(PROCESSES)]
    with multiprocessing.get_context("spawn").Pool(PROCESSES) as pool:
        pool.starmap(say_noes, [([], topic)] * PROCESSES)  # both are up, with everything loaded
        spent = max(pool.starmap(say_noes, shares, chunksize=1))
    with reading(house.engine) as session:
        assert queries.tail(session)[0] - before == len(aliases)
    return len(aliases) / spent


def in_batches(house: House) -> float:
    """Entries a second, each a yes with its sealed evidence."""
    with reading(house.engine) as session:
        some = list(session.exec(select(Person).order_by(col(Person.id)).limit(BATCH)))
        keys = [people.person_key(house.ring, one) for one in some]
        topic, words = topics.by_slug(session, TOPIC), topics.wording_for(session, 1, "en")
        session.expunge_all()
    evidence = {
        "at": "2026-01-05T10:00:00+00:00",
        "url": "https://acme.example.org/join",
        "ip": "192.0.2.0/24",
    }
    said, began = consent.Said("api", "sign-up form", evidence), time.perf_counter()
    for _ in range(BATCHES):
        with transaction(house.engine) as session:
            for person, key in zip(some, keys, strict=True):
                consent.note(
                    session, "consent.given", person=person, key=key, topic=topic, state="given", state_before="unknown",
                    said=said, now=clock.now(), by="key:k", wording=words, policy="privacy v1",
                )  # fmt: skip
    return BATCH * BATCHES / (time.perf_counter() - began)


def verified(stacked: Stack, house: House) -> tuple[float, float]:
    """Entries a second that the command reads, and that verify_ledger.py does, without the start of Python."""
    with reading(house.engine) as session:
        entries = queries.tail(session)[0]
    stacked.run("ledger", "checkpoint")
    start = timed(lambda: stacked.run("ledger", "checkpoint", "--key"))
    ours = timed(lambda: stacked.run("ledger", "verify")) - start
    bundle = stacked.directory / "bundle"
    stacked.run("ledger", "export", str(bundle))
    key = checkpoints.keys(house.ring)
    command = [sys.executable, "verify_ledger.py", str(bundle)]
    for one in key:
        command += ["--key", one]
    theirs = timed(lambda: subprocess.run(command, check=True, capture_output=True))
    bundle.unlink()
    return entries / ours, entries / theirs


def timed(act: Callable[[], Any]) -> float:
    """Seconds."""
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def grown(house: House, entries: int) -> tuple[str, list[int]]:
    """The ledger at its full length; the person who has 5,000 of its entries, and their numbers."""
    with reading(house.engine) as session:
        one = session.exec(select(Person).order_by(col(Person.id)).limit(1)).one()
        key, subject = people.person_key(house.ring, one), one.public_id
        seq, prev_hash = queries.tail(session)
    part = rules.sealed_part(
        key, {"at": "2026-01-05T10:00:00+00:00"}, subject=subject, kind="consent.renewed"
    )
    chance, theirs = random.Random(1), list[int]()
    every = max(1, (entries - seq) // OF_ONE)
    while seq < entries:
        rows = []
        for _ in range(min(5_000, entries - seq)):
            seq += 1
            mine = seq % every == 0 and len(theirs) < OF_ONE
            whose = subject if mine else f"p_{chance.randrange(entries // 10):012d}"
            made = entry(seq, whose, part, prev_hash)
            prev_hash = made.hash
            rows.append({**made._asdict(), "entry": made.text, "takes": made.takes})
            del rows[-1]["text"]
            theirs += [seq] if mine else []
        with house.engine.execution_options(write=True).begin() as connection:
            connection.execute(insert(LedgerEntry), rows)
    while kept := read(house, tree.unkept):
        with transaction(house.engine) as session:
            tree.keep(session, kept)
    with transaction(house.engine) as session:
        checkpoints.sign(session, house.ring, now=clock.now())
    return subject, theirs


def entry(seq: int, subject: str, part: dict[str, str], prev_hash: str) -> rules.Entry:
    """One that says what a renewed consent says."""
    body = {
        "topic": TOPIC, "state": "renewed", "state_before": "renewed", "basis": "consent", "method": "api", "source": "form",
        "wording": f"{TOPIC}-v1-en", "evidence": part,
    }  # fmt: skip
    at = 1_760_000_000_000_000 + seq * 1_000
    return rules.make(
        seq=seq, at=at, kind="consent.renewed", actor="key:k", subject=subject, body=body, prev_hash=prev_hash
    )


def read(house: House, query: Callable[[Session], Any]) -> Any:
    """What a query finds."""
    with reading(house.engine) as session:
        return query(session)


def median_ms(acts: Iterator[Callable[[], Any]]) -> float:
    """The median of what each takes."""
    took = sorted(timed(act) for act in acts)
    return round(took[len(took) // 2] * 1e3, 1)


def of_one(house: House, subject: str, theirs: list[int]) -> tuple[float, float]:
    """Milliseconds for the first look at a person's timeline, and for the proof of one of their entries.

    That is what their page reads when it is opened: the newest lines with their evidence, out of all entries of theirs, and
    what had been said by a day, from each of them. The older lines are asked for page by page.
    """
    until, chance = datetime(2026, 6, 1, tzinfo=UTC), random.Random(2)

    def look(session: Session) -> None:
        person = people.by_public_id(session, subject)
        assert person is not None
        found = timeline.of_person(session, house.ring, person, until=until, only="", opens=True)
        assert len(found.lines) == PAGE
        assert found.next

    def prove(seq: int) -> Callable[[], Any]:
        return lambda: read(house, lambda session: bundles.proof(session, [seq], house.ring))

    looks = (lambda: read(house, look) for _ in range(ASKED))
    return median_ms(looks), median_ms(prove(chance.choice(theirs)) for _ in range(ASKED))


def run(directory: Path, people: int, environment: dict[str, str]) -> dict[str, Any]:
    """The figures of one database."""
    directory.mkdir()
    with stack(directory, **environment) as stacked:
        stacked.run("db", "upgrade")
        os.environ.update({k: v for k, v in stacked.environment.items() if k.startswith("BIDDEN_")})
        house = open_house()
        register(house)
        figures: dict[str, Any] = {"noes_a_second": round(one_by_one(house))}
        figures["batched_entries_a_second"] = round(in_batches(house))
        ours, theirs = verified(stacked, house)
        figures |= {"verified_a_second": round(ours), "verify_ledger_a_second": round(theirs)}
        subject, numbers = grown(house, people * 10)
        timeline_ms, proof_ms = of_one(house, subject, numbers)
        figures |= {"entries": people * 10, "timeline_ms": timeline_ms, "proof_ms": proof_ms}
    return figures


if __name__ == "__main__":
    runs.figures(__doc__, run)
