"""A recording as a call of pace BATCH on Audio: a file in, its segments out.

Audio runs in this very process, where a caller who was let in needs no token: the job calls as the tenant who made it.
"""

import asyncio
import os
import secrets
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import grpc

from malha.api.audio.v1 import audio_pb2 as api
from malha.api.common.v1 import media_pb2, transcript_pb2
from malha.jobs.store import Transcribed
from malha.runtime.auth import Principal, current_principal
from malha.runtime.errors import Unavailable
from malha.runtime.scopes import STREAM
from malha.runtime.status import from_rpc_error
from malha.store.session_updates import StoredSegment

_METHOD: Final = "/malha.api.audio.v1.AudioStreamService/Stream"
_PIECE_BYTES: Final = 256 * 1024
_MOST_WARNINGS: Final = 20
_FED: Final = 0.1
"""How much of the progress is over once the file is handed over."""
_HALF_SECONDS: Final = 120.0
"""Where the recording's length is not known, half of the rest counts as done after so much of it."""
_ROLES: Final = {media_pb2.ROLE_AGENT: "agent", media_pb2.ROLE_CUSTOMER: "customer"}


class Recording:
    """One file on its way through Audio. ``progress`` is from 0 to 1."""

    def __init__(self, channel: grpc.aio.Channel, tenant: uuid.UUID, job: uuid.UUID, given: Mapping[str, Any]) -> None:
        self._channel = channel
        self._opening = opening(given)
        self._principal = Principal(str(tenant), secrets.token_urlsafe(32), tenant, f"job:{job}", frozenset({STREAM}))
        self._segments: dict[str, StoredSegment] = {}
        self._warnings: dict[str, str] = {}
        self._lost: api.Warning | None = None
        self._summary = api.Summary()
        self._known_seconds: float | None = None
        self.progress = 0.0

    async def transcribe(self, path: Path) -> Transcribed:
        """Hand the file over and wait for the last of its segments.

        Raises what Audio says, Unavailable where it says nothing or all that was said was lost, OSError.
        """
        current_principal.set(self._principal)
        metadata = (("authorization", f"Bearer {self._principal.token}"),)
        call: Any = self._channel.stream_stream(
            _METHOD, request_serializer=api.StreamRequest.SerializeToString, response_deserializer=api.StreamResponse.FromString
        )(metadata=metadata)
        tasks = asyncio.ensure_future(self._feed(call, path)), asyncio.ensure_future(self._listen(call))
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            for task in tasks:
                if task.done():
                    task.result()
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from None
        finally:
            for task in tasks:
                task.cancel()
            call.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        said = [segment for segment in self._segments.values() if segment.text]
        if self._lost is not None and not said:
            raise Unavailable(self._lost.message, reason=self._lost.reason)
        return Transcribed(
            self._opening.SerializeToString(),
            said,
            self._summary.duration.ToNanoseconds() / 1e9,
            [{"reason": reason, "message": message} for message, reason in self._warnings.items()],
        )

    async def _feed(self, call: Any, path: Path) -> None:
        file = await asyncio.to_thread(path.open, "rb")
        size, fed = os.fstat(file.fileno()).st_size, 0
        try:
            await call.write(api.StreamRequest(open=self._opening))
            while piece := await asyncio.to_thread(file.read, _PIECE_BYTES):
                if not fed:
                    self._known_seconds = wav_seconds(piece, size)
                await call.write(api.StreamRequest(audio=api.Audio(content=piece)))
                fed += len(piece)
                self.progress = _FED * fed / max(size, 1)
            await call.write(api.StreamRequest(finish=api.Finish()))
        except asyncio.InvalidStateError:
            return  # the call is over: who listens knows why
        finally:
            file.close()

    async def _listen(self, call: Any) -> None:
        closed = False
        while (response := await call.read()) is not grpc.aio.EOF:
            match response.WhichOneof("event"):
                case "transcript":
                    self._take(response.transcript.segment)
                case "warning":
                    self._warn(response.warning)
                case "summary":
                    self._summary = response.summary
                case "closed":
                    closed = True  # and on to the status: Audio counts a call that is left before it as given up
        if not closed:
            raise Unavailable("Audio ended the recording without a word", reason="SERVICE_AWAY")

    def _warn(self, warning: api.Warning) -> None:
        if warning.segment_id:
            self._lost = warning
        if len(self._warnings) < _MOST_WARNINGS:
            self._warnings[warning.message] = warning.reason

    def _take(self, segment: transcript_pb2.Segment) -> None:
        known = self._segments.get(segment.id)
        if segment.state == transcript_pb2.SEGMENT_STATE_PARTIAL or (known is not None and segment.revision <= known.revision):
            return
        kept = self._segments[segment.id] = _stored(segment)
        heard = kept.end_seconds
        part = heard / self._known_seconds if self._known_seconds else heard / (heard + _HALF_SECONDS)
        self.progress = max(self.progress, _FED + (0.99 - _FED) * min(part, 1.0))


def opening(given: Mapping[str, Any]) -> api.Open:
    """What a job's input asks of Audio."""
    return api.Open(
        languages=given.get("languages", ()),
        format=media_pb2.AudioFormat(encoding=media_pb2.ENCODING_FILE),
        channels=[api.Channel(role=role) for role in given.get("roles", ())],
        pace=api.PACE_BATCH,
        diarize=given.get("diarize", False),
        model=given.get("model", ""),
        interim=False,
        words=given.get("words", False),
    )


def wav_seconds(head: bytes, size: int) -> float | None:
    """How long a WAV file of so many bytes lasts, by the bytes per second its header names; None for what is none."""
    if head[:4] != b"RIFF" or head[8:16] != b"WAVEfmt ":
        return None
    rate = int.from_bytes(head[28:32], "little")
    return size / rate if rate else None


def _stored(segment: transcript_pb2.Segment) -> StoredSegment:
    return StoredSegment(
        segment_id=segment.id,
        revision=segment.revision,
        channel=segment.channel,
        role=_ROLES.get(segment.role, ""),
        start_seconds=segment.start.ToNanoseconds() / 1e9,
        end_seconds=segment.end.ToNanoseconds() / 1e9,
        text=segment.text,
        words=[
            {
                "text": word.text,
                "start": word.start.ToNanoseconds() / 1e9,
                "end": word.end.ToNanoseconds() / 1e9,
                "confidence": word.confidence if word.HasField("confidence") else None,
            }
            for word in segment.words
        ],
        confidence=segment.confidence if segment.HasField("confidence") else None,
        speaker=segment.speaker,
    )


AudioChannel = Callable[[], grpc.aio.Channel]
"""The channel to Audio in this process."""
