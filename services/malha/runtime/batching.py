"""Batches across sessions: items that wait at the same time are computed together, and no tenant waits behind another's queue.

Tenants take turns, the one that was served longest ago first. It decides with its oldest item which batch comes next; the places in it go in
the order of turns to all tenants that have compatible items. So a tenant with a thousand waiting items holds up another tenant's item by the
batches that already run, and no more.

Background items have batches of their own. One starts when no live item waits and a runner is free, or when background work is overdue
(`malha.runtime.precedence`); it never keeps a live batch from starting. What runs both in turns must let live batches go first itself, as
`malha.runtime.host` does.
"""

import asyncio
import itertools
import time
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from prometheus_client import Histogram

from malha.runtime.errors import EngineBusy, EngineCrashed, Internal, MalhaError, Unavailable
from malha.runtime.precedence import Precedence

SIZE: Final = Histogram("malha_batch_items", "Items in a batch.", ("batcher",), buckets=(1, 2, 4, 8, 16, 32, 64))
WAIT_SECONDS: Final = Histogram(
    "malha_batch_wait_seconds", "How long an item waited for its batch.", ("batcher",), buckets=(0.005, 0.02, 0.04, 0.1, 0.3, 1, 3, 10, 30)
)

REMEMBERED_TENANTS: Final = 4096
LIVELY_SECONDS: Final = 30.0
"""So long after a live item a background batch has one item: the next live one waits for no more."""

T = TypeVar("T")
R = TypeVar("R")
K = TypeVar("K", bound=Hashable)
Run = Callable[[Sequence[T]], Awaitable[Sequence[R | Exception]]]


@dataclass(slots=True, eq=False)
class _Waiting(Generic[T, R]):
    """An item in the queue; ``number`` counts up in the order of arrival."""

    number: int
    item: T
    tenant: str
    key: Hashable
    since: float
    result: asyncio.Future[R]


class Batcher(Generic[T, R]):
    """Gathers the items of concurrent `submit` calls and gives them to ``run`` in batches.

    A batch starts when one of ``concurrency`` runners is free, and either ``max_batch`` compatible items wait or one has waited
    ``max_wait_seconds``. Items are compatible if ``compatible`` gives the same key for them. ``run`` returns one result or exception for each
    item, in their order. ``name`` labels the metrics.
    """

    def __init__(
        self,
        run: Run[T, R],
        *,
        max_batch: int,
        max_wait_seconds: float = 0.030,
        max_queued: int,
        concurrency: int,
        compatible: Callable[[T], Hashable] = lambda _: None,
        name: str = "batch",
    ) -> None:
        self._run = run
        self._max_batch = max_batch
        self._max_wait_seconds = max_wait_seconds
        self._max_queued = max_queued
        self._concurrency = concurrency
        self._compatible = compatible
        self._live: _Queue[T, R] = _Queue()
        self._background: _Queue[T, R] = _Queue()
        self._precedence = Precedence()
        self._lively_until = 0.0
        self._numbers = itertools.count()
        self._running_live: set[asyncio.Task[None]] = set()
        self._running_background: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        self._run_seconds = 0.1  # on average
        self._size = SIZE.labels(name)
        self._wait_seconds = WAIT_SECONDS.labels(name)

    async def submit(self, item: T, *, tenant: str, background: bool = False) -> R:
        """The result for one item. Cancelling takes the item out of the queue.

        Raises what ``run`` returned or raised for it; EngineBusy if ``max_queued`` items wait; Unavailable when closed. When the queue is
        full, a tenant that has less in it than another is still let in: the other's newest item is refused instead. A live item takes the
        place of a background one.
        """
        if self._closed:
            raise Unavailable("the engine is closing")
        queue = self._background if background else self._live
        self._make_room(tenant, queue)
        if not background:
            self._lively_until = time.monotonic() + LIVELY_SECONDS
        result: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        waiting = _Waiting(next(self._numbers), item, tenant, self._compatible(item), time.monotonic(), result)
        queue.add(waiting)
        self._dispatch()
        try:
            return await result
        finally:
            queue.discard(waiting)

    async def close(self) -> None:
        """Stop the runners; whoever waits gets Unavailable."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        for queue in (self._live, self._background):
            while queue:
                _refuse(queue.take(self._max_batch))
        running = [*self._running_live, *self._running_background]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def _make_room(self, tenant: str, queue: "_Queue[T, R]") -> None:
        waiting = len(self._live) + len(self._background)
        if waiting < self._max_queued:
            return
        batches = waiting / self._max_batch / self._concurrency
        busy = EngineBusy(
            "the engine's queue is full", retry_seconds=min(max(batches * self._run_seconds, 0.1), 30.0), quota="engine_queued_items"
        )
        victims = self._background or self._live
        newest = victims.newest_of_longest()
        gives_way = victims is not queue and victims is self._background
        if newest is None or not (gives_way or (victims is queue and queue.length(newest.tenant) > queue.length(tenant) + 1)):
            raise busy
        victims.discard(newest)
        newest.result.set_exception(busy)

    def _dispatch(self) -> None:
        """Start the batches that are due, and set the timer for the next."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while not self._closed and (queue := self._next_queue()) is not None:
            wait = queue.oldest.since + self._max_wait_seconds - time.monotonic()
            if wait > 0 and queue.most_compatible < self._max_batch:
                self._timer = asyncio.get_running_loop().call_later(wait, self._dispatch)
                return
            self._start(queue)

    def _next_queue(self) -> "_Queue[T, R] | None":
        """Whose batch may start now. With several runners one is kept free of background work."""
        running = len(self._running_live) + len(self._running_background)
        if self._background and len(self._running_background) < max(1, self._concurrency - 1):
            idle = not self._live and running < self._concurrency
            if idle or self._precedence.overdue:
                return self._background
        return self._live if self._live and len(self._running_live) < self._concurrency else None

    def _start(self, queue: "_Queue[T, R]") -> None:
        background = queue is self._background
        self._precedence.count(background=background, waits=bool(self._background))
        alone = background and time.monotonic() < self._lively_until
        task = asyncio.create_task(self._run_batch(queue.take(1 if alone else self._max_batch)))
        running = self._running_background if background else self._running_live
        running.add(task)
        task.add_done_callback(running.discard)
        task.add_done_callback(lambda _: self._dispatch())

    async def _run_batch(self, batch: list[_Waiting[T, R]]) -> None:
        began = time.monotonic()
        self._size.observe(len(batch))
        for waiting in batch:
            self._wait_seconds.observe(began - waiting.since)
        try:
            outcomes = await self._outcomes([waiting.item for waiting in batch])
            self._run_seconds += (time.monotonic() - began - self._run_seconds) / 8
            for waiting, outcome in zip(batch, outcomes, strict=True):
                if waiting.result.done():
                    continue
                if isinstance(outcome, Exception):
                    waiting.result.set_exception(outcome)
                else:
                    waiting.result.set_result(outcome)
        finally:
            _refuse(batch)

    async def _outcomes(self, items: list[T]) -> Sequence[R | Exception]:
        """One outcome an item. If something in a batch breaks all of it, the items are run one by one, so that it breaks only its own."""
        try:
            outcomes = await self._run(items)
        except Exception as error:
            overloaded = isinstance(error, MalhaError) and not isinstance(error, EngineCrashed | Internal)
            if overloaded or len(items) == 1:
                return [error] * len(items)
            return [outcome for item in items for outcome in await self._outcomes([item])]
        if len(outcomes) != len(items):
            return [Internal(f"the engine gave {len(outcomes)} results for {len(items)} items")] * len(items)
        return outcomes


class _Queue(Generic[T, R]):
    """The waiting items, by tenant and key, each group in the order of arrival."""

    def __init__(self) -> None:
        self._items: OrderedDict[int, _Waiting[T, R]] = OrderedDict()
        self._tenants: dict[str, dict[Hashable, OrderedDict[int, _Waiting[T, R]]]] = {}
        self._keys: Counter[Hashable] = Counter()
        self._lengths: Counter[str] = Counter()
        self._turns = itertools.count(1)
        self._served: OrderedDict[str, int] = OrderedDict()  # tenant -> its last turn

    def __len__(self) -> int:
        return len(self._items)

    @property
    def oldest(self) -> _Waiting[T, R]:
        return next(iter(self._items.values()))

    @property
    def most_compatible(self) -> int:
        """How many items the largest possible batch has."""
        return max(self._keys.values(), default=0)

    def length(self, tenant: str) -> int:
        return self._lengths[tenant]

    def newest_of_longest(self) -> _Waiting[T, R] | None:
        """The newest item of the tenant that has the most."""
        longest = max(self._lengths, key=self._lengths.__getitem__, default=None)
        return next((waiting for waiting in reversed(self._items.values()) if waiting.tenant == longest), None)

    def add(self, waiting: _Waiting[T, R]) -> None:
        self._items[waiting.number] = waiting
        self._tenants.setdefault(waiting.tenant, {}).setdefault(waiting.key, OrderedDict())[waiting.number] = waiting
        self._lengths[waiting.tenant] += 1
        self._keys[waiting.key] += 1

    def discard(self, waiting: _Waiting[T, R]) -> None:
        if self._items.pop(waiting.number, None) is None:
            return
        keys = self._tenants[waiting.tenant]
        del keys[waiting.key][waiting.number]
        if not keys[waiting.key]:
            del keys[waiting.key]
        if not keys:
            del self._tenants[waiting.tenant]
        _decrement(self._lengths, waiting.tenant)
        _decrement(self._keys, waiting.key)

    def take(self, size: int) -> list[_Waiting[T, R]]:
        """The next batch, at most ``size`` items of one key."""
        first = self._tenants[min(self._tenants, key=self._last_turn)]
        key = min(first, key=lambda key: next(iter(first[key])))
        batch: list[_Waiting[T, R]] = []
        while len(batch) < size and key in self._keys:
            tenant = min((tenant for tenant, keys in self._tenants.items() if key in keys), key=self._last_turn)
            waiting = next(iter(self._tenants[tenant][key].values()))
            self.discard(waiting)
            self._note_turn(tenant)
            batch.append(waiting)
        return batch

    def _last_turn(self, tenant: str) -> int:
        return self._served.get(tenant, 0)

    def _note_turn(self, tenant: str) -> None:
        self._served[tenant] = next(self._turns)
        self._served.move_to_end(tenant)
        if len(self._served) > REMEMBERED_TENANTS:
            self._served.popitem(last=False)


def _decrement(counter: Counter[K], name: K) -> None:
    counter[name] -= 1
    if not counter[name]:
        del counter[name]


def _refuse(batch: list[_Waiting[T, R]]) -> None:
    """For those who would otherwise wait for a result that no longer comes."""
    for waiting in batch:
        if not waiting.result.done():
            waiting.result.set_exception(Unavailable("the engine is closing"))
