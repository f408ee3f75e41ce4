"""The four kinds of process, each by itself: `bidden web`, `clock`, `send` and `inbox`. `up` runs them all.

Each imports what it runs when it runs: a sender holds no pages in memory, and the other commands start at once.
"""

import asyncio
import gc
import random
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Annotated

import typer

from service.cli import desk, parent
from service.db.engine import spare_temporary_files
from service.domain.brands import actions as brands
from service.domain.deliveries import claims
from service.domain.senders import actions as senders
from service.kit import clock
from service.ops.house import House

KEEP_ALIVE = 15  # seconds an idle connection stays open
DRAIN = 8  # seconds requests under way get after SIGTERM
TURN = 0.0005  # seconds a thread works on while another waits; Python's own 0.005 are for threads that do not mind
YOUNG = 10_000  # new objects after which the garbage collector looks at them; Python's own 700 are for short programs


def _forever(run: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    """Run until SIGTERM or SIGINT, on uvloop where there is one. A second one ends the process at once."""

    async def main() -> None:
        stop = asyncio.Event()
        parent.until_told(stop)
        await run(stop)

    parent.watch()
    _settle_in()
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(main())


def _settle_in() -> None:
    """What is loaded now stays as long as the process: the garbage collector need not go through it again and again, which
    took a fifth of a bulk registration.

    And a thread at the database gets its turn soon: in a busy sender it waited five milliseconds after every statement, with the
    database locked, and every no waited for it.
    """
    _collect_less()
    sys.setswitchinterval(TURN)


def _collect_less() -> None:
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, 10, 10)


@contextmanager
def collecting_less() -> Iterator[None]:
    """The same of the garbage collector for a command that takes minutes."""
    before = gc.get_threshold()
    _collect_less()
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


@desk.command
def web(as_json: desk.Json = False) -> None:
    """Answer HTTP: pages, the API, the links in mails."""
    import uvicorn

    from service.app import build

    parent.watch()
    opened = desk.house_that_runs()
    host, _, port = opened.settings.listen.rpartition(":")
    config = uvicorn.Config(
        build(opened),
        host=host.strip("[]"),
        port=int(port),
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=DRAIN,
    )
    server = uvicorn.Server(config)
    _settle_in()
    server.run()
    if not server.started:
        desk.refuse(
            f"Nothing can listen at {opened.settings.listen}.",
            why="listen",
            then="Set BIDDEN_LISTEN.",
            as_json=as_json,
        )


@desk.command
def tick(as_json: desk.Json = False) -> None:
    """Tick: what is due is started, finished and expired. Two of them do no harm."""
    from scheduler import clock as alarm

    opened = desk.house_that_runs()
    _forever(lambda stop: alarm.run(opened, stop=stop))


sending = typer.Typer(invoke_without_command=True, pretty_exceptions_enable=False)


@sending.callback()
@desk.command
def send(
    context: typer.Context,
    name: Annotated[str, typer.Option(help="This sender's own name; by default the host's, with -1.")] = "",
    as_json: desk.Json = False,
) -> None:
    """Send what is due. Start as many as you like, each with a name of its own."""
    if context.invoked_subcommand is not None:
        return
    from scheduler import sender

    opened = desk.house_that_runs()
    spare_temporary_files(opened.engine)
    _forever(lambda stop: sender.run(opened, name or f"{socket.gethostname()}-1", stop=stop))


@sending.command(name="on")
@desk.command
def switch_on(as_json: desk.Json = False) -> None:
    """Let mail leave again: after a restore, or when the clock had jumped and the time is right now."""
    _switch(True, as_json)


@sending.command(name="off")
@desk.command
def switch_off(as_json: desk.Json = False) -> None:
    """Let nothing leave until it is switched on again."""
    _switch(False, as_json)


def _switch(on: bool, as_json: bool) -> None:
    opened, now = desk.house(), clock.now()
    desk.change(
        opened,
        lambda session: brands.set_setting(session, "sending_on", on, now=now, by=desk.BY),
        as_json=as_json,
    )
    desk.say({"sending_on": on}, f"Sending is {'on' if on else 'off'}.", as_json=as_json)


@sending.command()
@desk.command
def lost(
    name: Annotated[
        str, typer.Argument(help="The sender's name, as the warning on every staff page gives it.")
    ],
    as_json: desk.Json = False,
) -> None:
    """Give up a sender whose machine is gone: what it had in hand is settled by its journal, where that is here, else it
    is unknown."""
    from scheduler import recovery

    opened, now, chance = desk.house(), clock.now(), random.SystemRandom()
    desk.ask(opened, lambda session: senders.check_lost(session, name, now=now))
    recovered = asyncio.run(recovery.recover_lost(opened, name))
    batches = desk.change(
        opened,
        lambda session: claims.lose(
            session, opened.ring, name, waits=opened.waits, now=now, chance=chance, by=desk.BY
        ),
        as_json=as_json,
    )
    words = f"Sender {name} is given up. Batches whose end nobody knows: {batches}."
    desk.say({"sender": name, "batches": batches, "journals": recovered}, words, as_json=as_json)


@desk.command
def inbox(as_json: desk.Json = False) -> None:
    """The captured inbox: takes every mail and passes none on (development)."""
    opened = desk.house()
    _forever(partial(_serve_inbox, opened))


async def _serve_inbox(opened: House, stop: asyncio.Event) -> None:
    from service.inbox import serve
    from service.ops import captured

    serving = asyncio.create_task(serve(opened.settings.inbox_listen, partial(captured.keep, opened)))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if serving.done():
        serving.result()  # it never ends by itself: say why
    serving.cancel()
