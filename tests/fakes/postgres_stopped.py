"""A PostgreSQL that is there and answers nothing."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import asyncpg
import psutil
import pytest

from fakes.postgres import Postgres, with_database


@asynccontextmanager
async def stopped(server: Postgres) -> AsyncIterator[None]:
    """All its processes are stopped (SIGSTOP), until the block ends. Skips for a server that runs elsewhere."""
    processes = await _processes(server)
    try:
        for process in processes:
            with suppress(psutil.NoSuchProcess):  # it has just ended
                process.suspend()
        yield
    finally:
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.resume()


async def _processes(server: Postgres) -> list[psutil.Process]:
    """The main one and its children, found by the one that serves a connection."""
    connection = await asyncpg.connect(with_database(server.owner_url, "postgres"), timeout=60)
    try:
        serving: int = await connection.fetchval("SELECT pg_backend_pid()")
        main = psutil.Process(serving).parent() if psutil.pid_exists(serving) else None
        if main is None or "postgres" not in main.name():
            pytest.skip("the database runs on another machine: its processes cannot be stopped")
        return [main, *main.children(recursive=True)]
    finally:
        await connection.close(timeout=60)
