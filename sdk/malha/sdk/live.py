"""A live call: audio in, events out, and the controls while it goes on."""

import asyncio
import re
from collections.abc import Callable
from typing import Any, Literal, get_args

from malha.sdk import events
from malha.sdk._call_settings import CallSettings, check_choice
from malha.sdk._chunks import Chunker
from malha.sdk._connection import Connection
from malha.sdk._gen.malha.api.audio import v1 as audio
from malha.sdk._resuming import ResumingStream
from malha.sdk._resumption import ResumePoint
from malha.sdk._rpc import CallOver
from malha.sdk._source import AudioInput
from malha.sdk._stream import EventStream
from malha.sdk._unsaved import UnsavedAudio
from malha.sdk.errors import InvalidRequest

__all__ = ["FeedbackAction", "LiveCall"]

FeedbackAction = Literal["shown", "used", "edited", "ignored"]
"""What the operator did with an insight."""

_STALL_SECONDS = 0.2
"""Audio that has not filled a message after this long is sent as it is: the source paused."""
_DIGITS = re.compile(r"[0-9*#A-D]{1,64}")


class LiveCall(ResumingStream):
    """A call, made by ``Malha.live`` or ``Malha.resume``.

    In ``async for event in malha.live(...)`` leaving the loop cancels the call. In ``async with malha.live(...) as call`` the block owns it:
    iterate as you like, steer it by the methods below; leaving the block early cancels it. When the audio ends the call is finished by
    itself. Nothing is taken from the audio before the server has accepted the call.

    A lost connection is made again for up to 60 s, and Resumed tells of it. Meanwhile audio and controls are taken and kept (a recording with
    pace batch waits instead), to be sent after.
    """

    def __init__(
        self,
        connection: Connection,
        settings: CallSettings,
        source: AudioInput,
        running: set[EventStream[Any]],
        on_sent: Callable[[int], None] | None = None,
        *,
        resume: bool = True,
        point: ResumePoint | None = None,
    ) -> None:
        """``on_sent`` is called with the bytes of audio taken so far; what it raises ends the call like an error of the audio."""
        super().__init__(connection, settings, running, resume=resume, point=point)
        self._on_sent = on_sent
        self._sent_bytes = 0
        self._source = source
        call_format = settings.format
        self._chunker = Chunker(frame_bytes=call_format.frame_bytes, ready_bytes=settings.message_bytes, most_bytes=call_format.most_bytes)
        self._taking = False
        self._stall_timer: asyncio.TimerHandle | None = None

    @property
    def session_id(self) -> str:
        """The call's id, a UUIDv7 made here."""
        return self._session_id

    @property
    def opened(self) -> events.Opened | None:
        """The effective configuration; None until the server has answered. After Resumed it is a new one, with a new ``resume_token``."""
        return self._opened

    @property
    def last_seq(self) -> int:
        """Of the last durable event received."""
        return self._last_seq

    def unsaved_audio(self) -> UnsavedAudio:
        """The audio sent but not yet in any stored transcript: the newest 60 s at most."""
        return self._kept.audio.snapshot()

    async def flush(self) -> None:
        """End the current utterance on every channel now."""
        await self._control(audio.Control(flush=audio.Flush()))

    async def mute(self, channel: int | None = None) -> None:
        """Ignore a channel (0-based), or all: its audio counts as silence."""
        await self._control(audio.Control(mute=audio.Mute(channel=_checked_channel(channel), muted=True)))

    async def unmute(self, channel: int | None = None) -> None:
        """Listen to a channel (0-based) again, or to all."""
        await self._control(audio.Control(mute=audio.Mute(channel=_checked_channel(channel), muted=False)))

    async def hold(self) -> None:
        """The customer waits: no channel is listened to, time goes on."""
        await self._control(audio.Control(hold=audio.Hold(on_hold=True)))

    async def unhold(self) -> None:
        """The customer is back."""
        await self._control(audio.Control(hold=audio.Hold(on_hold=False)))

    async def dtmf(self, digits: str) -> None:
        """Keys were pressed: 1 to 64 of 0-9, ``*``, ``#``, A-D. They are counted, never stored."""
        if not _DIGITS.fullmatch(digits):
            raise InvalidRequest("keys are 1 to 64 of 0-9, *, #, A-D")
        await self._control(audio.Control(dtmf=audio.Dtmf(digits=digits)))

    async def feedback(self, insight_id: str, action: FeedbackAction) -> None:
        """What the operator did with an insight."""
        check_choice("action", action, get_args(FeedbackAction))
        if not 1 <= len(insight_id) <= 128:
            raise InvalidRequest("an insight's id has 1 to 128 characters")
        feedback = audio.Feedback(insight_id=insight_id, action=audio.FeedbackAction[action.upper()])
        await self._beside(self._send(audio.StreamRequest(feedback=feedback)))

    async def finish(self) -> None:
        """Take no more audio. What was taken is transcribed, and events go on until Closed."""
        await self._beside(self._stop_taking())

    async def _produce(self) -> None:
        async with self._writing:
            await self._begin()
            self._chunker.start_at(self._kept.audio.end)
        await self._take_until_finish()
        async with self._writing:
            await self._send_gathered()
            self._chunker.close()
            await self._send_finish()

    async def _take_until_finish(self) -> None:
        """``finish()`` cancels the writer task while it waits for the caller's audio, and nowhere else (see ``_stop_taking``)."""
        try:
            await self._take_audio()
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._taking or task is None:
                raise
            task.uncancel()

    async def _take_audio(self) -> None:
        self._taking = True
        try:
            async with self._source.chunks() as chunks:
                async for chunk in chunks:
                    self._chunker.add(chunk)
                    if self._chunker.ready:
                        if self._settings.pace == "batch":
                            await self._connected.wait()  # a recording can wait
                        async with self._writing:
                            await self._send_gathered()
                    elif self._stall_timer is None:
                        self._stall_timer = asyncio.get_running_loop().call_later(_STALL_SECONDS, self._on_stall)
        finally:
            self._stop_stall_timer()
        self._taking = False

    async def _stop_taking(self) -> None:
        """With ``_writing`` held the writer is not inside a write, which a cancellation would turn into the end of the call."""
        async with self._writing:
            if self._taking:
                self._taking = False
                self._tasks[0].cancel()

    def _on_stall(self) -> None:
        self._spawn(self._send_stalled())

    async def _send_stalled(self) -> None:
        async with self._writing:
            if not self._kept.finished:
                await self._send_gathered()

    def _stop_stall_timer(self) -> None:
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None

    async def _send_gathered(self) -> None:
        self._stop_stall_timer()
        for position, piece in self._chunker.take():
            await self._send_kept(self._kept.add_audio(position, piece))
            self._sent_bytes += len(piece)
            if self._on_sent is not None:
                self._on_sent(self._sent_bytes)

    async def _control(self, control: audio.Control) -> None:
        await self._beside(self._send(audio.StreamRequest(control=control)))

    async def _send(self, request: audio.StreamRequest) -> None:
        """Send what is not audio after the audio taken so far, so that it applies where the caller said it."""
        async with self._writing:
            if self._kept.finished:
                raise CallOver
            await self._send_gathered()
            await self._send_kept(self._kept.add_control(self._chunker.position, request))


def _checked_channel(channel: int | None) -> int | None:
    if channel not in {None, 0, 1}:
        raise InvalidRequest(f"channel {channel}: a call has channels 0 and 1")
    return channel
