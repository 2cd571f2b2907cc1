"""Work that takes seconds on the loop that live calls share: a few milliseconds of it, then everybody else, and one such work at a time."""

import asyncio
from collections.abc import Generator
from time import perf_counter
from typing import Final, TypeVar

SLICE_SECONDS: Final = 0.003
Result = TypeVar("Result")


class Pace:
    """One for the work of a process: works that come together take turns, and all of them together have one slice of a turn of the loop."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._until = 0.0

    async def run(self, steps: Generator[None, None, Result]) -> Result:
        """What ``steps`` returns. It yields after each bit of work, of some milliseconds at most."""
        while True:
            async with self._turn:
                if perf_counter() >= self._until:
                    await asyncio.sleep(0)  # within the turn: the next slice, whoever's, comes after what the loop has to do
                    self._until = perf_counter() + SLICE_SECONDS
                while perf_counter() < self._until:
                    try:
                        next(steps)
                    except StopIteration as ended:
                        result: Result = ended.value
                        return result
