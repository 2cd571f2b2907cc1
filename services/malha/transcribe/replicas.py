"""A model in worker processes on some devices: loaded, unloaded while nobody needs it, loaded again for who is next.

A replica is a process rather than one of CTranslate2's ``device_index`` within a process: features, tokens and word times are made under the
GIL, 5 ms of a four-second utterance (measured on a CPU, where CTranslate2 takes 134 ms beside them for whisper/tiny), so that replicas of one
process would share 200 utterances a second, however fast their GPU is; and one that crashes or runs out of its GPU's memory takes no other along.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from prometheus_client import Gauge

from malha.runtime.errors import Unavailable
from malha.runtime.host import EngineHost

LOADED: Final = Gauge("malha_transcribe_loaded", "Whether the model is in memory; it is not once it was idle for long.", ("engine",))


@dataclass(slots=True, eq=False)
class _Group:
    """The replicas on one device, and how many batches they have."""

    host: EngineHost
    replicas: int
    info: object
    running: int = 0

    @property
    def load(self) -> tuple[bool, float]:
        """The least is asked first; a device that has failed comes last."""
        return not self.host.healthy, self.running / self.replicas


class Replicas:
    """Belongs to one event loop. ``makers`` make a host each, with its number of workers; ``idle_seconds`` 0: never unloaded."""

    def __init__(self, name: str, makers: Sequence[tuple[Callable[[], EngineHost], int]], idle_seconds: float) -> None:
        self._name = name
        self._makers = makers
        self._idle_seconds = idle_seconds
        self._loading: asyncio.Task[list[_Group]] | None = None
        self._unloading: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._users = 0
        self._closed = False

    async def start(self) -> object:
        """Load everywhere and return what a worker tells. Raises FailedPrecondition if a device is not there, or the model cannot be loaded."""
        groups = await asyncio.shield(self._load_once())
        self._watch_idle()
        return groups[0].info

    async def close(self) -> None:
        """Unload. Batches under way end with Unavailable."""
        self._closed = True
        self._stop_watching()
        self._unload()
        if self._unloading is not None:
            await self._unloading

    @property
    def worker_pids(self) -> tuple[int, ...]:
        """The loaded workers."""
        return tuple(pid for group in self._groups for pid in group.host.worker_pids)

    @property
    def loaded(self) -> bool:
        return bool(self._groups)

    @contextlib.contextmanager
    def use(self) -> Iterator[None]:
        """Keep the model loaded, or begin to load it: somebody has begun to speak."""
        self._users += 1
        self._stop_watching()
        self._load_once()
        try:
            yield
        finally:
            self._users -= 1
            self._watch_idle()

    async def call(self, arguments: object, item: object, *, timeout_seconds: float, background: bool) -> object:
        """As `EngineHost.call`, on the device with the least to do; waits first for the model, if it was unloaded."""
        group = min(await asyncio.shield(self._load_once()), key=lambda group: group.load)
        group.running += 1
        try:
            return await group.host.call(arguments, item, timeout_seconds=timeout_seconds, background=background)
        finally:
            group.running -= 1

    @property
    def _groups(self) -> list[_Group]:
        task = self._loading
        return task.result() if task is not None and task.done() and not task.cancelled() and task.exception() is None else []

    def _load_once(self) -> "asyncio.Task[list[_Group]]":
        """The loading under way, or a new one where there is none or the last has failed."""
        if self._closed:
            raise Unavailable("the engine is closing")
        task = self._loading
        if task is None or (task.done() and (task.cancelled() or task.exception() is not None)):
            self._loading = task = asyncio.create_task(self._load(), name="load-replicas")
            task.add_done_callback(lambda done: done.cancelled() or done.exception())  # who waited for it may be gone
        return task

    async def _load(self) -> list[_Group]:
        if self._unloading is not None:  # its memory first
            await asyncio.shield(self._unloading)
        hosts = [(make(), replicas) for make, replicas in self._makers]
        try:
            async with asyncio.TaskGroup() as group:
                starting = [group.create_task(host.start()) for host, _ in hosts]
        except BaseException as error:
            await asyncio.gather(*(host.close() for host, _ in hosts))
            raise (error.exceptions[0] if isinstance(error, BaseExceptionGroup) else error) from None
        LOADED.labels(self._name).set(1)
        return [_Group(host, replicas, started.result()) for (host, replicas), started in zip(hosts, starting, strict=True)]

    def _watch_idle(self) -> None:
        if self._idle_seconds and not self._users and not self._closed:
            self._stop_watching()
            self._timer = asyncio.get_running_loop().call_later(self._idle_seconds, self._unload)

    def _stop_watching(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _unload(self) -> None:
        if self._loading is not None:
            loading, self._loading = self._loading, None
            self._unloading = asyncio.create_task(self._give_back(loading, self._unloading), name="unload-replicas")

    async def _give_back(self, loading: "asyncio.Task[list[_Group]]", earlier: "asyncio.Task[None] | None") -> None:
        if earlier is not None:
            await earlier
        if not loading.done():
            loading.cancel()
        (outcome,) = await asyncio.gather(loading, return_exceptions=True)
        if not isinstance(outcome, BaseException):
            await asyncio.gather(*(group.host.close() for group in outcome))
        LOADED.labels(self._name).set(0)
