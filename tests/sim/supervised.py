"""The product's own supervisor over simulated processes: it reaps what died, ends its lease, starts it again. Made by `run`."""

from typing import Any

from service.cli import up
from tests.sim.loop import Process
from tests.sim.world import World


class Started:
    """A simulated process as the supervisor sees one of the system's."""

    def __init__(self, process: Process) -> None:
        self.process, self.pid = process, process.pid

    @property
    def returncode(self) -> int | None:
        return self.process.code

    async def wait(self) -> int | None:
        await self.process.ended
        return self.process.code

    def kill(self) -> None:
        self.process.end(-9)


class Supervisor(up.Supervisor):
    """Starts roles in the world instead of as processes of this machine."""

    def __init__(self, world: World, needed: list[up.Role]) -> None:
        super().__init__(world.houses["a"], needed)
        self.world = world

    async def _start(self, role: up.Role) -> Any:
        world, host = self.world, self.world.hosts["a"]
        if role.lease is not None:
            return Started(world.start_sender(role.lease, host))
        world.note("supervisor", f"starts {role.name}")
        return Started(world.start_web(host) if role.name == "web" else world.start_clock(role.name, host))


def supervise(world: World) -> None:
    """One supervisor with what the plan asks for, as a process of its own."""
    names = [f"a-{number}" for number in range(1, world.plan.senders + 1)]
    needed = [up.Role("web", ["web"], 3)]
    needed += [up.Role(f"clock {number}", ["clock"], 1) for number in range(1, world.plan.clocks + 1)]
    needed += [up.Role(f"sender {name}", ["send"], 2, lease=name) for name in names]
    process = world.machine.spawn("supervisor", world.hosts["a"])
    supervisor = process.context.copy().run(Supervisor, world, needed)
    for role in needed:
        process.start(supervisor._keep(role))
    process.start(supervisor._watch_leases())
