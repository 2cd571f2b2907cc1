"""AudioStreamService: the contract's messages to a Call and its events back; and the connections a call has had one after the other."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import grpc

from malha.api.audio.v1 import audio_pb2 as api
from malha.audio.call import Call, CallConfig
from malha.audio.call_factory import NOT_IN_THIS_VERSION, CallFactory
from malha.audio.call_store import CallStore
from malha.audio.events import Opened, Warned
from malha.audio.formats.base import RAW_ENCODINGS
from malha.audio.messages import FEEDBACK_ACTIONS, call_config, opened_message
from malha.audio.places import Places
from malha.audio.progress import Progress
from malha.audio.recorder import CallRecordings
from malha.audio.session_ids import session_id_of
from malha.audio.settings import AudioSettings
from malha.audio.stored import replayed
from malha.audio.teller import AudioStream, Teller
from malha.audio.timeline import MAX_POSITION
from malha.audio.uploads import UploadDecoder, UploadLimits
from malha.runtime import logs
from malha.runtime.durations import duration
from malha.runtime.errors import FailedPrecondition, InvalidArgument, MalhaError, Unimplemented
from malha.runtime.logs import Event
from malha.runtime.quotas import Quotas
from malha.runtime.rpc import StreamMethod, UnaryMethod
from malha.runtime.version import VERSION
from malha.store.ledger import Ledger
from malha.store.session_updates import SessionMoved
from malha.store.sessions import DETACHED_SECONDS, Held, Resumed

log = logs.get("audio")

SESSION_KEY = "malha-session"

MOVED = "the call goes on over another connection"
DETACH_SECONDS = 5.0
"""How long the store may take to hear that a client is lost; after that another process finds out."""


class AudioStreamService:
    """Serves calls. ``transcribe`` gives the channel to Transcribe. Without a store calls cannot be resumed."""

    name = "malha.api.audio.v1.AudioStreamService"
    engine = "webrtcvad"

    def __init__(
        self,
        settings: AudioSettings,
        transcribe: Callable[[], grpc.aio.Channel],
        store: CallStore | None = None,
        quotas: Quotas | None = None,
        recordings: CallRecordings | None = None,
        insight: Callable[[], grpc.aio.Channel] | None = None,
        diarize: Callable[[], grpc.aio.Channel] | None = None,
    ) -> None:
        self._settings = settings
        self._calls = CallFactory(
            transcribe, insight, diarize, store.configurations if store is not None else None, final_seconds=settings.final_seconds
        )
        self._store = store
        self._recordings = recordings
        self._places = Places(quotas)
        self._streams: dict[uuid.UUID, tuple[int, AudioStream]] = {}
        """Of the sessions this process owns, with their epochs."""
        limits = UploadLimits(settings.upload_max_bytes, settings.upload_max_seconds, settings.upload_memory_bytes)
        self._uploads = UploadDecoder(limits, settings.upload_workers)

    async def start(self) -> None:
        """Begin to keep calls."""
        if self._store is not None:
            await self._store.start()
        if self._recordings is not None:
            await self._recordings.start()

    async def close(self) -> None:
        """End the upload decoder, and store what is left."""
        await self._uploads.close()
        if self._store is not None:
            await self._store.close()
        if self._recordings is not None:
            await self._recordings.close()

    def methods(self) -> Mapping[str, StreamMethod | UnaryMethod]:
        return {"Stream": StreamMethod(self.stream, exempt=_resumes)}

    async def stream(self, stream: AudioStream) -> None:
        """One connection of a call."""
        if _resumes(stream):
            await self._resume(stream)
            return
        opening = stream.opening.open
        stream.principal.check_tenant(opening.tenant_id)
        session_id = session_id_of(stream.metadata.get(SESSION_KEY, ""))
        config = call_config(opening, self._settings)
        teller = Teller(stream)
        if config.encoding == "file":
            await self._run_file(stream, config, teller, session_id)
            return
        call = await self._calls.make(stream, opening, config, teller)
        try:
            opened = await call.open()
            held = await self._begin(stream, session_id)
        except BaseException:
            await call.close()
            raise
        async with self._connected(stream, call, teller, held):
            self._tell_opened(call, opened, opening, config, teller, session_id, held)
            async with self._calls.advised(opening, call, teller, session_id):
                await self._converse(stream, call, teller, held)

    async def _begin(self, stream: AudioStream, session_id: str) -> Held | None:
        tenant_id = stream.principal.tenant_id
        if self._store is None or tenant_id is None:
            return None
        opening = stream.opening.open
        return await self._store.sessions.open(
            uuid.UUID(session_id), tenant_id, stream.principal.token, opening.conversation_id, opening.SerializeToString()
        )

    async def _resume(self, stream: AudioStream) -> None:
        """Another connection of a call: tell what was missed, then hear on from where the stored finals end."""
        asked, tenant_id = stream.opening.resume, stream.principal.tenant_id
        if self._store is None or tenant_id is None:
            raise Unimplemented("this server has no store and cannot resume a call: open a new one", reason=NOT_IN_THIS_VERSION)
        if max(asked.have_from, asked.have_from_frame) > MAX_POSITION:
            raise InvalidArgument("resume.have_from is beyond any call", reason="INVALID_POSITION")
        resumed = await self._store.sessions.resume(asked.token, tenant_id, stream.principal.token, asked.after_seq)
        held = resumed.held
        self._places.give(held.session_id)
        opening = api.Open.FromString(resumed.config)
        config, teller = call_config(opening, self._settings), Teller(stream)
        if config.encoding == "file":
            raise FailedPrecondition("an upload cannot be resumed: send it again", reason="NOT_RESUMABLE")
        progress = Progress.of(resumed.columns)
        if progress is not None and asked.HasField("have_from"):
            raw = config.encoding in RAW_ENCODINGS
            progress = progress.starting_at(asked.have_from, asked.have_from if raw else asked.have_from_frame)
        call = await self._calls.make(stream, opening, config, teller, progress, held.epoch)
        if resumed.over:
            await self._tell_rest(call, config, teller, resumed)
            return
        async with self._connected(stream, call, teller, held, progress):
            self._tell_opened(call, await call.open(), opening, config, teller, str(held.session_id), held)
            for event in resumed.events:
                await teller.again(replayed(event))
            log.info(Event.CALL_RESUMED, session=str(held.session_id), epoch=held.epoch, replayed=len(resumed.events))
            async with self._calls.advised(opening, call, teller, str(held.session_id)):
                await self._converse(stream, call, teller, held)

    async def _tell_rest(self, call: Call, config: CallConfig, teller: Teller, resumed: Resumed) -> None:
        """The call had ended when its client came back."""
        try:
            opened = await call.open()
        finally:
            await call.close()
        message = opened_message(opened, config, str(resumed.held.session_id), VERSION)
        message.resume_from, message.resume_from_frame = call.resumed_from
        teller.opened(message)
        for event in resumed.events:
            await teller.again(replayed(event))

    @asynccontextmanager
    async def _connected(
        self, stream: AudioStream, call: Call, teller: Teller, held: Held | None, stored: Progress | None = None
    ) -> AsyncIterator[None]:
        """A call's connection, from its begin to its end, however that comes."""
        if self._store is None or held is None:
            try:
                yield
            finally:
                await call.close()
            return
        ledger = teller.ledger = Ledger(self._store.writer, held, call.progress, stream.end, stored)
        closed = False
        try:
            self._supersede(stream, held)
            if self._recordings is not None:
                call.recorder = await self._recordings.open(held.tenant_id, held.conversation_id, held.session_id, held.epoch)
            yield
            closed = True
        finally:
            ours = self._streams.get(held.session_id) == (held.epoch, stream)
            if ours:
                del self._streams[held.session_id]
            await call.close()
            if not closed:
                if ours and not ledger.moved:
                    self._places.keep(held.session_id, stream.principal.tenant_key, DETACHED_SECONDS)
                await self._detach(ledger, held)
            ledger.close()

    def _supersede(self, stream: AudioStream, held: Held) -> None:
        """Of a call's connections to this process the newest goes on."""
        epoch, earlier = self._streams.get(held.session_id, (0, None))
        if epoch > held.epoch:
            raise SessionMoved(MOVED)
        self._streams[held.session_id] = held.epoch, stream
        if earlier is not None:
            earlier.end(SessionMoved(MOVED))

    async def _detach(self, ledger: Ledger[Progress], held: Held) -> None:
        """Store what was decided, and let the session wait for its client."""
        assert self._store is not None
        with suppress(MalhaError, TimeoutError):  # another process finds out
            async with asyncio.timeout(DETACH_SECONDS):
                await ledger.settled()
                await self._store.sessions.detach(held)

    async def _converse(self, stream: AudioStream, call: Call, teller: Teller, held: Held | None) -> None:
        stream.on_go_away = lambda left: stream.emit(api.StreamResponse(go_away=api.GoAway(time_left=duration(left))))
        await self._listen(stream, call, teller)
        await self._finish(call, teller, held)

    def _tell_opened(
        self, call: Call, opened: Opened, opening: api.Open, config: CallConfig, teller: Teller, session_id: str, held: Held | None
    ) -> None:
        message = opened_message(opened, config, session_id, VERSION)
        if held is not None:
            message.resume_token = held.resume_token
            message.resume_from, message.resume_from_frame = call.resumed_from
        teller.opened(message)
        log.info(Event.CALL_OPENED, session=session_id, encoding=config.encoding, channels=config.channels, engine=opened.engine)
        for warning in self._calls.missing(opening, opened):
            teller.tell(warning, 0)

    async def _listen(self, stream: AudioStream, call: Call, teller: Teller) -> None:
        async for request in stream:
            kind = request.WhichOneof("request")
            if kind == "audio":
                audio = request.audio
                await call.add(audio.content, audio.position if audio.HasField("position") else None)
                if teller.insights is not None and (teller.ledger is None or teller.ledger.idle):
                    teller.insights.tick(call.seconds)  # no further than what is stored: an outage is no silence
            elif kind == "control":
                self._control(call, request.control, teller)
            elif teller.insights is not None:
                teller.insights.feedback(request.feedback.insight_id, FEEDBACK_ACTIONS[request.feedback.action])
            else:
                teller.tell(Warned("INSIGHTS_OFF", "feedback on an insight of a call without insights: open it with insights on"), 0)

    def _control(self, call: Call, control: api.Control, teller: Teller) -> None:
        match control.WhichOneof("control"):
            case "flush":
                call.flush()
            case "mute":
                call.mute(control.mute.channel if control.mute.HasField("channel") else None, control.mute.muted)
                teller.save()
            case "hold":
                call.hold(control.hold.on_hold)
                teller.save()
            case "dtmf":
                call.dtmf(control.dtmf.digits)
                teller.save()
            case "insights":
                self._steer(control.insights, call, teller)

    def _steer(self, control: api.InsightControl, call: Call, teller: Teller) -> None:
        if teller.insights is None:
            teller.tell(Warned("INSIGHTS_OFF", "this call was opened without insights: set open.insights"), call.received_through)
            return
        if control.HasField("enabled"):
            call.insights = control.enabled
            teller.save()
        teller.insights.control(control.enabled if control.HasField("enabled") else None, control.trigger)

    async def _run_file(self, stream: AudioStream, config: CallConfig, teller: Teller, session_id: str) -> None:
        """A whole file: it is gathered, decoded elsewhere, and heard as fast as it is recognised."""
        opening, upload = stream.opening.open, self._uploads.receive()
        try:
            roles_known = replace(config, encoding="pcm", channels=max(len(config.roles), 1))
            call = await self._calls.make(stream, opening, roles_known, teller)
            async with _Closing(call):
                self._tell_opened(call, await call.open(), opening, config, teller, session_id, None)
                async for request in stream:
                    if request.WhichOneof("request") == "audio":
                        await upload.add(request.audio.content)
                        call.count(len(request.audio.content))
                path = await upload.complete()
                async with self._calls.advised(opening, call, teller, session_id):
                    async for piece in self._uploads.decode(path):
                        await call.expect_file(piece.samples.shape[1], twins=piece.twins, gain=piece.gain)
                        call.add_samples(piece.samples, piece.sample_rate)
                        await call.room()
                    await self._finish(call, teller, None)
        finally:
            upload.close()

    async def _finish(self, call: Call, teller: Teller, held: Held | None) -> None:
        """The conversation ends before the client is told that the call is over: nobody would come back to do it."""
        figures, ledger = await call.finish(), teller.ledger
        if teller.insights is not None:
            if ledger is not None:
                await ledger.settled()  # what is not told is not advised on
            await teller.insights.finish()
        if self._store is not None and held is not None and ledger is not None:
            await ledger.settled()
            await self._store.sessions.closed(held, figures.duration_seconds)
        teller.finish(call, figures)
        if ledger is not None:
            await ledger.settled()
        log.info(Event.CALL_CLOSED, segments=figures.segments, seconds=round(figures.duration_seconds, 3), failed=figures.failed_segments)


class _Closing:
    """Closes a call however its connection ends."""

    def __init__(self, call: Call) -> None:
        self._call = call

    async def __aenter__(self) -> Call:
        return self._call

    async def __aexit__(self, *_: object) -> None:
        await self._call.close()


def _resumes(stream: AudioStream) -> bool:
    return stream.opening.WhichOneof("request") == "resume"
