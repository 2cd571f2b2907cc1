"""What live streams ask a worker, and whose windows go along: a question costs as much as three windows, besides those that are in it.

So a stream that cannot wait takes along what other live streams have waiting, which then need no question of their own. What it fails at, they
ask again for themselves.
"""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Final, cast

from malha.diarize.channel import Job
from malha.diarize.clustering import Array, Labels
from malha.diarize.engines.resemblyzer_messages import Grouping, Windows
from malha.runtime.host import EngineHost

ASK_SECONDS: Final = 60.0
"""For an answer of the worker, whoever else it works for."""
TOGETHER: Final = 6
"""Windows of several streams in a question: more would save little, and keep the one that cannot wait, whose turn is to be told in time."""


class Waiting:
    """The windows of one stream that have no print yet, in the order of time."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []
        """Not asked for."""
        self.answered: list[tuple[Sequence[Job], Array]] = []
        """Asked for, and their prints, for the stream to take."""
        self.under_way: asyncio.Future[None] | None = None
        """Done when the question is answered that some of its windows are in."""

    def __iter__(self) -> Iterator[Job]:
        return iter(self.jobs)


class Questions:
    """The questions of one engine to its workers."""

    def __init__(self, host: EngineHost) -> None:
        self._host = host
        self._company: list[Waiting] = []

    def join(self, waiting: Waiting) -> None:
        """The windows of this live stream may go along with others' from now on."""
        self._company.append(waiting)

    def leave(self, waiting: Waiting) -> None:
        """They may not any longer."""
        self._company.remove(waiting)

    async def ask(self, waiting: Waiting, *, background: bool) -> None:
        """Have all windows of a stream answered. Raises what the host raises."""
        while waiting.under_way is not None:
            await asyncio.wait((waiting.under_way,))
        if not waiting.jobs:
            return
        asked = [waiting] if background else [waiting, *self._along(waiting)]
        parts = [each.jobs for each in asked]
        done = asyncio.get_running_loop().create_future()
        for each in asked:
            each.jobs, each.under_way = [], done
        try:
            prints = await self.prints([job for jobs in parts for job in jobs], background=background)
        except BaseException:
            for each, jobs in zip(asked, parts, strict=True):
                each.jobs = jobs + each.jobs
            raise
        else:
            for each, jobs in zip(asked, parts, strict=True):
                each.answered.append((jobs, prints[: len(jobs)]))
                prints = prints[len(jobs) :]
        finally:
            for each in asked:
                each.under_way = None
            done.set_result(None)

    async def prints(self, jobs: Sequence[Job], *, background: bool) -> Array:
        """(windows, dimension)."""
        question = Windows(tuple(job.pcm for job in jobs))
        return cast("Array", await self._host.call(None, question, timeout_seconds=ASK_SECONDS, background=background))

    async def groups(self, prints: Array, seconds: Array, most: int, *, background: bool) -> Labels:
        """Which windows are of one voice; ``most``: 0 for as many voices as are found."""
        question = Grouping(prints, seconds, most)
        return cast("Labels", await self._host.call(None, question, timeout_seconds=ASK_SECONDS, background=background))

    def _along(self, first: Waiting) -> Iterator[Waiting]:
        """Others, as far as there is room for their windows besides the first's."""
        room = TOGETHER - len(first.jobs)
        for each in self._company:
            if each is not first and each.under_way is None and 0 < len(each.jobs) <= room:
                room -= len(each.jobs)
                yield each
