"""Who keeps the event loop from everybody else."""

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import thread_time


@asynccontextmanager
async def never_blocked(seconds: float = 0.05) -> AsyncIterator[None]:
    """What runs here never keeps the loop for longer than this: of its thread's CPU time, so that what else the machine does is not counted, and
    without garbage collections, which a server all but ends when it has started."""
    worst, ended = 0.0, False

    async def watch() -> None:
        nonlocal worst
        last = thread_time()
        while not ended:
            await asyncio.sleep(0)
            worst, last = max(worst, thread_time() - last), thread_time()

    gc.collect()
    gc.disable()
    watching = asyncio.create_task(watch())
    try:
        yield
    finally:
        ended = True
        await watching
        gc.enable()
    assert worst < seconds, f"the loop was kept for {worst:.3f} s"
