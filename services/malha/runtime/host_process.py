"""One worker process, seen from the event loop that uses it: started, spoken to, watched, ended."""

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from typing import Final, Self, cast

from malha.runtime import logs
from malha.runtime.errors import DeadlineExceeded, EngineCrashed, Internal, MalhaError
from malha.runtime.host_stream import HostStream
from malha.runtime.logs import Event
from malha.runtime.wire import WAITED, Configuration, Defect, FrameBuffer, Kind, decode, encode, pack

log = logs.get("runtime.host")

# A spinning OpenMP thread takes a core from its neighbours while it waits for work.
ENVIRONMENT: Final = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}


class WorkerProcess(asyncio.Protocol):
    """A worker and the streams it holds.

    Spawned by `subprocess` (exec, never a fork that goes on with this process's threads and locks) and joined by a socket pair, whose end
    tells of the worker's death at once and without a thread, whatever asyncio's child watcher does.
    """

    def __init__(self, name: str, process: subprocess.Popen[bytes], *, on_wait: Callable[[float], None]) -> None:
        loop = asyncio.get_running_loop()
        self.streams: dict[int, HostStream] = {}
        self.progress = time.monotonic()
        """When the worker was last seen at work, or with nothing to do."""
        self.steps = 0
        """Inputs done."""
        self.lost: asyncio.Future[None] = loop.create_future()
        """Done once the worker is dead or given up."""
        self.writable = True
        self._name = name
        self._process = process
        self._on_wait = on_wait
        self._transport: asyncio.Transport | None = None
        self._loaded: asyncio.Future[object] = loop.create_future()
        self._frames = FrameBuffer()
        self._announced = 0
        self._cancelled: set[int] = set()

    @classmethod
    async def spawn(
        cls, name: str, factory: str, environment: Mapping[str, str], *, python: str = "", on_wait: Callable[[float], None]
    ) -> Self:
        """A worker that waits to be told what to load. Raises OSError if there can be no more processes or files."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                process = _spawn(python or sys.executable, factory, theirs, environment)
            except OSError:
                ours.close()
                raise
        worker = cls(name, process, on_wait=on_wait)
        try:
            await asyncio.get_running_loop().create_unix_connection(lambda: worker, sock=ours)
        except BaseException:
            ours.close()
            await worker.end()
            raise
        return worker

    async def load(self, configuration: Configuration, *, seconds: float) -> object:
        """Load the engine and return what it tells about itself; in any other case, end the process.

        Raises what the factory raised, EngineCrashed if the process died, DeadlineExceeded after ``seconds``.
        """
        try:
            self.write(encode(Kind.CONFIGURE, 0, configuration))
            async with asyncio.timeout(seconds):
                await asyncio.wait((self._loaded, self.lost), return_when=asyncio.FIRST_COMPLETED)
            if not self._loaded.done():
                raise EngineCrashed("the engine's worker died while it loaded")
            return self._loaded.result()
        except TimeoutError:
            await self.end()
            raise DeadlineExceeded(f"the engine's worker did not load within {seconds:g} s") from None
        except BaseException:
            await self.end()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def held(self) -> int:
        """Streams it holds, those it has yet to let go of included."""
        return len(self.streams) + len(self._cancelled)

    @property
    def held_live(self) -> int:
        """Of the streams it holds, those that are not background work."""
        return sum(not stream.background for stream in self.streams.values())

    @property
    def working(self) -> bool:
        """Whether it should be computing now."""
        return bool(self._cancelled) or any(stream.working for stream in list(self.streams.values()))

    @property
    def blamed(self) -> HostStream | None:
        """The stream it computed for when it was last heard of."""
        stream = self.streams.get(self._announced)
        return stream if stream is not None and stream.working else None

    def take(self, stream: HostStream) -> None:
        self.streams[stream.identifier] = stream
        stream.attach(self)

    def cancel(self, stream: HostStream) -> None:
        """Let go of a stream: the worker closes it before its next step."""
        if self.streams.pop(stream.identifier, None) is not None:
            self._cancelled.add(stream.identifier)
            self.write(pack(Kind.CANCEL, stream.identifier))

    def write(self, frame: bytes) -> None:
        if self._transport is not None:
            self._transport.write(frame)

    def kill(self) -> None:
        """End the process now. Its streams are still there to be moved once `lost` is done."""
        self._process.kill()
        if self._transport is not None:
            self._transport.abort()

    def reaped(self) -> bool:
        """Whether the dead process is gone from the process table."""
        return self._process.poll() is not None

    async def end(self) -> None:
        """Kill it and wait until it is gone, five seconds at most (a process in the kernel's hands cannot be killed)."""
        self.kill()
        for _ in range(500):
            if self.reaped():
                break
            await asyncio.sleep(0.01)

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.progress = time.monotonic()
        for kind, stream, body in self._frames.feed(data):
            if stream == 0:
                self._take_own(kind, body)
            else:
                self._take_for(stream, kind, body)

    def pause_writing(self) -> None:
        self.writable = False

    def resume_writing(self) -> None:
        self.writable = True
        for stream in self.streams.values():
            stream.pump()

    def eof_received(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the protocol's signature
        self._transport = None
        self._process.kill()
        if not self.lost.done():
            self.lost.set_result(None)

    def _take_own(self, kind: int, body: bytes) -> None:
        if self._loaded.done():
            return
        if kind == Kind.READY:
            self._loaded.set_result(decode(body))
        elif kind == Kind.FAILED:
            self._loaded.set_exception(self._error(body))

    def _take_for(self, identifier: int, kind: int, body: bytes) -> None:
        if kind == Kind.WORKING:
            self._announced = identifier
            return
        if kind in {Kind.DONE, Kind.FAILED}:
            self._ended(identifier, self._error(body) if kind == Kind.FAILED else None)
            return
        stream = self.streams.get(identifier)
        if stream is None:  # cancelled meanwhile
            return
        if kind == Kind.ACK:
            self.steps += 1
            self._on_wait(WAITED.unpack(body)[0])
            stream.acknowledge()
        else:
            self._deliver(stream, body, interim=kind == Kind.INTERIM)

    def _ended(self, identifier: int, error: MalhaError | None) -> None:
        self._cancelled.discard(identifier)
        stream = self.streams.pop(identifier, None)
        if stream is not None:
            stream.end(error)

    def _deliver(self, stream: HostStream, body: bytes, *, interim: bool) -> None:
        try:
            stream.deliver(body, interim=interim)
        except Exception as error:
            self.cancel(stream)
            stream.end(Internal("an output of the engine cannot be read", metadata={"error": type(error).__name__}))

    def _error(self, body: bytes) -> MalhaError:
        error = decode(body)
        if isinstance(error, MalhaError):
            return error
        defect = cast("Defect", error)
        log.error(Event.ENGINE_ITEM_FAILED, engine=self._name, error=defect.error, at=defect.where)
        return Internal(f"the engine failed with {defect.error}", metadata={"error": defect.error})


def _spawn(python: str, factory: str, connection: socket.socket, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    # -P: the working directory is nothing to import from. Standard output is the program's own: what a library prints goes to the log.
    return subprocess.Popen(
        [python, "-P", "-m", "malha.runtime.worker", str(connection.fileno()), factory],
        stdin=subprocess.DEVNULL,
        stdout=2,
        pass_fds=[connection.fileno()],
        env={**os.environ, **ENVIRONMENT, **environment},
    )
