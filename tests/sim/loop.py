"""An event loop whose time is virtual and whose steps belong to simulated processes; one seed is one exact course.

When nothing is ready it jumps to the next timer. What an executor would do in a thread is a step of its own after a seeded
delay, so transactions of several processes interleave by the seed and each is atomic; between two of them it may rest (as a
greenlet, there are no threads). No sockets. Made by `world`.
"""

import asyncio
import contextvars
import heapq
import random
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

import greenlet

STEP = 1e-6  # virtual seconds that each step takes: no two things happen at one instant
BEGINNING = 1_000.0

current: contextvars.ContextVar["Process | None"] = contextvars.ContextVar("process", default=None)


class Killed(BaseException):
    """The simulated process dies here: nothing of it is run any more."""


class Handle:
    """What is to be run, as asyncio's own handles are used."""

    __slots__ = ("_when", "args", "callback", "context", "dropped")

    def __init__(
        self, callback: Callable[..., Any], args: tuple[Any, ...], context: contextvars.Context, when: float
    ) -> None:
        self.callback, self.args, self.context, self._when = callback, args, context, when
        self.dropped = False

    def cancel(self) -> None:
        self.dropped = True

    def cancelled(self) -> bool:
        return self.dropped

    def when(self) -> float:
        return self._when


class Process:
    """A simulated process: whatever is started in its context is its own, and ends with it."""

    def __init__(self, loop: "Loop", name: str, host: Any, pid: int) -> None:
        self.loop, self.name, self.host, self.pid = loop, name, host, pid
        self.alive = True
        self.frozen_until = 0.0
        self.backlog: list[Handle] = []
        self.code: int | None = None
        self.ended: asyncio.Future[int] = loop.create_future()
        self.at_death: list[Callable[[], None]] = []
        self.context = loop.outside.copy()
        self.context.run(current.set, self)

    def start(self, body: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        """Run it as this process' own."""
        return self.loop.create_task(body, context=self.context)

    def end(self, code: int) -> None:
        """It is gone: by itself (code ≥ 0) or killed (-9). What it left in files and in the database stays."""
        if not self.alive:
            return
        self.alive, self.code = False, code
        self.backlog.clear()
        for then in self.at_death:
            then()
        self.loop.soon(self.ended.set_result, code)

    def freeze(self, seconds: float) -> None:
        """It takes no step for so long; time goes on."""
        self.frozen_until = self.loop.moment + seconds
        self.loop.later(seconds + STEP, self.thaw)

    def thaw(self) -> None:
        """Go on with everything that came due meanwhile, in its order."""
        if self.alive and self.frozen_until <= self.loop.moment:
            self.loop.ready.extendleft(reversed(self.backlog))
            self.backlog.clear()


Plan = Callable[["Process | None", Callable[[], Any]], tuple[float, Callable[[], Any], float]]
"""How a transaction fares: seconds until it is done, what is done, seconds until its answer is there."""


class Loop(asyncio.AbstractEventLoop):
    """See the module. `plan` says how executor calls fare."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.moment = BEGINNING
        self.steps = 0
        self.stopped = False
        self.ready: deque[Handle] = deque()
        self.timers: list[tuple[float, int, Handle]] = []
        self.counted = 0
        self.tasks: list[asyncio.Task[Any]] = []
        self.threads: list[greenlet.greenlet] = []
        self.wrong: list[str] = []  # what was raised where nobody catches it
        self.outside = contextvars.Context()
        self.plan: Plan = lambda process, do: (0.0, do, 0.0)
        self.connect: Callable[..., Any] = lambda *given: None

    # Running

    def run(self, until: float) -> None:
        """Go on until `stopped` is set, nothing is left, or virtual time is up."""
        events._set_running_loop(self)
        try:
            while not self.stopped and self.moment < until and (handle := self._next()) is not None:
                self._do(handle)
        finally:
            events._set_running_loop(None)

    def _next(self) -> Handle | None:
        timers = self.timers
        while timers and (timers[0][0] <= self.moment or not self.ready):
            when, _, handle = heapq.heappop(timers)
            if not handle.dropped:
                self.moment = max(self.moment, when)
                self.ready.append(handle)
        return self.ready.popleft() if self.ready else None

    def _do(self, handle: Handle) -> None:
        if handle.dropped:
            return
        process = handle.context.get(current)
        if process is not None:
            if not process.alive:
                return
            if process.frozen_until > self.moment:
                process.backlog.append(handle)
                return
        self.moment += STEP
        self.steps += 1
        try:
            handle.context.run(handle.callback, *handle.args)
        except Killed:
            pass
        except Exception as error:  # asyncio's own loop would log it
            self.wrong.append(f"{process.name if process else 'outside'}: {error!r}")

    def soon(self, callback: Callable[..., Any], *args: Any) -> Handle:
        """Run it at once, as no process' own."""
        return self.call_soon(callback, *args, context=self.outside)

    def later(self, delay: float, callback: Callable[..., Any], *args: Any) -> Handle:
        """Run it after so many virtual seconds, as no process' own."""
        return self.call_at(self.moment + delay, callback, *args, context=self.outside)

    def bury(self) -> None:
        """At the end of a run: whatever still waits is ended where it stands, so that nothing of it runs later on."""
        self.ready.clear()
        self.timers.clear()
        events._set_running_loop(self)
        try:
            for task in self.tasks:
                if not task.done():
                    task._log_destroy_pending = False  # type: ignore[attr-defined]
                    _unwind(task.get_coro())
            for thread in self.threads:
                thread.throw()
        finally:
            events._set_running_loop(None)
        self.tasks.clear()
        self.threads.clear()
        self.ready.clear()
        self.timers.clear()

    # What asyncio asks of a loop

    def time(self) -> float:
        return self.moment

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., Any], *args: Any, context: contextvars.Context | None = None
    ) -> Handle:
        handle = Handle(
            callback, args, contextvars.copy_context() if context is None else context, self.moment
        )
        self.ready.append(handle)
        return handle

    def call_later(  # type: ignore[override]
        self,
        delay: float,
        callback: Callable[..., Any],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> Handle:
        return self.call_at(self.moment + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self,
        when: float,
        callback: Callable[..., Any],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> Handle:
        handle = Handle(callback, args, contextvars.copy_context() if context is None else context, when)
        self.counted += 1
        heapq.heappush(self.timers, (when, self.counted, handle))
        return handle

    def create_future(self) -> "asyncio.Future[Any]":
        return asyncio.Future(loop=self)

    def create_task(  # type: ignore[override]
        self, body: Any, *, name: str | None = None, context: contextvars.Context | None = None
    ) -> "asyncio.Task[Any]":
        task = asyncio.Task(body, loop=self, name=name, context=context)
        self.tasks.append(task)
        return task

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, function: Callable[..., Any], *args: Any
    ) -> "asyncio.Future[Any]":
        """A step of its own, in the caller's context, after what `plan` says; its answer comes later still."""
        future = self.create_future()
        before, do, after = self.plan(current.get(), lambda: function(*args))

        def work() -> None:
            try:
                value = do()
            except (Killed, greenlet.GreenletExit):
                return
            except BaseException as error:
                self.call_later(after, self._answer, future, None, error)
            else:
                self.call_later(after, self._answer, future, value, None)

        thread = greenlet.greenlet(work)
        thread.gr_context = contextvars.copy_context()
        self.threads.append(thread)
        self.call_later(before, self._step, thread)
        return future

    def _step(self, thread: greenlet.greenlet) -> None:
        """Go on with what a thread does, until it is done or rests."""
        seconds = thread.switch()
        if thread.dead:
            self.threads.remove(thread)
        else:
            self.call_later(seconds, self._step, thread)

    def rest(self, seconds: float) -> None:
        """Called in what a thread does: others go first for so long. Nothing where no thread is."""
        thread = greenlet.getcurrent()
        if thread.parent is not None:
            thread.parent.switch(seconds)

    @staticmethod
    def _answer(future: "asyncio.Future[Any]", value: Any, error: BaseException | None) -> None:
        if future.cancelled():
            return
        if error is None:
            future.set_result(value)
        else:
            future.set_exception(error)

    async def create_connection(self, factory: Any, host: Any = None, port: Any = None, **given: Any) -> Any:  # type: ignore[override]
        return await self.connect(factory, host, port)

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """A task of a dead process that nobody asks any more; others are noted by `_do`."""


def _unwind(body: Any) -> None:
    """End a coroutine where it stands: its clean-up may wait, and is ended there, too."""
    for _ in range(50):
        try:
            body.throw(Killed())
        except BaseException:
            return
