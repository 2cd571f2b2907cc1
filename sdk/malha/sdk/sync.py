"""The same client without ``await``: one event loop in a daemon thread of its own, and plain iterators.

Works in scripts, in a REPL and from several threads. Audio given as a blocking iterable is taken in a thread of its own, and ``progress`` is
called in the loop's thread: neither may call this client's methods, which wait for that thread. After a fork neither a client of the parent
works nor, once the parent has used one, a new one: gRPC does not survive it. Start processes by ``spawn``.
"""

import asyncio
import concurrent.futures
import contextlib
import os
import threading
import weakref
from collections.abc import Callable, Coroutine
from functools import wraps
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from malha.sdk._sync_streams import (
    AnalysisStreamSync,
    ChatStreamSync,
    DiarizationStreamSync,
    LiveCallSync,
    PageStreamSync,
    Run,
    SpeechStreamSync,
)
from malha.sdk.client import Malha
from malha.sdk.errors import AlreadyClosed

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
StreamT = TypeVar("StreamT")
SyncT = TypeVar("SyncT")

_END_SECONDS = 5.0
"""For the loop's thread to end."""


class _LoopThread:
    """An event loop in a daemon thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._submitting = threading.Lock()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="malha-sync", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T], timeout_seconds: float | None = None) -> T:
        """Wait for ``work`` in the loop. An interrupt (Ctrl-C) cancels it. Raises TimeoutError, and what ``work`` raises."""
        with self._submitting:
            if self._stopped or not self._thread.is_alive() or threading.current_thread() is self._thread:
                work.close()
                raise AlreadyClosed("the client is closed, or was used from within its own loop (a progress callback)")
            future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(timeout_seconds)
        except concurrent.futures.CancelledError:
            raise AlreadyClosed("the client was closed meanwhile") from None
        except BaseException:
            future.cancel()
            raise

    def stop(self) -> None:
        """End the thread, and what still runs in it; at most 5 s, and never from within it."""
        with self._submitting, contextlib.suppress(RuntimeError):  # closed already
            self._stopped = True
            self._loop.call_soon_threadsafe(self._loop.stop)
        if threading.current_thread() is not self._thread:
            self._thread.join(_END_SECONDS)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            self._loop.run_until_complete(_cancel_all(asyncio.all_tasks(self._loop)))  # threads may wait for them
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.call_soon_threadsafe = _forget  # type: ignore[method-assign]
            self._loop.close()


def _forget(*_: object, **__: object) -> Any:
    """Of calls that were cancelled gRPC tells a loop also when it is closed; another client's loop would print each such error."""


async def _cancel_all(tasks: set[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _blocking(method: Callable[Concatenate[Malha, P], Coroutine[Any, Any, T]]) -> Callable[Concatenate["MalhaSync", P], T]:
    """A method of Malha as one of MalhaSync, with its signature and documentation."""

    @wraps(method)
    def call(self: "MalhaSync", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._run(method(self._malha, *args, **kwargs))

    return call


def _streaming(
    method: Callable[Concatenate[Malha, P], StreamT], wrap: Callable[[StreamT, Run], SyncT]
) -> Callable[Concatenate["MalhaSync", P], SyncT]:
    """A stream of Malha as one of MalhaSync, with the method's signature and documentation."""

    @wraps(method)
    def call(self: "MalhaSync", /, *args: P.args, **kwargs: P.kwargs) -> SyncT:
        return wrap(method(self._malha, *args, **kwargs), self._run)

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

    live = _streaming(Malha.live, LiveCallSync)
    resume = _streaming(Malha.resume, LiveCallSync)
    say = _streaming(Malha.say, SpeechStreamSync)
    speak = _streaming(Malha.speak, SpeechStreamSync)
    transcribe = _blocking(Malha.transcribe)
    synthesize = _blocking(Malha.synthesize)
    chat = _streaming(Malha.chat, ChatStreamSync)
    complete = _blocking(Malha.complete)
    analyze = _streaming(Malha.analyze, AnalysisStreamSync)
    read = _streaming(Malha.read, PageStreamSync)
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
    diarize_live = _streaming(Malha.diarize_live, DiarizationStreamSync)
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
