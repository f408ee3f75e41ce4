"""`bidden demo`: `up` on a data directory of its own, filled through the public API and the running sender."""

import asyncio
import os
import sys

from service.cli import desk, up
from service.ops import demo as content
from service.ops.house import upgrade

DEFAULTS = {"BIDDEN_DATA_DIR": "./data/demo", "BIDDEN_HOLD_SECONDS": "10", "BIDDEN_LOG_LEVEL": "WARNING"}


@desk.command
def demo(as_json: desk.Json = False) -> None:
    """Run everything with demo data: 400 invented people, a few past mailings, a captured inbox."""
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)  # the children read it too
    house = desk.house()
    upgrade(house)
    content.furnish(house)

    async def run() -> None:
        supervisor = up.Supervisor(house, up.roles(house))

        async def fill() -> None:
            if not await up.ready(house, supervisor.stopping):
                return
            try:
                await asyncio.to_thread(content.fill, house, up.listens_at(house), _progress)
            except content.DemoStuck as stuck:
                print(f"The demo data is not complete: {stuck}", file=sys.stderr, flush=True)
            link = await asyncio.to_thread(content.sign_in_link, house)
            print(up.words(house, link, as_json=as_json), flush=True)

        await supervisor.run(fill)

    asyncio.run(run())


def _progress(words: str) -> None:
    print(words, file=sys.stderr, flush=True)
