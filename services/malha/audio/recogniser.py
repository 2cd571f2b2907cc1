"""The client of Transcribe for one channel of a call.

It keeps an utterance's audio until its final has come. When the stream to Transcribe is lost it opens another and sends the utterances
that wait again, so a restart of the recogniser delays finals and loses none.
"""

import asyncio
import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import grpc

from malha.api.common.v1 import media_pb2
from malha.api.transcribe.v1 import transcribe_pb2 as api
from malha.api.transcribe.v1 import transcribe_pb2_grpc
from malha.audio.endpointing import Speech
from malha.runtime import logs
from malha.runtime.errors import MalhaError, Unavailable
from malha.runtime.logs import Event
from malha.runtime.status import from_rpc_error

log = logs.get("audio.recogniser")

BACKOFF_SECONDS = (0.05, 0.05, 0.25)
RETRY_SECONDS = 0.25
FINISH_SECONDS = 1.0
AWAY_SECONDS = 15.0
"""How long a recogniser may fail on a recording of which it has recognised nothing: whoever waits for it is told that it is away."""
MAX_WAITING_BYTES = 4 * 1024 * 1024
"""Audio that may wait for finals on one channel: over it, the call's audio is not read."""
PIECE_BYTES = 512 * 1024


@dataclass(frozen=True, slots=True)
class RecogniserConfig:
    """What to ask Transcribe for. Audio is mono 16-bit PCM at ``sample_rate``."""

    sample_rate: int
    languages: tuple[str, ...]
    model: str
    words: bool
    interim: bool
    background: bool
    """Whether utterances of live calls go first."""
    final_seconds: float
    align: bool = False
    """Whether words are timed by aligning their text with the audio."""


@dataclass(slots=True, eq=False)
class Utterance:
    """One utterance on its way through Transcribe. ``context`` is the caller's own."""

    context: Any
    pieces: list[bytes] = field(default_factory=list)
    ended: bool = False
    deadline: float = 0.0
    sent: int = 0
    flushed: bool = False
    tell: Callable[[], None] | None = None
    """Tells its final, or that it failed, once it is its turn."""

    @property
    def size(self) -> int:
        """Bytes of audio kept."""
        return sum(map(len, self.pieces))


@dataclass(frozen=True, slots=True)
class Listener:
    """Where results go. ``failed`` gets a stable reason and a message for people."""

    partial: Callable[[Utterance, api.Partial], None]
    final: Callable[[Utterance, api.Final], None]
    failed: Callable[[Utterance, str, str], None]


class ChannelRecogniser:
    """Recognises one channel's utterances, one after the other."""

    def __init__(
        self, channel: Callable[[], grpc.aio.Channel], metadata: tuple[tuple[str, str], ...], config: RecogniserConfig, listener: Listener
    ) -> None:
        self._channel = channel
        self._metadata = metadata
        self._config = config
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self._waiting: list[Utterance] = []
        self._waiting_bytes = 0
        self._by_ordinal: dict[int, Utterance] = {}
        self._wake = asyncio.Event()
        self._settled = asyncio.Event()
        self._call: Any = None
        self._finishing = False
        self._patient_until: float | None = None
        self._task: asyncio.Task[None] | None = None
        self.opened = api.Opened()

    async def open(self) -> api.Opened:
        """Connect. Raises what Transcribe answers: an unknown language or model, a missing engine, no server."""
        self.opened = await self._connect()
        self._task = self._loop.create_task(self._run(), name="recogniser")
        return self.opened

    async def close(self) -> None:
        """Give up; results that have not come are not told."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self._hang_up()

    def begin(self, context: Any) -> Utterance:
        """Start an utterance."""
        utterance = Utterance(context)
        self._waiting.append(utterance)
        return utterance

    def add(self, utterance: Utterance, speech: Speech) -> None:
        """Add audio to the utterance that was begun last."""
        utterance.pieces.append(speech.pcm)
        self._waiting_bytes += len(speech.pcm)
        if self.opened.incremental:
            self._wake.set()

    def end(self, utterance: Utterance) -> None:
        """End the utterance; its final follows within ``final_seconds``, or `failed` is told."""
        if not utterance.pieces:
            self._settle(utterance, lambda: None)
            return
        utterance.ended = True
        utterance.deadline = self._loop.time() + self._config.final_seconds
        self._wake.set()

    @property
    def waiting(self) -> list[Utterance]:
        """Utterances without a final, in order."""
        return self._waiting

    @property
    def crowded(self) -> bool:
        """Whether so much audio waits that no more should be read."""
        return self._waiting_bytes > MAX_WAITING_BYTES

    async def room(self) -> None:
        """Wait until it is no longer crowded."""
        while self.crowded:
            self._settled.clear()
            await self._settled.wait()

    async def finish(self) -> None:
        """Wait until every utterance has its final or failed, then end the stream to Transcribe in good order."""
        while self._waiting:
            self._settled.clear()
            await self._settled.wait()
        if self._call is not None and self._task is not None:
            self._finishing = True
            with contextlib.suppress(grpc.RpcError, asyncio.InvalidStateError, TimeoutError):
                await self._call.write(api.TranscribeRequest(finish=api.Finish()))
                await asyncio.wait_for(self._task, FINISH_SECONDS)

    async def _connect(self) -> api.Opened:
        call = api_stub(self._channel()).Transcribe(metadata=self._metadata)
        try:
            await call.write(api.TranscribeRequest(open=self._open_message()))
            response = await call.read()
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from None
        except asyncio.CancelledError:
            call.cancel()
            raise
        except asyncio.InvalidStateError:
            response = grpc.aio.EOF
        if response is grpc.aio.EOF or response.WhichOneof("event") != "opened":
            raise await _status_of(call)
        self._call = call
        opened: api.Opened = response.opened
        return opened

    def _open_message(self) -> api.Open:
        config = self._config
        audio_format = media_pb2.AudioFormat(encoding=media_pb2.ENCODING_PCM16, sample_rate_hertz=config.sample_rate, channels=1)
        return api.Open(
            format=audio_format,
            languages=config.languages,
            model=config.model,
            words=config.words,
            interim=config.interim,
            background=config.background,
            align=config.align,
        )

    async def _run(self) -> None:
        """Send and receive until cancelled; connect again whenever the stream is lost."""
        while True:
            sender = self._loop.create_task(self._send(), name="recogniser-send")
            try:
                await self._receive()
            finally:
                sender.cancel()
                with contextlib.suppress(asyncio.CancelledError, grpc.RpcError, asyncio.InvalidStateError):
                    await sender
            if self._finishing:
                return
            self._hang_up()
            log.warning(Event.RECOGNISER_LOST, waiting=len(self._waiting))
            await self._reconnect()

    async def _reconnect(self) -> None:
        attempt = 0
        while True:
            await asyncio.sleep(BACKOFF_SECONDS[min(attempt, len(BACKOFF_SECONDS) - 1)])
            attempt += 1
            try:
                await self._connect()
                break
            except MalhaError as error:
                self._give_up_overdue(error)
        for utterance in self._waiting:
            if utterance.tell is None:
                utterance.sent, utterance.flushed = 0, False
        self._by_ordinal.clear()
        log.info(Event.RECOGNISER_BACK, waiting=len(self._waiting), attempts=attempt)

    def _give_up_overdue(self, error: MalhaError) -> None:
        now = self._loop.time()
        for utterance in [each for each in self._waiting if each.ended and each.tell is None and each.deadline < now]:
            self._settle(utterance, partial(self._listener.failed, utterance, error.reason, error.message))

    async def _send(self) -> None:
        """Send what waits, in order; an utterance is sent as it grows only to an engine that gains from it."""
        ordinal = 0
        while True:
            self._wake.clear()
            while (utterance := self._next_to_send()) is not None:
                await self._send_audio(utterance)
                if not utterance.ended:
                    break
                ordinal += 1
                self._by_ordinal[ordinal] = utterance
                utterance.flushed = True
                await self._call.write(api.TranscribeRequest(flush=api.Flush()))
            await self._wake.wait()

    def _next_to_send(self) -> Utterance | None:
        """The utterance the stream is in the middle of, else the first that is due."""
        unsent = [utterance for utterance in self._waiting if not utterance.flushed]
        begun = next((utterance for utterance in unsent if utterance.sent), None)
        if begun is not None:
            return begun
        return next((utterance for utterance in unsent if utterance.pieces and (utterance.ended or self.opened.incremental)), None)

    async def _send_audio(self, utterance: Utterance) -> None:
        while utterance.sent < len(utterance.pieces):
            audio = b"".join(utterance.pieces[utterance.sent :])
            utterance.sent = len(utterance.pieces)
            for at in range(0, len(audio), PIECE_BYTES):
                await self._call.write(api.TranscribeRequest(audio=api.Audio(content=audio[at : at + PIECE_BYTES])))

    async def _receive(self) -> None:
        """Read results until the stream is lost."""
        while True:
            try:
                response = await self._call.read()
            except grpc.aio.AioRpcError:
                return
            if response is grpc.aio.EOF:
                return
            self._take(response)

    def _take(self, response: api.TranscribeResponse) -> None:
        """Take in a result. A method of its own: the frame of `_receive`, which waits, would hold the utterance and its audio until the next."""
        kind = response.WhichOneof("event")
        if kind == "partial":
            utterance = self._by_ordinal.get(response.partial.utterance) or self._growing()
            if utterance is not None:
                self._listener.partial(utterance, response.partial)
        elif kind == "final":
            self._patient_until = math.inf
            utterance = self._by_ordinal.pop(response.final.utterance, None)
            if utterance is not None:
                self._settle(utterance, partial(self._listener.final, utterance, response.final))
        elif kind == "failed":
            self._on_failed(response.failed)

    def _growing(self) -> Utterance | None:
        return next((utterance for utterance in self._waiting if not utterance.flushed), None)

    def _on_failed(self, failed: api.Failed) -> None:
        utterance = self._by_ordinal.pop(failed.utterance, None)
        if utterance is None:
            return
        now = self._loop.time()
        if self._patient_until is None:
            self._patient_until = now + AWAY_SECONDS if self._config.background else math.inf
        if failed.retryable and now < min(utterance.deadline, self._patient_until):
            self._loop.call_later(RETRY_SECONDS, self._again, utterance)
            return
        self._settle(utterance, partial(self._listener.failed, utterance, failed.reason, failed.message))

    def _again(self, utterance: Utterance) -> None:
        utterance.sent, utterance.flushed = 0, False
        self._wake.set()

    def _settle(self, utterance: Utterance, tell: Callable[[], None]) -> None:
        """The utterance has its end, which is told once those before it have theirs.

        So one position says what of a channel is done: a call that is resumed is heard again from there, and nothing after it was told.
        """
        utterance.tell = tell
        while self._waiting and (told := self._waiting[0].tell) is not None:
            first = self._waiting.pop(0)
            self._waiting_bytes -= first.size
            first.tell = None  # it refers back: their audio would wait for the garbage collector
            told()
        self._settled.set()

    def _hang_up(self) -> None:
        if self._call is not None:
            self._call.cancel()
            self._call = None


def api_stub(channel: grpc.aio.Channel) -> Any:
    """The generated stub; grpc-stubs do not know that it takes an aio channel."""
    return transcribe_pb2_grpc.TranscribeServiceStub(channel)


async def _status_of(call: Any) -> MalhaError:
    """Why Transcribe ended a stream instead of opening it."""
    try:
        await call.read()
        await call.code()
        error = grpc.aio.AioRpcError(await call.code(), await call.initial_metadata(), await call.trailing_metadata(), await call.details())
    except grpc.aio.AioRpcError as raised:
        error = raised
    if error.code() is grpc.StatusCode.OK:
        return Unavailable("the recogniser ended the stream", retry_seconds=RETRY_SECONDS)
    return from_rpc_error(error)
