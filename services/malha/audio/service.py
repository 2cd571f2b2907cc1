"""AudioStreamService: the contract's messages to a Call and its events back."""

import re
import secrets
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import grpc

from malha.api.audio.v1 import audio_pb2 as api
from malha.audio.call import Call, CallConfig
from malha.audio.events import CallEvent, Gap, Segment, Warned
from malha.audio.messages import call_config, duration, event_fields, opened_message, summary_message
from malha.audio.recogniser import ChannelRecogniser, Listener, RecogniserConfig
from malha.audio.settings import AudioSettings
from malha.audio.uploads import Upload, UploadDecoder, UploadLimits
from malha.runtime import logs
from malha.runtime.errors import InvalidArgument, Unimplemented
from malha.runtime.logs import Event
from malha.runtime.mesh import identity
from malha.runtime.rpc import StreamMethod, UnaryMethod
from malha.runtime.stream import Stream
from malha.runtime.version import VERSION

log = logs.get("audio")

SESSION_KEY = "malha-session"
SESSION_CLOCK_SECONDS = 3600.0
"""How far the time in a caller's session id may be off."""
NOT_IN_THIS_VERSION = "NOT_IN_THIS_VERSION"
_UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")

AudioStream = Stream[api.StreamRequest, api.StreamResponse]


class AudioStreamService:
    """Serves calls. ``transcribe`` gives the channel to Transcribe."""

    name = "malha.api.audio.v1.AudioStreamService"
    engine = "webrtcvad"

    def __init__(self, settings: AudioSettings, transcribe: Callable[[], grpc.aio.Channel]) -> None:
        self._settings = settings
        self._transcribe = transcribe
        limits = UploadLimits(settings.upload_max_bytes, settings.upload_max_seconds, settings.upload_memory_bytes)
        self._uploads = UploadDecoder(limits, settings.upload_workers)

    async def start(self) -> None:
        """Nothing to load."""

    async def close(self) -> None:
        """End the upload decoder."""
        await self._uploads.close()

    def methods(self) -> Mapping[str, StreamMethod | UnaryMethod]:
        return {"Stream": StreamMethod(self.stream)}

    async def stream(self, stream: AudioStream) -> None:
        """One call's connection."""
        if stream.opening.WhichOneof("request") == "resume":
            raise Unimplemented("this version cannot resume a call: open a new one", reason=NOT_IN_THIS_VERSION)
        opening = stream.opening.open
        stream.principal.check_tenant(opening.tenant_id)
        session_id = session_id_of(stream.metadata.get(SESSION_KEY, ""))
        config = call_config(opening, self._settings)
        teller = Teller(stream)
        if config.encoding == "file":
            await self._run_file(stream, config, teller, session_id)
            return
        async with _Closing(Call(config, self._recogniser(opening, config), teller.tell)) as call:
            await self._open(call, opening, config, teller, session_id)
            stream.on_go_away = lambda left: stream.emit(api.StreamResponse(go_away=api.GoAway(time_left=duration(left))))
            await self._listen(stream, call, teller)
            await self._finish(call, teller, stream)

    async def _open(self, call: Call, opening: api.Open, config: CallConfig, teller: "Teller", session_id: str) -> None:
        opened = await call.open()
        teller.opened(opened_message(opened, config, session_id, VERSION))
        log.info(Event.CALL_OPENED, session=session_id, encoding=config.encoding, channels=config.channels, engine=opened.engine)
        for wanted, what in ((opening.denoise, "noise reduction"), (opening.diarize, "diarization"), (opening.insights, "insights")):
            if wanted:
                teller.tell(Warned(NOT_IN_THIS_VERSION, f"{what}: not in this version of Malha"), 0)

    async def _listen(self, stream: AudioStream, call: Call, teller: "Teller") -> None:
        async for request in stream:
            kind = request.WhichOneof("request")
            if kind == "audio":
                audio = request.audio
                await call.add(audio.content, audio.position if audio.HasField("position") else None)
            elif kind == "control":
                self._control(call, request.control, teller)

    def _control(self, call: Call, control: api.Control, teller: "Teller") -> None:
        match control.WhichOneof("control"):
            case "flush":
                call.flush()
            case "mute":
                call.mute(control.mute.channel if control.mute.HasField("channel") else None, control.mute.muted)
            case "hold":
                call.hold(control.hold.on_hold)
            case "dtmf":
                call.dtmf(control.dtmf.digits)
            case "insights":
                teller.tell(Warned(NOT_IN_THIS_VERSION, "insights: not in this version of Malha"), 0)

    async def _run_file(self, stream: AudioStream, config: CallConfig, teller: "Teller", session_id: str) -> None:
        """A whole file: it is gathered, decoded elsewhere, and heard as fast as it is recognised."""
        opening, upload = stream.opening.open, Upload(self._uploads.limits)
        try:
            roles_known = replace(config, encoding="pcm", channels=max(len(config.roles), 1))
            call = Call(roles_known, self._recogniser(opening, config), teller.tell)
            async with _Closing(call):
                await self._open(call, opening, config, teller, session_id)
                async for request in stream:
                    if request.WhichOneof("request") == "audio":
                        await upload.add(request.audio.content)
                        call.count(len(request.audio.content))
                path = await upload.complete()
                async for rate, samples in self._uploads.decode(path):
                    await call.expect_channels(samples.shape[1])
                    call.add_samples(samples, rate)
                    await call.room()
                await self._finish(call, teller, stream)
        finally:
            upload.close()

    async def _finish(self, call: Call, teller: "Teller", stream: AudioStream) -> None:
        figures = await call.finish()
        position = call.received_through
        teller.durable(position, summary=summary_message(figures, stream.dropped_partials))
        teller.durable(position, closed=api.Closed(reason=api.CLOSE_REASON_FINISHED))
        log.info(Event.CALL_CLOSED, segments=figures.segments, seconds=round(figures.duration_seconds, 3), failed=figures.failed_segments)

    def _recogniser(self, opening: api.Open, config: CallConfig) -> Callable[[int, Listener], ChannelRecogniser]:
        metadata = identity()

        def make(rate: int, listener: Listener) -> ChannelRecogniser:
            asked = RecogniserConfig(
                rate, tuple(opening.languages), opening.model, config.words, config.interim, self._settings.final_seconds
            )
            return ChannelRecogniser(self._transcribe, metadata, asked, listener)

        return make


class Teller:
    """Numbers and sends a call's events."""

    def __init__(self, stream: AudioStream) -> None:
        self._stream = stream
        self._seq = 0

    def opened(self, message: api.Opened) -> None:
        self._stream.emit(api.StreamResponse(opened=message))

    def tell(self, event: CallEvent, position: int) -> None:
        """Send an event; finals and gaps are durable and get a number."""
        if isinstance(event, Segment) and not event.final:
            self._stream.emit(api.StreamResponse(position=position, **event_fields(event)), partial_of=event.id)
            return
        if isinstance(event, Segment):
            self._stream.retract(event.id)
        if isinstance(event, Segment | Gap):
            self.durable(position, **event_fields(event))
        else:
            self._stream.emit(api.StreamResponse(position=position, **event_fields(event)))

    def durable(self, position: int, **event: Any) -> None:
        """Send a numbered event."""
        self._seq += 1
        self._stream.emit(api.StreamResponse(seq=self._seq, position=position, **event))


class _Closing:
    """Closes a call however its connection ends."""

    def __init__(self, call: Call) -> None:
        self._call = call

    async def __aenter__(self) -> Call:
        return self._call

    async def __aexit__(self, *_: object) -> None:
        await self._call.close()


def session_id_of(given: str) -> str:
    """The caller's session id, checked, or a new one. A UUIDv7 (RFC 9562) names its time: one far off would break the store's partitions."""
    if not given:
        return new_session_id()
    if not _UUID7.fullmatch(given):
        raise InvalidArgument("malha-session is no UUIDv7", reason="INVALID_SESSION_ID")
    if abs(int(given[:8] + given[9:13], 16) / 1000 - time.time()) > SESSION_CLOCK_SECONDS:
        raise InvalidArgument("the time in malha-session is more than an hour off: check the client's clock", reason="CLOCK_OFF")
    return given


def new_session_id() -> str:
    """A UUIDv7 of now."""
    value = int(time.time() * 1000) << 80 | secrets.randbits(80)
    value = value & ~(0xF << 76) | 7 << 76
    return str(uuid.UUID(int=value & ~(3 << 62) | 2 << 62))
