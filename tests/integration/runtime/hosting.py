"""An engine host with the workers of the tests, and how to look at it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import psutil

from fakes import workers
from malha.runtime.host import EngineHost, HostOptions, HostStream, Output

LIMIT = 20.0


@contextlib.asynccontextmanager
async def hosting(factory: str = "Workbench", options: object = None, name: str = "bench", **host) -> AsyncIterator[EngineHost]:
    host = {"environment": workers.ENVIRONMENT, "nice": 0, **host}
    engine = EngineHost(name, f"fakes.workers:{factory}", options, host=HostOptions(**host))
    async with asyncio.timeout(60):
        await engine.start()
        try:
            yield engine
        finally:
            await engine.close()


async def collect(stream: HostStream) -> list[Output]:
    return [output async for output in stream]


async def items(engine: EngineHost, *inputs: object, arguments: object = None, background: bool = False) -> list[object]:
    async def send() -> None:
        for item in inputs:
            await stream.send(item)
        await stream.finish()

    async with engine.stream(arguments, background=background) as stream:
        sending = asyncio.create_task(send())
        try:
            return [output.item for output in await collect(stream)]
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)


async def until(condition, seconds: float = LIMIT):
    async with asyncio.timeout(seconds):
        while not (value := condition()):
            await asyncio.sleep(0.005)
        return value


def alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def children() -> set[int]:
    """Of this process itself: those of a PostgreSQL that an earlier test started come and go."""
    return {child.pid for child in psutil.Process().children()}


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
