"""What the tests of the SMTP door may ask for: either event loop."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
import uvloop

from tests.mail.wired import Run


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Run a coroutine on either loop, bounded."""
    runner = asyncio.run if request.param == "asyncio" else uvloop.run

    async def bounded(coro: Coroutine[Any, Any, Any]) -> Any:
        async with asyncio.timeout(30):
            return await coro

    return lambda coro: runner(bounded(coro))
