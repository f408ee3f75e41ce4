"""`python -m scheduler`: the clock alone, for those who run it without the command line."""

import asyncio
import signal

from scheduler import clock
from service.ops.house import open_house


async def main() -> None:
    """Tick until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await clock.run(open_house(), stop=stop)


if __name__ == "__main__":
    asyncio.run(main())
