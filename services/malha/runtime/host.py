"""The engine host: worker processes that compute, kept alive and used from an event loop as if they could not die.

What keeps the GIL, holds global state or may crash is loaded in worker processes (`malha.runtime.worker`); the event loop opens streams to
them. A worker that dies is replaced at once and its streams are repeated on another, so that a crash costs time and no work. Only the
stream a worker computes for when it dies answers for that: the second time, it ends with EngineCrashed and its neighbours go on.

The host uses no thread. Its objects belong to the event loop `EngineHost.start` was called on.
"""

import asyncio
import contextlib
import itertools
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from malha.runtime import logs
from malha.runtime.errors import DeadlineExceeded, EngineCrashed, Internal, MalhaError, Unavailable
from malha.runtime.host_places import Places
from malha.runtime.host_process import WorkerProcess
from malha.runtime.host_stream import HostStream, Output, StreamLimits
from malha.runtime.logs import Event
from malha.runtime.wire import Configuration

__all__ = ["EngineHost", "HostOptions", "HostStream", "Output"]

log = logs.get("runtime.host")

QUEUE_DEPTH: Final = Gauge("malha_engine_queue_depth", "Streams waiting for a place, and inputs their engine has not done.", ("engine",))
BUSY_WORKERS: Final = Gauge("malha_engine_busy_workers", "Workers that are computing.", ("engine",))
WAIT_SECONDS: Final = Histogram(
    "malha_engine_wait_seconds",
    "How long a stream waited for a place, or an input for its worker's attention.",
    ("engine",),
    buckets=(0.001, 0.005, 0.02, 0.05, 0.1, 0.3, 1, 3, 10, 30),
)
RESTARTS: Final = Counter("malha_engine_restarts_total", "Workers replaced because they died.", ("engine",))

RESTART_SECONDS: Final = (0.0, 0.0, 0.05, 0.25, 1.0, 2.0, 5.0)
"""The pause before a start, by how many starts before it failed."""
UNHEALTHY_FAILURES: Final = 3
STABLE_SECONDS: Final = 5.0
"""A worker that lives so long, or does anything, was started with success."""


@dataclass(frozen=True, slots=True)
class HostOptions:
    """How an engine's workers run."""

    workers: int = 1
    max_open: int = 64
    """Streams open at once, over all workers."""
    max_waiting: int = 256
    """Streams that wait for one of those to end; one more is refused with EngineBusy."""
    nice: int = 10
    start_seconds: float = 60
    """For a worker to load."""
    item_seconds: float = 60
    """A worker that shows no progress for so long is killed and replaced."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Added to this process's own; wins over the one OpenMP thread a worker is given."""
    python: str = ""
    """The interpreter that runs the workers, of an environment which has Malha too: engines whose packages get along with no others. Empty: this one."""
    spare: bool = False
    """Whether the process that stands by has the engine loaded: a crash costs no loading then, and the memory of one more worker."""
    inputs_ahead: int = 16
    outputs_ahead: int = 32
    replay_bytes: int = 32 << 20
    """See `malha.runtime.host_stream.StreamLimits`."""


@dataclass(frozen=True, slots=True)
class _Standby:
    """The next worker."""

    worker: WorkerProcess
    loaded: bool
    info: object


@dataclass(slots=True, eq=False)
class _Slot:
    """The place of one worker, which is filled again whenever it becomes empty."""

    first: asyncio.Future[object]
    worker: WorkerProcess | None = None
    failures: int = 0


class EngineHost:
    """Runs ``factory`` ("module:function", see `malha.runtime.worker`) with ``options`` in each worker.

    ``name`` is the engine's, for metrics and messages: one host a name in a process. ``options``, arguments, items and outputs must pickle.
    """

    def __init__(self, name: str, factory: str, options: object, *, host: HostOptions) -> None:
        self._name = name
        self._factory = factory
        self._host = host
        self._configuration = Configuration(options, host.nice, host.outputs_ahead, host.item_seconds)
        self._limits = StreamLimits(host.inputs_ahead, host.outputs_ahead, host.replay_bytes)
        self._identifiers = itertools.count(1)
        self._slots: list[_Slot] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._streams: set[HostStream] = set()
        self._unassigned: deque[HostStream] = deque()
        self._standby: _Standby | None = None
        self._wanted = asyncio.Event()
        self._dead: list[WorkerProcess] = []
        self._wait_seconds = WAIT_SECONDS.labels(name)
        self._restarts = RESTARTS.labels(name)
        self._places = Places(name, places=host.max_open, max_waiting=host.max_waiting, on_wait=self._wait_seconds.observe)

    async def start(self) -> object:
        """Spawn the workers, wait until all are loaded and return what the factory's result has as ``info``.

        Raises what the factory raised, DeadlineExceeded, or EngineCrashed if a worker died three times while it loaded.
        """
        loop = asyncio.get_running_loop()
        self._slots = [_Slot(loop.create_future()) for _ in range(self._host.workers)]
        self._tasks = [asyncio.create_task(self._keep(slot)) for slot in self._slots]
        self._tasks.append(asyncio.create_task(self._watch()))
        try:
            infos = await asyncio.gather(*(slot.first for slot in self._slots))
        except BaseException:
            await self.close()
            raise
        # Read at a scrape, on whatever thread serves it: hence the copies.
        QUEUE_DEPTH.labels(self._name).set_function(
            lambda: self._places.waiting + sum(stream.waiting_inputs for stream in list(self._streams))
        )
        BUSY_WORKERS.labels(self._name).set_function(lambda: self.busy_workers)
        self._tasks.append(asyncio.create_task(self._stand_by()))
        log.info(Event.ENGINE_STARTED, engine=self._name, workers=self._host.workers)
        return infos[0]

    async def close(self) -> None:
        """End the workers. Streams under way end with Unavailable."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        self._end_all(Unavailable(f"the engine {self._name} is closing"))
        workers = [*self._workers, *self._dead, *([self._standby.worker] if self._standby is not None else [])]
        self._slots.clear()
        self._dead.clear()
        self._standby = None
        await asyncio.gather(*(worker.end() for worker in workers))
        for gauge in (QUEUE_DEPTH, BUSY_WORKERS):
            with contextlib.suppress(KeyError):
                gauge.remove(self._name)

    @property
    def healthy(self) -> bool:
        """Whether the engine can serve: a worker is there, or has not yet failed to come back three times."""
        return any(slot.worker is not None or slot.failures < UNHEALTHY_FAILURES for slot in self._slots)

    @property
    def worker_pids(self) -> tuple[int, ...]:
        """The loaded workers' process ids."""
        return tuple(worker.pid for worker in self._workers)

    @property
    def busy_workers(self) -> int:
        """Workers that compute, those included that have yet to let go of what was cancelled."""
        return sum(worker.working for worker in self._workers)

    @contextlib.asynccontextmanager
    async def stream(self, arguments: object, *, background: bool = False) -> AsyncIterator[HostStream]:
        """A stream to a worker. Leaving the context before the stream ended cancels it there, before the worker's next step.

        A ``background`` one gives way to the others, for a place as for a turn (`malha.runtime.host_places`, `malha.runtime.worker`).
        Raises EngineBusy at once if the queue is full, Unavailable while workers fail to start.
        """
        if not self._slots:
            raise Unavailable(f"the engine {self._name} is not running")
        if not self.healthy:
            raise self._unhealthy()
        async with self._places.take(background=background):
            stream = HostStream(next(self._identifiers), arguments, self._limits, background=background)
            self._streams.add(stream)
            try:
                self._assign(stream)
                yield stream
            finally:
                self._release(stream)

    async def call(self, arguments: object, item: object, *, timeout_seconds: float, background: bool = False) -> object:
        """Open a stream, send one item, and return the one output it leads to. Raises DeadlineExceeded, and as `stream` does."""
        try:
            async with asyncio.timeout(timeout_seconds), self.stream(arguments, background=background) as stream:
                await stream.send(item)
                await stream.finish()
                outputs = [output.item async for output in stream if not output.interim]
        except TimeoutError:
            raise DeadlineExceeded(f"the engine {self._name} did not answer within {timeout_seconds:g} s") from None
        if len(outputs) != 1:
            raise Internal(f"the engine {self._name} gave {len(outputs)} outputs to a call, not one")
        return outputs[0]

    @property
    def _workers(self) -> list[WorkerProcess]:
        return [slot.worker for slot in self._slots if slot.worker is not None]

    def _assign(self, stream: HostStream) -> None:
        """Give it to the worker with the fewest streams; a live one to that with the fewest live ones, as it goes before the others there."""
        worker = min(self._workers, key=lambda worker: (0 if stream.background else worker.held_live, worker.held), default=None)
        if worker is None:
            self._unassigned.append(stream)
        else:
            worker.take(stream)

    def _release(self, stream: HostStream) -> None:
        self._streams.discard(stream)
        if stream in self._unassigned:
            self._unassigned.remove(stream)
        for worker in self._workers:
            worker.cancel(stream)
        stream.end()

    async def _keep(self, slot: _Slot) -> None:
        """Fill the slot, again and again."""
        while True:
            await asyncio.sleep(RESTART_SECONDS[min(slot.failures, len(RESTART_SECONDS) - 1)])
            began = time.monotonic()
            try:
                worker, info = await self._load()
            except (MalhaError, OSError) as error:
                self._failed_to_start(slot, error)
                continue
            loaded = time.monotonic()
            log.info(Event.ENGINE_WORKER_STARTED, engine=self._name, pid=worker.pid, seconds=round(loaded - began, 3))
            self._filled(slot, worker, info)
            await worker.lost
            slot.failures = 0 if worker.steps or time.monotonic() - loaded > STABLE_SECONDS else slot.failures + 1
            self._emptied(slot, worker)

    async def _load(self) -> tuple[WorkerProcess, object]:
        """The standby, or a new process: an interpreter takes 50 to 100 ms to start, and that is time a crash would cost."""
        standby, self._standby = self._standby, None
        self._wanted.set()
        if standby is None:
            worker = await self._spawn()
        elif not standby.worker.lost.done():
            if standby.loaded:
                return standby.worker, standby.info
            worker = standby.worker
        else:
            self._dead.append(standby.worker)
            worker = await self._spawn()
        return worker, await worker.load(self._configuration, seconds=self._host.start_seconds)

    async def _spawn(self) -> WorkerProcess:
        host = self._host
        return await WorkerProcess.spawn(
            self._name, self._factory, host.environment, python=host.python, on_wait=self._wait_seconds.observe
        )

    async def _stand_by(self) -> None:
        """Have a process at hand; one that has loaded nothing costs about 10 MB."""
        while True:
            if self._standby is None:
                with contextlib.suppress(MalhaError, OSError):  # the next restart will say what is wrong
                    worker = await self._spawn()
                    info = await worker.load(self._configuration, seconds=self._host.start_seconds) if self._host.spare else None
                    self._standby = _Standby(worker, self._host.spare, info)
            self._wanted.clear()
            await self._wanted.wait()

    def _failed_to_start(self, slot: _Slot, error: Exception) -> None:
        slot.failures += 1
        log.error(Event.ENGINE_WORKER_LOST, engine=self._name, cause=error, failures=slot.failures, loaded=False)
        if not slot.first.done() and (not isinstance(error, EngineCrashed) or slot.failures >= UNHEALTHY_FAILURES):
            slot.first.set_exception(error)
        if not self.healthy:
            self._end_all(self._unhealthy())

    def _unhealthy(self) -> Unavailable:
        return Unavailable(f"the engine {self._name} fails to start", reason="ENGINE_UNHEALTHY", retry_seconds=RESTART_SECONDS[-1])

    def _filled(self, slot: _Slot, worker: WorkerProcess, info: object) -> None:
        slot.worker = worker
        if not slot.first.done():
            slot.first.set_result(info)
        while self._unassigned:
            self._assign(self._unassigned.popleft())

    def _emptied(self, slot: _Slot, worker: WorkerProcess) -> None:
        """Move the streams of a dead worker."""
        slot.worker = None
        self._dead.append(worker)
        self._restarts.inc()
        blamed = worker.blamed
        log.error(Event.ENGINE_WORKER_LOST, engine=self._name, pid=worker.pid, loaded=True, streams=len(worker.streams))
        for stream in list(worker.streams.values()):
            if stream.detach(blamed=stream is blamed):
                self._assign(stream)

    async def _watch(self) -> None:
        """Kill workers that are stuck, and clear dead ones from the process table.

        A worker's `progress` may lie one pause before the work it is stuck on.
        """
        pause = min(1.0, self._host.item_seconds / 4)
        while True:
            slept = time.monotonic()
            await asyncio.sleep(pause)
            now = time.monotonic()
            for worker in self._workers:
                if not worker.working or now - slept > pause + self._host.item_seconds / 2:  # this loop itself was stuck
                    worker.progress = now
                elif now - worker.progress > self._host.item_seconds + pause:
                    worker.kill()
            self._dead = [worker for worker in self._dead if not worker.reaped()]

    def _end_all(self, error: MalhaError) -> None:
        """Fail all streams, and those who wait for one."""
        for stream in self._streams:
            stream.end(error)
        self._unassigned.clear()
        self._places.refuse_waiting(error)
