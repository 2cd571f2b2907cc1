"""A child's next process, kept at hand: started, loaded, and asleep until the one that serves has died.

Most of what a restart costs is imports. A standby has done them; its turn is a byte in a pipe. See `malha.runtime.supervisor`. It loads a little
at a time, with pauses, beside the one that serves: at full pace 3 s of imports were heard in the latency of its calls.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from malha.runtime.supervisor_process import Process

STANDBY_SECONDS: Final = 8.0
"""From when a child is ready to the start of its standby: calls that the restart had cut off come first."""
LONGEST_PAUSE_SECONDS: Final = 60.0
"""Between standbys that die by themselves."""


class Standby:
    """Keeps one process waiting while its child serves. ``spawn(hurried)`` starts one; ``at_once``: the first now, for the child's own start."""

    def __init__(self, spawn: Callable[[bool], Awaitable[Process]], pause_seconds: float, *, at_once: bool = False) -> None:
        self._spawn = spawn
        self._pause_seconds = pause_seconds
        self._process: Process | None = None
        self._wanted, self._stopping = at_once, False
        self._changed = asyncio.Event()
        self._task = asyncio.create_task(self._keep(0.0 if at_once else pause_seconds))

    def want(self, *, wanted: bool) -> None:
        """Whether the child serves, and so has a standby soon."""
        self._wanted = wanted
        self._changed.set()

    def take(self, environment: Mapping[str, str]) -> Process | None:
        """The standby, which now serves and is the caller's; None: there is none, or it was started for another environment."""
        self._wanted, process = False, self._process
        if process is None or process.ended.done():
            return None
        if process.environment != environment:
            process.dismiss()
            return None
        if not process.give_turn():
            return None
        self._process = None
        self._changed.set()
        return process

    async def stop(self) -> None:
        """End the standby, and keep none any more."""
        self._stopping = True
        self._changed.set()
        await self._task

    async def _keep(self, pause: float) -> None:
        while not self._stopping:
            self._changed.clear()
            if not self._wanted:
                await self._changed.wait()
            elif not await self._changes_within(pause):
                lasted = await self._hold(hurried=not pause)
                pause = self._pause_seconds if lasted else min(max(2 * pause, self._pause_seconds), LONGEST_PAUSE_SECONDS)

    async def _hold(self, *, hurried: bool) -> bool:
        """Have a standby until it is taken, dead, or not to be kept any more. False: it died early, or could not be started."""
        began = time.monotonic()
        try:
            process = self._process = await self._spawn(hurried)
        except OSError:  # the child's own restart says what is wrong
            return False
        process.ended.add_done_callback(lambda _: self._changed.set())
        while self._process is process and not self._stopping and not process.ended.done():
            self._changed.clear()
            await self._changed.wait()
        if self._process is not process:
            return True
        self._process = None
        await process.end()
        return time.monotonic() - began > LONGEST_PAUSE_SECONDS

    async def _changes_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                return await self._changed.wait()
        except TimeoutError:
            return False
