"""The streams of ``malha.sdk.sync``: each an EventStream as a plain iterable."""

import contextlib
from collections.abc import Callable, Coroutine, Iterator
from functools import wraps
from types import TracebackType
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, Self, TypeVar

from malha.sdk._stream import EventStream
from malha.sdk._unsaved import UnsavedAudio
from malha.sdk.chat import ChatAnswer, ChatDelta
from malha.sdk.diarization import DiarizationEvent, DiarizationStream
from malha.sdk.errors import AlreadyClosed
from malha.sdk.events import Engine, Event, Opened
from malha.sdk.insights import AnalysisEvent
from malha.sdk.live import LiveCall
from malha.sdk.ocr import DocumentText, Page, PageStream
from malha.sdk.speech import SpeechChunk, SpeechStream

P = ParamSpec("P")
T = TypeVar("T")
EventT = TypeVar("EventT")


class Run(Protocol):
    """Waits for work in the client's loop."""

    def __call__(self, work: Coroutine[Any, Any, T], /) -> T: ...


class _SyncStream(Generic[EventT]):
    """An EventStream as a plain iterable, with the same rules of who ends the call."""

    def __init__(self, stream: EventStream[EventT], run: Run) -> None:
        self._stream = stream
        self._run = run  # bound to the client, which lives as long as its calls
        self._entered = False

    def __iter__(self) -> Iterator[EventT]:
        try:
            while True:
                step = _next(self._stream)
                event = self._run(step)
                if event is None:
                    return
                yield event
        finally:
            if not self._entered:
                self.close()

    def __enter__(self) -> Self:
        self._entered = True
        self._run(self._stream.__aenter__())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the call now, without ``finish``. Does nothing where the call is over."""
        with contextlib.suppress(AlreadyClosed):
            self._run(self._stream.aclose())


async def _next(stream: EventStream[EventT]) -> EventT | None:
    """The next event; None at the end, since StopAsyncIteration cannot leave a coroutine."""
    try:
        return await anext(stream)
    except StopAsyncIteration:
        return None


def _steering(method: Callable[Concatenate[LiveCall, P], Coroutine[Any, Any, T]]) -> Callable[Concatenate["LiveCallSync", P], T]:
    """A control of LiveCall as one of LiveCallSync."""

    @wraps(method)
    def call(self: "LiveCallSync", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._run(method(self._call, *args, **kwargs))

    return call


class LiveCallSync(_SyncStream[Event]):
    """A call, made by ``MalhaSync.live``; see LiveCall. The controls may be used from another thread while one iterates."""

    def __init__(self, call: LiveCall, run: Run) -> None:
        super().__init__(call, run)
        self._call = call

    @property
    def session_id(self) -> str:
        """The call's id, a UUIDv7 made here."""
        return self._call.session_id

    @property
    def opened(self) -> Opened | None:
        """The effective configuration; None until the server has answered. After Resumed it is a new one, with a new ``resume_token``."""
        return self._call.opened

    @property
    def last_seq(self) -> int:
        """Of the last durable event received."""
        return self._call.last_seq

    def unsaved_audio(self) -> UnsavedAudio:
        """The audio sent but not yet in any stored transcript: the newest 60 s at most."""
        return self._run(self._snapshot())

    flush = _steering(LiveCall.flush)
    mute = _steering(LiveCall.mute)
    unmute = _steering(LiveCall.unmute)
    hold = _steering(LiveCall.hold)
    unhold = _steering(LiveCall.unhold)
    dtmf = _steering(LiveCall.dtmf)
    feedback = _steering(LiveCall.feedback)
    finish = _steering(LiveCall.finish)

    async def _snapshot(self) -> UnsavedAudio:
        return self._call.unsaved_audio()


class SpeechStreamSync(_SyncStream[SpeechChunk]):
    """Speech as it is made, by ``MalhaSync.say`` or ``speak``; see SpeechStream."""

    def __init__(self, stream: SpeechStream, run: Run) -> None:
        super().__init__(stream, run)
        self._speech = stream

    @property
    def engine(self) -> Engine:
        """Who speaks; nameless until the first chunk."""
        return self._speech.engine

    @property
    def voice(self) -> str:
        """The voice in use; empty until the first chunk."""
        return self._speech.voice

    @property
    def licence(self) -> str:
        """Of the engine's model, where it says one."""
        return self._speech.licence

    @property
    def duration_seconds(self) -> float:
        """Of all the speech; 0 until its end."""
        return self._speech.duration_seconds


class ChatStreamSync(_SyncStream[ChatDelta | ChatAnswer]):
    """An answer as it is made, by ``MalhaSync.chat``; see ChatStream."""


class DiarizationStreamSync(_SyncStream[DiarizationEvent]):
    """Turns as they are heard, by ``MalhaSync.diarize_live``; see DiarizationStream."""

    def __init__(self, stream: DiarizationStream, run: Run) -> None:
        super().__init__(stream, run)
        self._turns = stream

    @property
    def duration_seconds(self) -> float:
        """Of the audio; known at the end."""
        return self._turns.duration_seconds

    @property
    def speech_seconds(self) -> float:
        """Of it, in which somebody speaks; known at the end."""
        return self._turns.speech_seconds


class PageStreamSync(_SyncStream[Page]):
    """A document being read, by ``MalhaSync.read``; see PageStream."""

    def __init__(self, stream: PageStream, run: Run) -> None:
        super().__init__(stream, run)
        self._pages = stream

    def whole(self) -> DocumentText:
        """All pages that are left."""
        return self._run(self._pages.whole())

    @property
    def engine(self) -> Engine:
        """Who recognises; nameless until the first page."""
        return self._pages.engine

    @property
    def scrubbed(self) -> bool:
        """Whether personal data is masked; known with the first page."""
        return self._pages.scrubbed

    @property
    def media_type(self) -> str:
        """What the document is, by its bytes; empty until the first page."""
        return self._pages.media_type

    @property
    def page_count(self) -> int:
        """All pages it has; 0 until the first one is told."""
        return self._pages.page_count


class AnalysisStreamSync(_SyncStream[AnalysisEvent]):
    """Advice as a conversation goes, by ``MalhaSync.analyze``; see AnalysisStream."""
