"""Answers remembered for a while, asked for in batches: what lies in the store and is needed to let a call in."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Final, Generic, TypeVar

from malha.runtime.errors import ResourceExhausted

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

PATIENCE_SECONDS: Final = 0.5
"""How long a stale answer waits to be renewed before it is given as it is."""
MOST_AT_ONCE: Final = 500
MOST_WAITING: Final = 5_000
"""Keys that are asked for at once; more are refused."""


@dataclass(frozen=True, slots=True)
class _Entry(Generic[V]):
    value: V | None
    at: float


@dataclass(frozen=True, slots=True)
class _Question(Generic[V]):
    answer: asyncio.Future[V | None]
    since: float


class Lookup(Generic[K, V]):
    """``find`` gives what there is for some keys; those it leaves out have nothing, which is remembered as well.

    An answer is fresh for ``fresh(value)`` seconds. A stale one is asked for again, and still holds up to ``stale(value)`` seconds while
    ``find`` fails or takes long. One query at a time is under way; the keys that are asked for meanwhile go into the next. At most
    ``most`` answers are remembered, those asked for last.
    """

    def __init__(
        self,
        find: Callable[[Sequence[K]], Awaitable[Mapping[K, V]]],
        fresh: Callable[[V | None], float],
        stale: Callable[[V | None], float],
        most: int = 16_384,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._find = find
        self._fresh = fresh
        self._stale = stale
        self._most = most
        self._clock = clock
        self._entries: OrderedDict[K, _Entry[V]] = OrderedDict()
        self._questions: dict[K, _Question[V]] = {}
        self._next: list[K] = []
        self._asking: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._entries)

    def remembered(self, key: K) -> V | None:
        """What is known without asking, if it still holds, fresh or stale."""
        entry = self._entries.get(key)
        return entry.value if entry is not None and self._clock() - entry.at < self._stale(entry.value) else None

    async def get(self, key: K) -> V | None:
        """The value, None if there is none. Raises what ``find`` raised, and ResourceExhausted where too many keys are asked for."""
        entry = self._entries.get(key)
        age = 0.0 if entry is None else self._clock() - entry.at
        if entry is not None and age < self._fresh(entry.value):
            return entry.value
        if entry is None or age >= self._stale(entry.value):
            return await asyncio.shield(self._ask(key).answer)
        question = self._ask(key)
        left = question.since + PATIENCE_SECONDS - self._clock()
        if left > 0:
            await asyncio.wait({question.answer}, timeout=left)
        answer = question.answer
        return entry.value if not answer.done() or answer.cancelled() or answer.exception() else answer.result()

    def learn(self, keys: Sequence[K], found: Mapping[K, V]) -> None:
        """Remember what was found for ``keys``."""
        now = self._clock()
        for key in keys:
            self._entries[key] = _Entry(found.get(key), now)
            self._entries.move_to_end(key)
        while len(self._entries) > self._most:
            self._entries.popitem(last=False)

    async def close(self) -> None:
        """Ask no more; who waits for an answer is cancelled."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait({self._asking})

    def _ask(self, key: K) -> _Question[V]:
        question = self._questions.get(key)
        if question is None:
            if len(self._questions) >= MOST_WAITING:
                raise ResourceExhausted("too many callers at once: try again", reason="BUSY", retry_seconds=1.0, quota="lookups")
            loop = asyncio.get_running_loop()
            question = self._questions[key] = _Question(loop.create_future(), self._clock())
            question.answer.add_done_callback(_seen)
            self._next.append(key)
            if self._asking is None or self._asking.done():
                self._asking = loop.create_task(self._run(), name="lookup")
        return question

    async def _run(self) -> None:
        while self._next:
            keys, self._next = self._next[:MOST_AT_ONCE], self._next[MOST_AT_ONCE:]
            try:
                found = await self._find(keys)
            except asyncio.CancelledError:
                for question in self._questions.values():
                    question.answer.cancel()
                self._questions.clear()
                self._next.clear()
                raise
            except Exception as error:
                for key in keys:
                    self._questions.pop(key).answer.set_exception(error)
            else:
                self.learn(keys, found)
                for key in keys:
                    self._questions.pop(key).answer.set_result(found.get(key))


def _seen(answer: asyncio.Future[V | None]) -> None:
    """Whoever asked may be gone."""
    if not answer.cancelled():
        answer.exception()
