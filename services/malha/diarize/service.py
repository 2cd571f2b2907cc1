"""DiarizeService: the contract's messages to channels for an engine, and its turns back."""

import asyncio
import contextlib
from collections.abc import Iterator, Mapping
from typing import Final

from malha.api.common.v1 import media_pb2
from malha.api.diarize.v1 import diarize_pb2 as api
from malha.diarize.engine import DiarizationConfig, DiarizeEngine
from malha.diarize.enrolment import Enrolment
from malha.diarize.session import Opening, Session
from malha.diarize.settings import DiarizeSettings
from malha.diarize.store import SpeakerStore
from malha.runtime.durations import duration
from malha.runtime.errors import EngineBusy, UnsupportedFormat
from malha.runtime.rpc import StreamMethod, UnaryMethod
from malha.runtime.stream import Stream
from malha.store.database import Database

DEFAULT_HERTZ: Final = 16_000
RETRY_SECONDS: Final = 5.0

DiarizeStream = Stream[api.DiarizeRequest, api.DiarizeResponse]


class DiarizeService:
    """Serves one engine. Without a database nobody can be enrolled, and no voice is anybody's."""

    name = "malha.api.diarize.v1.DiarizeService"

    def __init__(self, engine: DiarizeEngine, settings: DiarizeSettings, database: Database | None) -> None:
        self._engine = engine
        self._settings = settings
        self._speakers = SpeakerStore(database) if database is not None else None
        self._enrolment = Enrolment(engine, self._speakers)
        self._open = 0

    @property
    def engine(self) -> str:
        """The engine's name."""
        return self._engine.capabilities.name

    async def start(self) -> None:
        """Load the engine."""
        await self._engine.start()

    async def close(self) -> None:
        """Give it back."""
        await self._engine.close()

    def methods(self) -> Mapping[str, StreamMethod | UnaryMethod]:
        return {"Diarize": StreamMethod(self.diarize), **self._enrolment.methods()}

    async def diarize(self, stream: DiarizeStream) -> None:
        """Label one stream: its one channel, or each of two."""
        opening = self._opening(stream)
        with self._place():
            await stream.send(api.DiarizeResponse(opened=self._opened(opening)))
            async with asyncio.TaskGroup() as tasks:
                session = Session(stream, self._engine, opening, self._settings, self._speakers, tasks)
                async for request in stream:
                    await session.hear(request.audio.content)
                await session.end()
            closed = api.Closed(speakers=session.speakers, audio=duration(session.seconds), speech=duration(session.speech_seconds))
            await stream.send(api.DiarizeResponse(closed=closed))

    @contextlib.contextmanager
    def _place(self) -> Iterator[None]:
        if self._open >= self._settings.diarize_max_streams:
            raise EngineBusy("as many streams are labelled as this server takes", retry_seconds=RETRY_SECONDS, quota="diarize_streams")
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1

    def _opening(self, stream: DiarizeStream) -> Opening:
        self._engine.check()
        asked, principal = stream.opening.open, stream.principal
        if asked.format.encoding != media_pb2.ENCODING_PCM16:
            raise UnsupportedFormat(
                "Diarize takes ENCODING_PCM16; AudioStreamService takes the other formats", violations={"open.format": "PCM16"}
            )
        channels = asked.format.channels if asked.format.HasField("channels") else 1
        identify = bool(asked.identify and self._speakers and principal.tenant_id is not None and self._engine.capabilities.print_model)
        config = DiarizationConfig(
            principal.tenant,
            max_speakers=1 if channels > 1 else asked.max_speakers,
            online=self._engine.capabilities.online and not asked.background,
            prints=identify,
            background=asked.background,
        )
        rate = asked.format.sample_rate_hertz if asked.format.HasField("sample_rate_hertz") else DEFAULT_HERTZ
        return Opening(config, rate, channels)

    def _opened(self, opening: Opening) -> api.Opened:
        can = self._engine.capabilities
        return api.Opened(
            engine=media_pb2.Engine(name=can.name, version=can.version, model=can.print_model),
            max_speakers=opening.channels if opening.channels > 1 else opening.config.max_speakers,
            identify=opening.config.prints,
            threshold=self._settings.speaker_threshold if opening.config.prints else 0.0,
        )
