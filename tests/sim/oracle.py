"""What must hold when a run is over: the fault runs' checker on the run's evidence, and what only a simulation can see.

Called by `run`. Everything is on virtual time, the instants of departure and of commits are exact, and nothing is waived.
"""

import json
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from service.db.session import reading
from service.domain.announcements import queries as announcements
from service.domain.ledger import queries as ledger
from service.domain.notices import queries as notices
from service.domain.preferences import projection
from service.domain.reports import members
from service.domain.reports import queries as reports
from tests.faults import checker
from tests.faults.checker import Finding
from tests.sim.loop import BEGINNING
from tests.sim.machine import EPOCH
from tests.sim.world import World

LEASE = 3.0  # seconds for which a lease lets a sender go on that has not looked (scheduler/lease.py)


def judge(world: World) -> list[Finding]:
    """Everything that does not hold in what this run left behind."""
    found = list(_ended(world))
    evidence = gather(world)
    found += checker.check(evidence)
    found += _rows(world)
    found += [Finding("raised", what) for what in world.loop.wrong]
    with reading(world.town.engine) as session:
        verdict = ledger.verify(session)
        if not verdict.holds:
            found.append(Finding("ledger_broken", f"{verdict.fault} at {verdict.position}"))
        found += [Finding("projection_differs", str(one)) for one in projection.differences(session)]
    return found


def _ended(world: World) -> Iterator[Finding]:
    mailing, shown, finished = world.state()
    if not finished and not (mailing is None and shown in ("cancelled", "expired")):
        yield Finding("never_ends", f"{mailing}, {shown}")
    if mailing == "halted":
        yield Finding("halted", str(world.town.query("SELECT reason FROM mailing WHERE state = 'halted'")))


def gather(world: World) -> checker.Evidence:
    """The evidence of a run, as the checker wants it."""
    town = world.town
    with reading(town.engine) as session:
        if world.plan.kind == "important":
            notice = notices.by_public_id(session, world.public_id)
            mailing, report = notices.mailing_of(session, notice), reports.of_notice(session, notice)
        else:
            row = announcements.by_public_id(session, world.public_id)
            mailing = announcements.mailing_of(session, row)
            report = reports.of_announcement(session, row)
        rows = list(members.all_deliveries(session, town.ring, mailing)) if mailing else []
        entries = [_entry(world, one) for one, _ in ledger.stored(session)]
    deliveries = [{**one.as_json(), "external_ids": _own(one.external_ids)} for one in rows]
    return checker.Evidence(
        topic=world.topic(),
        people={one.address: one.name for one in world.readers},
        sink=world.server.rows,
        report=report,
        deliveries=deliveries,
        ledger=entries,
        withdrawals=world.said,
        journals=world.journals,
        persons={one.name: one.subject for one in world.readers},
        at_least_once=world.plan.kind == "important",
        connections=world.plan.connections,
        cuts=world.network.cuts,
        wall=EPOCH.timestamp() - BEGINNING,
        on_the_way=0.0,
        patience=LEASE + world.stall,
        halts=world.halts,
        excused=_excused(world, entries),
        doubtful=world.doubtful,
        settled=world.settled,
    )


def _own(ids: list[dict[str, str]]) -> list[dict[str, str]]:
    return [one for one in ids if one["source"] == "site"]


def _entry(world: World, stored: Any) -> dict[str, Any]:
    """An entry with the instant at which it was committed, whatever the clock of whoever wrote it said."""
    fields = json.loads(stored.text)
    moment = world.instants.get(stored.seq, BEGINNING)
    at = EPOCH + timedelta(seconds=moment - BEGINNING)
    return {
        "seq": stored.seq,
        "kind": stored.kind,
        "subject": stored.subject,
        "at": at.isoformat(),
        "body": fields["body"],
    }


def _excused(world: World, entries: list[dict[str, Any]]) -> set[str]:
    """Nobody is owed a mail when all was called off before the audience was closed."""
    frozen = min((one["seq"] for one in entries if one["kind"] == "mailing.frozen"), default=None)
    off = min((one["seq"] for one in entries if one["kind"] in OFF), default=None)
    if off is not None and (frozen is None or off < frozen):
        return {one.name for one in world.readers}
    return set()


OFF = ("topic.retired", "announcement.cancelled", "notice.cancelled", "announcement.expired")


def _rows(world: World) -> Iterator[Finding]:
    """What the rows themselves must say: attempts without a gap, one final row at most and nothing after it, batches closed."""
    outcomes = world.town.query("SELECT pos, attempt, state, final FROM outcome ORDER BY pos, attempt")
    by_pos: dict[int, list[Any]] = {}
    for row in outcomes:
        by_pos.setdefault(row[0], []).append(row)
    for pos, rows in by_pos.items():
        if [row[1] for row in rows] != list(range(1, len(rows) + 1)):
            yield Finding("attempts_have_a_gap", f"position {pos}: {rows}")
        if [bool(row[3]) for row in rows] != [False] * (len(rows) - 1) + [True]:
            yield Finding("not_one_end", f"position {pos}: {rows}")
    left = Counter(state for (state,) in world.town.query("SELECT state FROM batch"))
    if set(left) - {"closed"}:
        yield Finding("batch_not_closed", str(dict(left)))
