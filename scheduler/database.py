"""The sender's way to the database: each transaction in an executor, and repeated until the database takes it.

Every transaction of the sender may be repeated, so one that is away or busy is waited for. One that is damaged is not, nor one that
refuses what it is asked, but for the case that somebody else wrote the same at that moment.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar

from sqlalchemy.engine import Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Session

from service.db.engine import is_damaged, is_refused
from service.db.session import reading, transaction
from service.kit.errors import DatabaseDamaged

log = logging.getLogger("bidden.sender")
Value = TypeVar("Value")
LONGEST_WAIT = 2.0
NEVER = float("-inf")
ASKED_OF_A_REFUSAL = 3  # times


class Database:
    """Reading and writing transactions from an event loop."""

    def __init__(self, engine: Engine, executor: Executor) -> None:
        self.engine, self.executor = engine, executor
        self.failed = NEVER  # when a transaction last ended without a word of its end, by the steady clock

    async def read(self, query: Callable[[Session], Value]) -> Value:
        """What the query returns, from one reading transaction."""

        def run() -> Value:
            with reading(self.engine) as session:
                return query(session)

        return await self._patiently(run)

    async def write(self, action: Callable[[Session], Value]) -> Value:
        """What the action returns, once it is committed."""

        def run() -> Value:
            with transaction(self.engine) as session:
                return action(session)

        return await self._patiently(run)

    async def run(self, action: Callable[[], Value]) -> Value:
        """What an action returns that opens its transactions itself."""
        return await self._patiently(action)

    async def _patiently(self, run: Callable[[], Value]) -> Value:
        loop = asyncio.get_running_loop()
        wait, refused = 0.05, 0
        while True:
            try:
                return await loop.run_in_executor(self.executor, run)
            except SQLAlchemyError as away:
                self.failed = time.monotonic()
                if is_damaged(away):
                    raise DatabaseDamaged from away
                refused += is_refused(away)
                if refused == ASKED_OF_A_REFUSAL:
                    log.error("the database refuses", extra={"facts": {"error": type(away).__name__}})
                    raise
                log.warning("the database did not answer", extra={"facts": {"error": type(away).__name__}})
                await asyncio.sleep(wait)
                wait = min(LONGEST_WAIT, wait * 2)
