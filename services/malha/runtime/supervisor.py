"""Keeps child processes alive: what ``malha up`` runs.

Children start in order, each when the one before it is ready, and learn what those told (ports they bound). One that dies is started again
at once; one that keeps dying, after growing pauses. At the end they get their signal in reverse order. Each child has a session of its own,
so that Ctrl-C in the terminal reaches the supervisor alone, and a process group that is cleared when the child is gone.

A child may have a standby (`malha.runtime.standby`): its next process, loaded, which serves as soon as the present one has died. Until then it
is in no event.

For the children: `notify_ready`, `exit_with_parent` and `wait_for_turn`. They do nothing in a process that no supervisor started.
"""

import asyncio
import gc
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Literal

from malha.runtime import unhurried
from malha.runtime.standby import STANDBY_SECONDS, Standby
from malha.runtime.supervisor_process import PARENT_FD, READY_FD, TURN, Process
from malha.runtime.unhurried import HURRIED, TURN_FD

CONFIGURATION_ERRORS: Final = frozenset({2, os.EX_CONFIG})
"""Exit codes that starting again does not change: wrong usage, wrong configuration."""
RESTART_SECONDS: Final = (0.0, 0.05, 0.05, 0.25, 0.5, 1.0, 2.5, 5.0)
"""The pause before a restart, by how many came before it."""
STABLE_SECONDS: Final = 10.0
"""A child that was ready for so long begins again with an immediate restart."""

Infos = Mapping[str, Mapping[str, str]]


class Change(StrEnum):
    """What happened to a child."""

    STARTED = "started"
    READY = "ready"
    EXITED = "exited"
    """By itself."""
    STOPPED = "stopped"
    """Because it was told to."""


@dataclass(frozen=True, slots=True)
class ChildEvent:
    """Something that happened to a child, told when it does."""

    change: Change
    name: str
    pid: int
    returncode: int | None = None
    """Of EXITED and STOPPED; negative: the signal that ended it."""
    failures: int = 0
    """Of EXITED: how often in a row it ended by itself."""
    info: Mapping[str, str] = field(default_factory=dict)
    """Of READY: what it told."""


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """How to run a child."""

    name: str
    command: tuple[str, ...]
    environment: Callable[[Infos], Mapping[str, str]] = lambda _: {}
    """Added to the supervisor's own. Gets what each child told when it was last ready, this one included: a child that is started again can
    be given the port it had."""
    stop_seconds: float = 10.0
    """From the stop signal to SIGKILL."""
    ready_seconds: float = 60.0
    """A child that is not ready by then is killed and started again."""
    ready: Callable[[], Coroutine[Any, Any, Mapping[str, str]]] | None = None
    """Returns once a child is ready that does not call `notify_ready`."""
    stop_signal: signal.Signals = signal.SIGTERM
    standby: bool = False
    """Keep its next process at hand: the command calls `wait_for_turn` before it binds, connects or writes anything."""
    standby_seconds: float = STANDBY_SECONDS
    """From when the child is ready to the start of its standby."""
    early: bool = False
    """With a standby: its first process loads while those before it become ready. Its environment must be known without what they tell."""


class Supervisor:
    """Runs children until told to stop. ``on_event`` is called on the event loop."""

    def __init__(self, specs: Sequence[ChildSpec], on_event: Callable[[ChildEvent], None]) -> None:
        self._specs = specs
        self._on_event = on_event
        self._infos: dict[str, Mapping[str, str]] = {}

    async def run(self, stop: asyncio.Event) -> int:
        """Start the children, keep them alive until ``stop``, stop them, and return 0.

        A child that ends because its configuration is wrong stops all; then its exit code is returned. Raises OSError if a command cannot
        be run.
        """
        stopping = asyncio.create_task(stop.wait())
        parent, kept = os.pipe()  # `kept` closes with this process, however that ends
        loading = [_Child(spec, self._infos, self._on_event, parent) for spec in self._specs]
        children: list[_Child] = []
        try:
            for child in loading:
                child.begin()
                children.append(child)
                if await _first((stopping, *(each.task for each in children), child.ready)) is not child.ready:
                    break
            else:
                await _first((stopping, *(child.task for child in children)))
        finally:
            stopping.cancel()
            await asyncio.gather(*(child.standby.stop() for child in loading))
            for child in reversed(children):
                await child.stop()
            os.close(parent)
            os.close(kept)
        return next((code for child in children if (code := child.task.result())), 0)


class _Child:
    """One child through all its lives, from `begin` on. Its task ends when it was stopped, with 0, or cannot be started again, with its exit code."""

    task: asyncio.Task[int]

    def __init__(self, spec: ChildSpec, infos: dict[str, Mapping[str, str]], on_event: Callable[[ChildEvent], None], parent: int) -> None:
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when it was ready for the first time."""
        self._spec = spec
        self._infos = infos
        self._on_event = on_event
        self._parent = parent
        self._failures = 0
        self._stop = asyncio.Event()
        self._stopping: asyncio.Task[Literal[True]]
        self.standby = Standby(lambda hurried: self._spawn(standby=True, hurried=hurried), spec.standby_seconds, at_once=spec.early)

    def begin(self) -> None:
        """Start it, and keep it alive."""
        self._stopping = asyncio.create_task(self._stop.wait())
        self.task = asyncio.create_task(self._keep())

    async def stop(self) -> None:
        """Send the stop signal, wait as long as the child may take, kill what is left."""
        self._stop.set()
        await asyncio.wait([self.task, self._stopping])

    async def _keep(self) -> int:
        while True:
            code = await self._live()
            if code in CONFIGURATION_ERRORS:
                return code
            if self._stopping.done():
                return 0
            pause = RESTART_SECONDS[min(self._failures, len(RESTART_SECONDS)) - 1]
            await asyncio.wait([self._stopping], timeout=pause)

    async def _live(self) -> int:
        """Start the child, and wait until it ends or has to be ended. Returns its exit code."""
        if self._stopping.done():
            return 0
        process = self.standby.take(self._spec.environment(self._infos)) or await self._spawn()
        try:
            ready_seconds = await self._serve(process)
        finally:
            self.standby.want(wanted=False)
            stopped = self._stopping.done() and not process.ended.done()
            code = await process.end(self._spec.stop_signal, self._spec.stop_seconds)
        if stopped:
            self._tell(Change.STOPPED, process, returncode=code)
            return 0
        self._failures = 1 if ready_seconds > STABLE_SECONDS else self._failures + 1
        self._tell(Change.EXITED, process, returncode=code, failures=self._failures)
        return code

    async def _serve(self, process: Process) -> float:
        """Wait until the child ended or has to be ended. Returns for how many seconds it was ready."""
        self._tell(Change.STARTED, process)
        if not await self._becomes_ready(process):
            return 0.0
        began = time.monotonic()
        self.standby.want(wanted=self._spec.standby)
        await _first((process.ended, self._stopping))
        return time.monotonic() - began

    async def _spawn(self, *, standby: bool = False, hurried: bool = False) -> Process:
        spec = self._spec
        return await Process.start(spec.command, spec.environment(self._infos), self._parent, standby=standby, hurried=hurried)

    async def _becomes_ready(self, process: Process) -> bool:
        """Whether the child is ready, before its time is over, it ended, or has to be stopped."""
        telling = asyncio.create_task(self._spec.ready() if self._spec.ready is not None else process.told())
        try:
            first = await _first((telling, process.ended, self._stopping), seconds=self._spec.ready_seconds)
            if first is not telling:
                return False
            self._infos[self._spec.name] = info = telling.result()
        finally:
            telling.cancel()
            await asyncio.wait([telling])
        self._tell(Change.READY, process, info=info)
        if not self.ready.done():
            self.ready.set_result(None)
        return True

    def _tell(self, change: Change, process: Process, **fields: Any) -> None:
        self._on_event(ChildEvent(change, self._spec.name, process.pid, **fields))


def notify_ready(info: Mapping[str, str]) -> None:
    """Tell the supervisor that this process is ready, and what others need to know of it, such as a bound port. Call it once."""
    descriptor = os.environ.pop(READY_FD, None)
    if descriptor is not None:
        with os.fdopen(int(descriptor), "w", encoding="utf-8") as sink:
            sink.write(json.dumps(dict(info)) + "\n")


def exit_with_parent(grace_seconds: float = 30.0) -> None:
    """From now on, when the supervisor dies, even by SIGKILL, this process gets SIGTERM; and ends by force if that takes too long."""
    descriptor = os.environ.pop(PARENT_FD, None)
    if descriptor is not None:
        os.set_inheritable(int(descriptor), False)
        threading.Thread(target=_follow_parent, args=(int(descriptor), grace_seconds), name="exit-with-parent", daemon=True).start()


def wait_for_turn(prepare: Callable[[], None]) -> None:
    """In a standby: ``prepare``, which imports what serving needs, then sleep until it is this process's turn to serve.

    Raises SystemExit if there will be none, since the supervisor stops or has died. Returns at once in a process that is no standby.
    """
    descriptor = os.environ.pop(TURN_FD, None)
    os.environ.pop(HURRIED, None)
    if descriptor is None:
        return
    with os.fdopen(int(descriptor), "rb", buffering=0) as source:
        prepare()
        unhurried.end()
        gc.collect()
        gc.freeze()
        if source.read(len(TURN)) != TURN:
            raise SystemExit(os.EX_OK)


def _follow_parent(descriptor: int, grace_seconds: float) -> None:
    os.read(descriptor, 1)  # nobody writes: it returns when the other end is closed
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(grace_seconds)
    os._exit(os.EX_SOFTWARE)


async def _first(futures: Sequence[asyncio.Future[Any]], seconds: float | None = None) -> asyncio.Future[Any] | None:
    """Wait for any of the futures, which go on; of several that are done, the first in the sequence. None: the time is over."""
    await asyncio.wait(futures, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    return next((future for future in futures if future.done()), None)
