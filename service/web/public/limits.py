"""How often a form may be used from one network, and answers that take equally long. A stop is never limited.

Called by the forms of sign-up, lost link, sign-in and contact. The limits per mailbox lie in `preferences`.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import Request

from service.kit.errors import TooMany
from service.web import deps

SLOT = 0.15  # seconds; answers leave on a multiple of it, whatever was known (standards N10)
_MOST_NETWORKS = 20_000
# Takings at once and per second. Behind a proxy everybody seems to come from loopback: that door is wide.
_STRANGER, _LOOPBACK = (20.0, 0.1), (600.0, 20.0)


class TooOften(TooMany):
    """This was asked for very often from your network; please wait some minutes."""


class Allowance:
    """A bucket per network, in this process, the least recently seen forgotten first."""

    def __init__(self) -> None:
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, request: Request) -> None:
        """One use of a form. Raises `TooOften`."""
        network, now = deps.network(request), time.monotonic()
        most, rate = _LOOPBACK if network in ("", "127.0.0.0/24", "::/48") else _STRANGER
        left, at = self._left.pop(network, (most, now))
        left = min(most, left + (now - at) * rate)
        self._left[network] = (left - 1 if left >= 1 else left, now)
        if len(self._left) > _MOST_NETWORKS:
            self._left.popitem(last=False)
        if left < 1:
            raise TooOften


allowance = Allowance()


@asynccontextmanager
async def even() -> AsyncIterator[None]:
    """Let what happens inside take a whole number of slots, so that time tells nothing of anybody (H55)."""
    began = time.monotonic()
    try:
        yield
    finally:
        spent = time.monotonic() - began
        await asyncio.sleep(SLOT * (spent // SLOT + 1) - spent)
