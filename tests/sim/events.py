"""What happens to a world: each function one kind of event, named in the plan. Called by `run` at its moment."""

import json
import os
import random
from collections.abc import Callable
from functools import partial
from typing import Any

from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Session

from scheduler import recovery
from service.db.session import reading
from service.domain.announcements import actions as announcements
from service.domain.brands import actions as brands
from service.domain.deliveries import claims
from service.domain.links import rules as links
from service.domain.notices import actions as notices
from service.domain.preferences import actions as preferences
from service.domain.senders import actions as senders
from service.domain.suppressions import actions as suppressions
from service.domain.topics import actions as topics
from service.kit import clock
from service.kit.errors import DomainError
from tests.faults.checker import whole_lines
from tests.sim.loop import Process
from tests.sim.machine import Host
from tests.sim.town import BY, Reader
from tests.sim.world import World

AGAIN = 2.5  # seconds after which somebody who got no answer asks again


# Noes


def withdraw(world: World, share: float) -> None:
    """Somebody presses the button of the mail client, and again if nobody answers."""
    _withdraw(world, world.reader(share), 3)


def aimed(world: World, share: float) -> None:
    """The same by somebody whose letter is half on its way: the server knows the recipient, the dot is not there yet."""
    half = {line.server.message.rcpt for line in world.network.lines.values() if line.server.message}
    found = [one for one in world.readers if one.address in half]
    _withdraw(world, found[int(share * len(found))] if found else world.reader(share), 3)


def _withdraw(world: World, reader: Reader, left: int) -> None:
    town = world.town
    link = links.Link(links.STOP, reader.alias, town.topics[world.topic()])
    row: dict[str, Any] = {"person": reader.name, "what": f"no of {reader.name}"}

    def stop(session: Session) -> Any:
        return preferences.stop(session, town.ring, link, how="one_click", evidence={}, now=clock.now())

    world.note(reader.name, "says no")
    world.said.append(row)
    world.ask(row, stop)
    world.loop.later(AGAIN, _ask_again, world, reader, row, left)


def _ask_again(world: World, reader: Reader, row: dict[str, Any], left: int) -> None:
    if row["status"] in (None, 503) and left:
        _withdraw(world, reader, left - 1)


def do_not_mail(world: World, share: float) -> None:
    """Somebody's address comes on the list of those never to be written to: by staff, by a file that names nobody, or with the
    erasure of another registration of the mailbox."""
    reader = world.reader(share)
    subject = (reader.subject, None, "p_another")[int(share * 3000) % 3]
    row: dict[str, Any] = {
        "person": reader.name,
        "what": f"do not mail {reader.name}",
        "kind": "suppression.added",
    }

    def add(session: Session) -> Any:
        return suppressions.add(
            session,
            reader.address_hash,
            scope="all",
            cause="manual",
            origin="staff",
            subject=subject,
            now=clock.now(),
            by=BY,
        )

    world.note("staff", f"does not want {reader.name} written to")
    world.said.append(row)
    world.ask(row, add)


def _step(world: World, what: str, action: Callable[[Session], Any]) -> dict[str, Any]:
    """Staff do something to the whole mailing; from a success on nothing more of it departs."""
    row: dict[str, Any] = {"what": what, "until": None}
    world.note("staff", what)
    world.halts.append(row)
    world.ask(row, action)
    return row


def pause(world: World, seconds: float) -> None:
    """For a while."""
    row = _step(
        world, "pause", lambda session: announcements.pause(session, world.public_id, now=clock.now(), by=BY)
    )
    world.loop.later(seconds, resume, world, row)


def resume(world: World, row: dict[str, Any] | None = None) -> None:
    """And on. Tried again at the end, should it fail."""
    for one in world.halts:
        if one["what"] == "pause" and one["until"] is None:
            one["until"] = world.loop.moment
    world.note("staff", "resume")
    world.ask(
        {"what": "resume"},
        lambda session: announcements.resume(session, world.public_id, now=clock.now(), by=BY),
    )


def judge(world: World) -> None:
    """It has halted by itself: somebody looks at the figures and lets it go on, or not."""
    (resume if world.loop.chance.random() < 0.8 else cancel)(world)


def cancel(world: World) -> None:
    """For good."""
    steps: Any = notices if world.plan.kind == "important" else announcements
    _step(world, "cancel", lambda session: steps.cancel(session, world.public_id, now=clock.now(), by=BY))


def retire(world: World) -> None:
    """The topic is given up."""
    slug = world.topic()
    _step(world, "retire", lambda session: topics.retire(session, slug, now=clock.now(), by=BY))


# Processes


def _sender(world: World, share: float) -> Process | None:
    living = [one for _, one in sorted(world.senders.items()) if one.alive]
    return living[int(share * len(living))] if living else None


def kill(world: World, share: float) -> None:
    """SIGKILL between two of its steps."""
    if process := _sender(world, share):
        world.note(process.name, "is killed")
        process.end(-9)


def kill_and_aim(world: World, share: float) -> None:
    """A sender dies with a letter half on its way, and its reader says no once the dead one's lease is surely over."""
    stuck = [line for line in world.network.standing() if line.kernel and line.process and line.process.alive]
    if stuck:
        line = stuck[int(share * len(stuck))]
        rcpt = line.server.message.rcpt if line.server.message else ""
        world.note(line.process.name, "is killed with octets in the kernel")
        line.process.end(-9)
        for reader in world.readers:
            if reader.address == rcpt:
                world.loop.later(world.chance.uniform(0.0, 0.6), _withdraw, world, reader, 3)


def stop(world: World, share: float) -> None:
    """SIGTERM."""
    if process := _sender(world, share):
        world.note(process.name, "is asked to end")
        world.loop.call_soon(world.stops[process.name].set, context=process.context.copy())


def freeze(world: World, share: float, seconds: float) -> None:
    """SIGSTOP, and SIGCONT unless the supervisor was faster."""
    if process := _sender(world, share):
        world.note(process.name, f"stands still for {seconds:.1f} s")
        world.stall = max(world.stall, seconds)
        process.freeze(seconds)


def freeze_far(world: World, seconds: float) -> None:
    """The second machine's sender stands still for so long that it is given up; then it wakes up all the same."""
    process = world.senders["b-1"]
    if process.alive and process.frozen_until < world.loop.moment:
        world.note(process.name, f"stands still for {seconds:.1f} s")
        world.stall = max(world.stall, seconds)
        process.freeze(seconds)
        world.loop.later(world.plan.stale + 1.0, give_up, world, process.name, process)


def kill_web(world: World) -> None:
    if world.web is not None:
        world.web.end(-9)


def kill_clock(world: World) -> None:
    for process in list(world.hosts["a"].processes.values()):
        if process.name == "clock 1":
            world.note(process.name, "is killed")
            process.end(-9)


# The second machine: nobody watches over it


def begin_far(world: World) -> None:
    """A sender of its own there."""
    world.start_sender("b-1", world.hosts["b"])


def far_again(world: World, process: Process) -> None:
    """It ended: somebody starts it again by hand, or gives it up, unless they have done so already."""
    if process.host.dark or process in world.given_up:
        return
    if world.chance.random() < 0.5:
        world.loop.later(world.chance.uniform(0.3, 4.0), _start_far_again, world, process.name)
    else:
        world.loop.later(world.plan.stale + 1.0, give_up, world, process.name)


def _start_far_again(world: World, name: str) -> None:
    if not world.senders[name].alive:
        world.start_sender(name, world.hosts["b"])


def give_up(world: World, name: str, frozen: Process | None = None) -> None:
    """`bidden send lost NAME` on the first machine, until it succeeds; of one that lives only while it stands still."""
    living = world.senders[name]
    if living.alive and (living is not frozen or living.frozen_until < world.loop.moment):
        return
    operator = world.machine.spawn("operator", world.hosts["a"])
    operator.start(_lose(world, operator, name))


async def _lose(world: World, operator: Process, name: str) -> None:
    house = world.houses["a"]

    def check(session: Session) -> None:
        senders.check_lost(session, name, now=clock.now())

    def lose(session: Session) -> int:
        return claims.lose(
            session,
            house.ring,
            name,
            waits=house.waits,
            now=clock.now(),
            chance=random.Random(world.seed),
            by="cli",
        )

    row: dict[str, Any] = {"what": f"lost {name}"}
    try:
        await recovery.recover_lost(house, name)
        open_now = open_positions(world, name)
        await world.loop.run_in_executor(None, _reading, house, check)
        await world._answer(row, lose, None)
    except (DomainError, SQLAlchemyError) as refused:
        world.note("operator", f"is refused: {type(refused).__name__}")
        row["status"] = 503
    if row.get("status") not in (200, 202):
        world.loop.later(1.0, give_up, world, name, world.senders[name])
    else:
        world.doubtful |= open_now
        world.given_up.append(world.senders[name])
        world.note("operator", f"has given up {name}")
    operator.end(0)


def _reading(house: Any, query: Callable[[Session], Any]) -> Any:
    with reading(house.engine) as session:
        return query(session)


# Machines


def power_cut(world: World, share: float, tail: float) -> None:
    """Every process of a machine stops at once; journals lose their tail or are torn; it comes back with another boot id."""
    host = world.hosts["b" if world.plan.far and share > 0.6 else "a"]
    world.note(f"host {host.name}", "loses power")
    host.dark = True
    names = sorted(one.name for one in world.senders.values() if one.host is host)  # dead ones' journals, too
    kept = {path: path.read_bytes() for path in sorted(host.journals.glob("*.journal"))}
    for process in list(host.processes.values()):
        if process.name != "supervisor" or host.name == "b":
            process.end(-9)
    _tear(world, kept, tail)
    for name in names:
        world.doubtful |= open_positions(world, name, answered(world, host, name))
    host.dark = False
    host.boot = f"{host.name}-boot-{int(host.boot.rpartition('-')[2]) + 1}"
    if host.name == "b":
        world.loop.later(2.0, _start_far_again, world, "b-1")


def _tear(world: World, kept: dict[Any, bytes], tail: float) -> None:
    """What was not on the disk yet is gone: some lines of the end, part of a line, or all of the file."""
    for path, data in kept.items():
        size = int(len(data) * tail) if world.chance.random() < 0.8 else len(data)
        torn = data[:size]
        if world.chance.random() < 0.2:
            torn += bytes(len(data) - size)  # a file system that keeps the length
        path.write_bytes(torn)
        os.utime(path, ns=(world.machine.entropy.randrange(10**9),) * 2)  # what a file system says of it then


def answered(world: World, host: Host, name: str) -> set[tuple[int, int]]:
    """Positions and attempts whose reply is legible in what is left of a sender's journals."""
    found: set[tuple[int, int]] = set()
    for path in sorted(host.journals.glob(f"{name}.*.journal")):
        for kind, *fields in whole_lines(path.read_bytes()):
            if kind == "R":
                found.add((int(fields[1]), int(fields[2])))
    return found


def open_positions(
    world: World, name: str, known: set[tuple[int, int]] | None = None
) -> set[tuple[int, int]]:
    """What a sender has in hand by the database: claimed, permitted, without an outcome, and not among `known`."""
    rows = world.town.query(
        "SELECT batch.mailing_id, batch.positions, batch.warrants FROM batch JOIN sender ON sender.id = batch.sender_id"
        " WHERE batch.state = 'claimed' AND sender.name = ?",
        name,
    )
    found: set[tuple[int, int]] = set()
    for mailing, positions, warrants in rows:
        attempts = {pos: attempt for pos, attempt in json.loads(positions or "null") or []}
        settled = set(world.town.query("SELECT pos, attempt FROM outcome WHERE mailing_id = ?", mailing))
        for word in (warrants or b"").split(b","):
            if word:
                pos = int(word.partition(b":")[0])
                found.add((pos, attempts.get(pos, 1)))
        found -= settled
    return found - (known or set())


def wall_step(world: World, share: float, seconds: float) -> None:
    """The wall clock of the first machine goes wrong, and is set right after a while."""
    host = world.hosts["a"]
    step = (-86_400.0, -3_600.0, 3_600.0, 86_400.0)[int(share * 4)]
    world.note("host a", f"has its wall clock {step:+.0f} s off")
    host.wall += step

    def right() -> None:
        host.wall -= step
        world.loop.later(1.5, believe, world)

    world.loop.later(seconds, right)


def believe(world: World) -> None:
    """Somebody has seen to the clocks and switches sending on again."""
    on = partial(brands.set_setting, name="sending_on", value=True, now=clock.now(), by=BY)
    world.ask({"what": "believe"}, on)


def day_passes(world: World) -> None:
    """For the wall clocks it is the next day (a machine that slept): the time of what is on its way has run out."""
    world.note("world", "finds that it is the next day")
    for host in world.hosts.values():
        host.wall, host.slept = host.wall + 86_400.0, host.slept + 86_400.0


def journal_full(world: World, seconds: float) -> None:
    world.machine.full["a"] = (world.loop.moment, world.loop.moment + seconds)


# Roads and services


def cut(world: World) -> None:
    """Every connection there is, each with a coin."""

    world.note("network", "cuts connections")
    world.network.cut(lambda line: world.chance.random() < 0.5)


def server_down(world: World, seconds: float) -> None:
    world.note("server", f"is down for {seconds:.1f} s")
    world.server.crash()

    def back() -> None:
        world.server.down = False

    world.loop.later(seconds, back)


def database_away(world: World, seconds: float) -> None:
    world.note("database", f"is away for {seconds:.1f} s")
    world.away_until = world.loop.moment + seconds
    world.stall = max(world.stall, seconds)


KINDS: dict[str, Callable[..., None]] = {
    one.__name__: one
    for one in (
        withdraw, aimed, do_not_mail, pause, cancel, retire, kill, kill_and_aim, stop, freeze, freeze_far, kill_web, kill_clock, power_cut,
        wall_step, day_passes, journal_full, cut, server_down, database_away,
    )
}  # fmt: skip
