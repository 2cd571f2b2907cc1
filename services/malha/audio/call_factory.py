"""Calls with all that works for them: who recognises, who tells speakers apart, what becomes of their texts, who advises."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import grpc

from malha.api.audio.v1 import audio_pb2 as api
from malha.api.insight.v1 import insight_pb2 as insight_api
from malha.api.insight.v1 import rules_pb2
from malha.audio.call import Call, CallConfig
from malha.audio.events import Opened, Warned
from malha.audio.insights import CallInsights
from malha.audio.progress import Progress
from malha.audio.recogniser import ChannelRecogniser, Listener, RecogniserConfig
from malha.audio.speakers import CallSpeakers
from malha.audio.teller import AudioStream, Teller
from malha.audio.texts import CallTexts, pipelines
from malha.runtime.mesh import identity
from malha.store.configuration import Configurations

NOT_IN_THIS_VERSION = "NOT_IN_THIS_VERSION"

Channel = Callable[[], grpc.aio.Channel]


class CallFactory:
    """Makes calls as their clients ask for them. A capability this server does not have is None."""

    def __init__(
        self,
        transcribe: Channel,
        insight: Channel | None,
        diarize: Channel | None,
        configurations: Configurations | None,
        *,
        final_seconds: float,
    ) -> None:
        """``final_seconds``: how long a final may take."""
        self._transcribe = transcribe
        self._insight = insight
        self._diarize = diarize
        self._configurations = configurations
        self._final_seconds = final_seconds

    async def make(
        self,
        stream: AudioStream,
        opening: api.Open,
        config: CallConfig,
        teller: Teller,
        progress: Progress | None = None,
        number: int = 1,
    ) -> Call:
        """A call, not yet open. ``progress`` is where an earlier owner of it was; ``number`` counts the owners."""
        tenant_id, known = stream.principal.tenant_id, self._configurations
        configuration = await known.of(tenant_id) if known is not None and tenant_id is not None else rules_pb2.Configuration()
        speakers = self._speakers(opening, config, teller, number)
        tell = teller.tell if speakers is None else speakers.tell
        texts = CallTexts(pipelines(configuration, opening.verbatim), "".join(opening.languages[:1]), tell)
        return Call(config, self._recogniser(opening, config), tell, progress, texts, speakers)

    def missing(self, opening: api.Open, opened: Opened) -> Iterator[Warned]:
        """What the call asks for and will not get."""
        if opening.diarize and self._diarize is None:
            yield Warned(NOT_IN_THIS_VERSION, "diarization: this server has no Diarize")
        if opening.align and not opened.aligns:
            yield Warned("ALIGNMENT_NOT_HERE", "alignment: nothing here aligns this language, words carry the recogniser's times")

    @asynccontextmanager
    async def advised(self, opening: api.Open, call: Call, teller: Teller, session_id: str) -> AsyncIterator[None]:
        """A connection with its way to Insight, where the call wants advice."""
        if not opening.insights or self._insight is None:
            if opening.insights:
                teller.tell(Warned(NOT_IN_THIS_VERSION, "insights: this server has no Insight"), 0)
            yield
            return
        wanted = insight_api.Open(
            conversation_id=opening.conversation_id or session_id,
            language="".join(opening.languages[:1]),
            types=opening.insight.types,
            policy=opening.insight.policy,
            session_id=session_id,
            alias=opening.insight.alias,
        )
        insights = teller.insights = CallInsights(
            self._insight,
            identity(),
            wanted,
            lambda insight: teller.advise(insight, call.received_through),
            lambda reason, message: teller.tell(Warned(reason, message), call.received_through),
            enabled=call.insights,
        )
        try:
            yield
        finally:
            teller.insights = None
            await insights.close()

    def _speakers(self, opening: api.Open, config: CallConfig, teller: Teller, number: int) -> CallSpeakers | None:
        """Who tells the speakers apart, where the call wants that."""
        if not opening.diarize or self._diarize is None:
            return None

        def refused(reason: str, message: str) -> None:
            teller.tell(Warned(reason, f"diarization: {message}"), 0)

        return CallSpeakers(self._diarize, identity(), teller.tell, refused, live=config.live, number=number)

    def _recogniser(self, opening: api.Open, config: CallConfig) -> Callable[[int, Listener], ChannelRecogniser]:
        metadata = identity()

        def make(rate: int, listener: Listener) -> ChannelRecogniser:
            asked = RecogniserConfig(
                rate,
                tuple(opening.languages),
                opening.model,
                config.words,
                config.interim,
                background=not config.live,
                final_seconds=self._final_seconds,
                align=opening.align,
            )
            return ChannelRecogniser(self._transcribe, metadata, asked, listener)

        return make
