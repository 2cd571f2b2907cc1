"""Places at a deployment: so many calls at once, so many that wait, and no more; tenants take turns.

A place that comes free goes to the tenant whose turn it is, whatever the others have waiting. Where nobody else waits, one tenant may use the whole
queue; when it is full, a tenant with fewer waiting takes the place of the newest call of the one with most. So a tenant's share of the queue is at
least its equal part, and a flood of one is refused to that one alone.
"""

import asyncio
import contextlib
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Hashable

from malha.chat.errors import ModelBusy

_Waiter = asyncio.Future[None]


class Places:
    """Round robin over the tenants with waiting calls; each tenant's own come in their order."""

    def __init__(self, at_once: int, waiting: int) -> None:
        self._free = at_once
        self._most_waiting = waiting
        self._queues: OrderedDict[Hashable, deque[_Waiter]] = OrderedDict()
        """Of tenants that have some, in the order of their turns."""
        self._inside = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @contextlib.asynccontextmanager
    async def place(self, tenant: Hashable, deadline: float) -> AsyncIterator[None]:
        """A place, once it is the tenant's turn. Raises ModelBusy where too many wait, or it came to the loop's time ``deadline``."""
        self._inside += 1
        self._idle.clear()
        try:
            await self._acquire(tenant, deadline)
            try:
                yield
            finally:
                self._release()
        finally:
            self._inside -= 1
            if not self._inside:
                self._idle.set()

    async def wait_idle(self) -> None:
        """Wait until nobody is inside."""
        await self._idle.wait()

    async def _acquire(self, tenant: Hashable, deadline: float) -> None:
        if self._free:
            self._free -= 1
            return
        self._make_room(tenant)
        waiter: _Waiter = asyncio.get_running_loop().create_future()
        self._queues.setdefault(tenant, deque()).append(waiter)
        try:
            async with asyncio.timeout_at(deadline):
                await waiter
        except BaseException as error:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._release()  # the place was given just as its caller left
            self._forget(tenant, waiter)
            if isinstance(error, TimeoutError):
                raise ModelBusy("no place at the model came free in time", retry_seconds=1.0, quota="model_calls") from None
            raise

    def _make_room(self, tenant: Hashable) -> None:
        """Raise ModelBusy where too many wait and no other tenant has more of them than this one would have."""
        if sum(map(len, self._queues.values())) < self._most_waiting:
            return
        longest = max(self._queues, key=lambda name: len(self._queues[name]), default=None)
        if longest is None or len(self._queues[longest]) <= len(self._queues.get(tenant, ())) + 1:
            raise _too_many()
        waiter = self._queues[longest][-1]
        self._forget(longest, waiter)
        waiter.set_exception(_too_many())

    def _forget(self, tenant: Hashable, waiter: _Waiter) -> None:
        queue = self._queues.get(tenant)
        if queue is not None and waiter in queue:
            queue.remove(waiter)
            if not queue:
                del self._queues[tenant]

    def _release(self) -> None:
        """Give the place to the first call of the tenant whose turn it is; its next turn comes after everybody else's."""
        while self._queues:
            tenant, queue = self._queues.popitem(last=False)
            waiter = queue.popleft()
            if queue:
                self._queues[tenant] = queue
            if not waiter.done():
                waiter.set_result(None)
                return
        self._free += 1


def _too_many() -> ModelBusy:
    return ModelBusy("too many calls wait for this model", retry_seconds=1.0, quota="model_calls")
