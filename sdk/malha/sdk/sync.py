"""The same client without ``await``: one event loop in a daemon thread of its own, and plain iterators.

Works in scripts, in a REPL and from several threads. Audio given as a blocking iterable is taken in a thread of its own, and ``progress`` is
called in the loop's thread: neither may call this client's methods, which wait for that thread.
"""

import asyncio
import contextlib
import os
import threading
import weakref
from collections.abc import Callable, Coroutine, Iterator
from functools import wraps
from types import TracebackType
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, Self, TypeVar

from malha.sdk._stream import EventStream
from malha.sdk._unsaved import UnsavedAudio
from malha.sdk.chat import ChatAnswer, ChatDelta, ChatStream
from malha.sdk.client import Malha
from malha.sdk.diarization import DiarizationEvent, DiarizationStream
from malha.sdk.errors import AlreadyClosed
from malha.sdk.events import Engine, Event, Opened
from malha.sdk.insights import AnalysisEvent, AnalysisStream
from malha.sdk.live import LiveCall
from malha.sdk.ocr import DocumentText, Page, PageStream
from malha.sdk.speech import SpeechChunk, SpeechStream

__all__ = [
    "AnalysisStreamSync",
    "ChatStreamSync",
    "DiarizationStreamSync",
    "LiveCallSync",
    "MalhaSync",
    "PageStreamSync",
    "SpeechStreamSync",
]

P = ParamSpec("P")
T = TypeVar("T")
EventT = TypeVar("EventT")

_END_SECONDS = 5.0
"""For the loop's thread to end."""


class _LoopThread:
    """An event loop in a daemon thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="malha-sync", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T], timeout_seconds: float | None = None) -> T:
        """Wait for ``work`` in the loop. An interrupt (Ctrl-C) cancels it. Raises TimeoutError, and what ``work`` raises."""
        if not self._thread.is_alive() or threading.current_thread() is self._thread:
            work.close()
            raise AlreadyClosed("the client is closed, or was used from within its own loop (a progress callback)")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(timeout_seconds)
        except BaseException:
            future.cancel()
            raise

    def stop(self) -> None:
        """End the thread; at most 5 s, and never from within it."""
        with contextlib.suppress(RuntimeError):  # closed already
            self._loop.call_soon_threadsafe(self._loop.stop)
        if threading.current_thread() is not self._thread:
            self._thread.join(_END_SECONDS)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()


def _blocking(method: Callable[Concatenate[Malha, P], Coroutine[Any, Any, T]]) -> Callable[Concatenate["MalhaSync", P], T]:
    """A method of Malha as one of MalhaSync, with its signature and documentation."""

    @wraps(method)
    def call(self: "MalhaSync", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._run(method(self._malha, *args, **kwargs))

    return call


def _live(method: Callable[Concatenate[Malha, P], LiveCall]) -> Callable[Concatenate["MalhaSync", P], "LiveCallSync"]:
    @wraps(method)
    def call(self: "MalhaSync", /, *args: P.args, **kwargs: P.kwargs) -> "LiveCallSync":
        return LiveCallSync(method(self._malha, *args, **kwargs), self._run)

    return call


def _say(method: Callable[Concatenate[Malha, P], SpeechStream]) -> Callable[Concatenate["MalhaSync", P], "SpeechStreamSync"]:
    @wraps(method)
    def call(self: "MalhaSync", /, *args: P.args, **kwargs: P.kwargs) -> "SpeechStreamSync":
        return SpeechStreamSync(method(self._malha, *args, **kwargs), self._run)

    return call


def _chat(method: Callable[Concatenate[Malha, P], ChatStream]) -> Callable[Concatenate["MalhaSync", P], "ChatStreamSync"]:
    @wraps(method)
    def call(self: "MalhaSync", /, *args: P.args, **kwargs: P.kwargs) -> "ChatStreamSync":
        return ChatStreamSync(method(self._malha, *args, **kwargs), self._run)

    return call


def _diarize(method: Callable[Concatenate[Malha, P], DiarizationStream]) -> Callable[Concatenate["MalhaSync", P], "DiarizationStreamSync"]:
    @wraps(method)
    def call(self: "MalhaSync", /, *args: P.args, **kwargs: P.kwargs) -> "DiarizationStreamSync":
        return DiarizationStreamSync(method(self._malha, *args, **kwargs), self._run)

    return call


def _analyze(method: Callable[Concatenate[Malha, P], AnalysisStream]) -> Callable[Concatenate["MalhaSync", P], "AnalysisStreamSync"]:
    @wraps(method)
    def call(self: "MalhaSync", /, *args: P.args, **kwargs: P.kwargs) -> "AnalysisStreamSync":
        return AnalysisStreamSync(method(self._malha, *args, **kwargs), self._run)

    return call


def _read(method: Callable[Concatenate[Malha, P], PageStream]) -> Callable[Concatenate["MalhaSync", P], "PageStreamSync"]:
    @wraps(method)
    def call(self: "MalhaSync", /, *args: P.args, **kwargs: P.kwargs) -> "PageStreamSync":
        return PageStreamSync(method(self._malha, *args, **kwargs), self._run)

    return call


class MalhaSync:
    """Malha without ``await``: ``with MalhaSync() as malha: ...``. The arguments, methods and errors are those of Malha.

    Close it, or use it in ``with``; one that is forgotten is closed when it is collected, or when the program ends.
    """

    def __init__(
        self,
        target: str | None = None,
        token: str | None = None,
        *,
        tls: bool = False,
        ca: str | os.PathLike[str] | None = None,
        timeout_seconds: float = 30.0,
    ) -> None:
        self._malha = Malha(target, token, tls=tls, ca=ca, timeout_seconds=timeout_seconds)
        self._thread = _LoopThread()
        self._close = weakref.finalize(self, _shut_down, self._malha, self._thread)

    def __repr__(self) -> str:
        return self._malha.__repr__().replace("Malha", "MalhaSync", 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End what is still open, without ``finish``, close the connection and end the thread."""
        self._close()

    live = _live(Malha.live)
    resume = _live(Malha.resume)
    say = _say(Malha.say)
    speak = _say(Malha.speak)
    transcribe = _blocking(Malha.transcribe)
    synthesize = _blocking(Malha.synthesize)
    chat = _chat(Malha.chat)
    complete = _blocking(Malha.complete)
    analyze = _analyze(Malha.analyze)
    read = _read(Malha.read)
    insights = _blocking(Malha.insights)
    rules = _blocking(Malha.rules)
    rule = _blocking(Malha.rule)
    save_rule = _blocking(Malha.save_rule)
    delete_rule = _blocking(Malha.delete_rule)
    backtest_rule = _blocking(Malha.backtest_rule)
    insight_configuration = _blocking(Malha.insight_configuration)
    update_insight_configuration = _blocking(Malha.update_insight_configuration)
    chat_models = _blocking(Malha.chat_models)
    save_document = _blocking(Malha.save_document)
    documents = _blocking(Malha.documents)
    delete_document = _blocking(Malha.delete_document)
    search_documents = _blocking(Malha.search_documents)
    embed = _blocking(Malha.embed)
    diarize_live = _diarize(Malha.diarize_live)
    diarize = _blocking(Malha.diarize)
    enroll = _blocking(Malha.enroll)
    speakers = _blocking(Malha.speakers)
    delete_speaker = _blocking(Malha.delete_speaker)
    models = _blocking(Malha.models)
    voices = _blocking(Malha.voices)
    health = _blocking(Malha.health)

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._thread.run(work)


def _shut_down(malha: Malha, thread: _LoopThread) -> None:
    with contextlib.suppress(AlreadyClosed, TimeoutError):
        thread.run(malha.close(), timeout_seconds=_END_SECONDS)
    thread.stop()


class _Run(Protocol):
    def __call__(self, work: Coroutine[Any, Any, T], /) -> T: ...


class _SyncStream(Generic[EventT]):
    """An EventStream as a plain iterable, with the same rules of who ends the call."""

    def __init__(self, stream: EventStream[EventT], run: _Run) -> None:
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

    def __init__(self, call: LiveCall, run: _Run) -> None:
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

    def __init__(self, stream: SpeechStream, run: _Run) -> None:
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

    def __init__(self, stream: DiarizationStream, run: _Run) -> None:
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

    def __init__(self, stream: PageStream, run: _Run) -> None:
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
