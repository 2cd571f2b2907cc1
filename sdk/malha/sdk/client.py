"""The client."""

import os
from collections.abc import Iterable, Sequence
from pathlib import PurePath
from types import TracebackType
from typing import Any, Self

from malha.sdk import catalog, transcription
from malha.sdk._advising import Advising
from malha.sdk._call_settings import CallSettings, Pace, VadSettings, Window
from malha.sdk._chatting import Chatting
from malha.sdk._connection import Connection
from malha.sdk._diarizing import Diarizing
from malha.sdk._format import Encoding, Format, encoding_of, make_format, wav_bytes_per_second
from malha.sdk._ocr import Reading
from malha.sdk._resumption import ResumePoint
from malha.sdk._settings import resolve
from malha.sdk._source import AudioInput, AudioSource, head_of, is_whole, size_of
from malha.sdk._speaking import Speaking
from malha.sdk._stream import EventStream, all_of
from malha.sdk._unsaved import UnsavedAudio
from malha.sdk.errors import InvalidRequest
from malha.sdk.events import Role
from malha.sdk.live import LiveCall
from malha.sdk.transcription import Progress, Transcription

__all__ = ["Malha"]

_UPLOAD_BYTES = 262_144
_PIECES_PER_SECOND = 10
"""In which a whole recording is streamed live."""


class Malha(Chatting, Advising, Speaking, Diarizing, Reading):
    """A client of one server.

    ``target`` is ``host:port`` or a gRPC name (``dns:///host:port``); else MALHA_TARGET, else ``127.0.0.1:50051``. ``token``: else MALHA_TOKEN,
    else the file ``token`` that ``malha up`` writes to its data directory (MALHA_DATA_DIR, XDG_DATA_HOME/malha, ~/.local/share/malha).
    ``ca`` is a PEM file of the authority that signed the server's certificate, and implies ``tls``. ``timeout_seconds`` bounds the unary
    calls (``models``, ``voices``, ``health``); streams have no deadline.

    Used by one event loop, that of its first call (RuntimeError elsewhere), and never after a fork: gRPC does not survive it. Nothing connects
    before the first call. Raises TokenMissing, InvalidRequest, and OSError for ``ca``.
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
        self._connection = Connection(resolve(target, token, tls=tls, ca=ca, timeout_seconds=timeout_seconds))
        self._streams: set[EventStream[Any]] = set()

    def __repr__(self) -> str:
        return f"Malha({self._connection.target!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        await self.close()

    async def close(self) -> None:
        """End what is still open, without ``finish``, and close the connection."""
        for stream in list(self._streams):
            await stream.aclose()
        await self._connection.close()

    def live(
        self,
        audio: AudioSource,
        *,
        language: str | Sequence[str] | None = None,
        encoding: Encoding | None = None,
        sample_rate: int | None = None,
        channels: int | None = None,
        roles: Iterable[Role] = (),
        pace: Pace = "live",
        conversation_id: str = "",
        model: str = "",
        interim: bool | None = None,
        words: bool = False,
        diarize: bool = False,
        insights: bool = False,
        insight_policy: str = "",
        verbatim: bool = False,
        denoise: bool = False,
        vad: VadSettings | None = None,
        window: Window | None = None,
        resume: bool = True,
    ) -> LiveCall:
        """A live call: ``async for event in malha.live(...)``, or ``async with malha.live(...) as call`` to steer it meanwhile.

        Args:
            audio: Chunks of any size as they come (an async iterable, or a blocking one, which is taken in a thread), or a whole recording:
                bytes, a path, an open binary file. A whole recording is streamed as it would be spoken, or with ``pace="batch"`` as fast as
                the server takes it.
            language: BCP 47 tags of what may be spoken, the likeliest first; none: the server detects, or has only one.
            encoding: How to read the audio; else by the name of the file, else ``pcm16``.
            sample_rate: Hz, 8,000 to 48,000, for raw encodings. Default 16,000; 8,000 for mulaw and alaw.
            channels: 1 or 2, interleaved. Default: one for each role, else 1.
            roles: Who speaks on each channel: ``agent``, ``customer``.
            pace: ``live`` or ``batch``.
            conversation_id: The conversation the call belongs to; made where it does not exist.
            model: The recogniser's model (see ``models``); none: its default.
            interim: Whether to tell partials. Default: with pace live.
            words: Whether segments carry words with times.
            diarize: Whether to tell speakers apart.
            insights: Whether to advise.
            insight_policy: When to advise: ``call_center`` (default), ``counter``, or one of your own.
            verbatim: Whether text stays as it was spoken, with fillers and number words. It is scrubbed of personal data all the same.
            denoise: Whether to reduce noise before recognition.
            vad: When sound counts as speech.
            window: How long an utterance may grow.
            resume: Whether the call goes on by itself after its connection was lost (see LiveCall). False: SessionLost at once.

        Raises InvalidRequest, and OSError where a file cannot be read. The iteration raises the audio's own errors and MalhaError; SessionLost
        where a lost call could not be taken up within 60 s.
        """
        who = tuple(roles)
        settings = CallSettings(
            format=make_format(encoding or _encoding(audio, pace), sample_rate, channels, default_channels=len(who) or 1),
            pace=pace,
            languages=_languages(language),
            roles=who,
            conversation_id=conversation_id,
            model=model,
            interim=interim,
            words=words,
            diarize=diarize,
            insights=insights,
            insight_policy=insight_policy,
            verbatim=verbatim,
            denoise=denoise,
            vad=vad,
            window=window,
        )
        return LiveCall(self._connection, settings, _input(audio, settings), self._streams, resume=resume)

    def resume(
        self,
        token: str,
        session_id: str,
        audio: AudioSource,
        *,
        after_seq: int = 0,
        unsaved: UnsavedAudio | None = None,
        encoding: Encoding | None = None,
        sample_rate: int | None = None,
        channels: int | None = None,
        pace: Pace = "live",
    ) -> LiveCall:
        """Go on with a call of an application that was itself started again, or that had SessionLost. The call is kept for 60 s.

        Args:
            token: ``opened.resume_token`` of the call, or ``SessionLost.resume_token``. Of a call that was resumed: the newest.
            session_id: The call's.
            audio: What comes from now on.
            after_seq: The last ``seq`` the application has; events after it are told (again).
            unsaved: ``unsaved_audio()`` of the call, or ``SessionLost.unsaved``; it is sent before ``audio``. None: it is lost.
            encoding: As in ``live``, and the same as the call was opened with, as are ``sample_rate``, ``channels`` and ``pace``.
            sample_rate: See ``live``.
            channels: See ``live``.
            pace: See ``live``.

        Opened comes first. Where the call was closed meanwhile the rest of its events follow, and no audio is taken. Raises as ``live`` does;
        the iteration raises NotFound and FailedPrecondition for a call that is not there to be resumed.
        """
        chosen = make_format(encoding or _encoding(audio, pace), sample_rate, channels)
        settings = CallSettings(format=chosen, pace=pace)
        if unsaved is not None and len(unsaved.content) % chosen.frame_bytes:
            raise InvalidRequest("the unsaved audio ends inside a frame: is it of a call of another format?", reason="PARTIAL_FRAME")
        point = ResumePoint(token, session_id, after_seq, unsaved)
        return LiveCall(self._connection, settings, _input(audio, settings), self._streams, point=point)

    async def transcribe(
        self,
        audio: AudioSource,
        *,
        language: str | Sequence[str] | None = None,
        roles: Iterable[Role] = (),
        model: str = "",
        words: bool = False,
        diarize: bool = False,
        denoise: bool = False,
        conversation_id: str = "",
        vad: VadSettings | None = None,
        window: Window | None = None,
        progress: Progress | None = None,
    ) -> Transcription:
        """The transcript of a recording: a path, bytes, an open binary file, or its pieces.

        Any file the server can read (WAV, FLAC, MP3, Ogg, WebM, MP4) and any size. ``progress`` is called with the bytes sent so far and the
        size where it is known; what it raises ends the call. The other arguments are those of ``live``. Raises MalhaError, and OSError where a file cannot be read.
        """
        settings = CallSettings(
            format=make_format("file", None, None),
            pace="batch",
            languages=_languages(language),
            roles=tuple(roles),
            conversation_id=conversation_id,
            model=model,
            words=words,
            diarize=diarize,
            denoise=denoise,
            vad=vad,
            window=window,
        )
        size = size_of(audio)
        on_sent = None if progress is None else lambda sent: progress(sent, size)
        async with LiveCall(self._connection, settings, _input(audio, settings), self._streams, on_sent) as call:
            return await transcription.gather(all_of(call))

    async def models(self) -> tuple[catalog.Model, ...]:
        """The recogniser's loaded models, the default first. Raises MalhaError."""
        return await catalog.models(self._connection)

    async def voices(self, language: str = "") -> tuple[catalog.Voice, ...]:
        """The voices by name; where ``language`` is given, those that speak it. Raises MalhaError."""
        return await catalog.voices(self._connection, language)

    async def health(self) -> catalog.Health:
        """Whether the server and each of its capabilities are ready. Raises MalhaError."""
        return await catalog.health(self._connection)


def _encoding(audio: AudioSource, pace: Pace) -> Encoding:
    """What the audio seems to be."""
    if not isinstance(audio, str | os.PathLike):
        return "pcm16"
    known = encoding_of(PurePath(audio))
    if known is None and pace == "live":
        raise InvalidRequest(
            f"give encoding=...: what a file named *{PurePath(audio).suffix} holds cannot be streamed live; transcribe() takes any recording",
            reason="UNSUPPORTED_FORMAT",
        )
    return known or "file"


def _languages(language: str | Sequence[str] | None) -> tuple[str, ...]:
    return (language,) if isinstance(language, str) else tuple(language or ())


def _input(audio: AudioSource, settings: CallSettings) -> AudioInput:
    """The audio at its pace. Raises OSError where a file cannot be read: before the server hears of it."""
    head = head_of(audio)
    if settings.pace == "batch" or not is_whole(audio):
        return AudioInput(audio, _UPLOAD_BYTES)
    rate = _speaking_rate(settings.format, head)
    return AudioInput(audio, max(settings.format.frame_bytes, rate // _PIECES_PER_SECOND), rate)


def _speaking_rate(chosen: Format, head: bytes) -> int:
    """Bytes per second of a whole recording that is to be streamed live."""
    rate = chosen.bytes_per_second or (wav_bytes_per_second(head) if chosen.encoding == "wav" else None)
    if rate is None:
        raise InvalidRequest(
            f"how fast {chosen.encoding} is to be streamed cannot be told from its bytes: give pace='batch', or the chunks as they come",
            reason="UNSUPPORTED_FORMAT",
        )
    return rate
