"""What Transcribe answers, as segments of the call."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from malha.api.transcribe.v1 import transcribe_pb2 as transcribe_api
from malha.audio.events import CallEvent, ChannelFigures, Figures, RecognisedWord, Segment, Warned
from malha.audio.recogniser import Listener, Utterance
from malha.audio.texts import CallTexts
from malha.audio.timeline import Timeline


@dataclass(slots=True, eq=False)
class OpenUtterance:
    """What a call knows of an utterance on its way: the context of `Utterance`. Times are seconds of the call."""

    channel: int
    figures: ChannelFigures
    id: str
    audio_start: float
    start: float
    start_frame: int
    ordinal: int
    end: float = 0.0
    decided_position: int = 0
    arrived: float = 0.0
    """When the audio of its acoustic end came in."""
    revision: int = 0


class Results:
    """Turns what comes back of a call's utterances into events and figures."""

    def __init__(
        self, emit: Callable[[CallEvent, int], None], figures: Figures, timeline: Timeline, texts: CallTexts | None, *, live: bool
    ) -> None:
        self.listener = Listener(self._on_partial, self._on_final, self._on_failed)
        self._emit = emit
        self._figures = figures
        self._timeline = timeline
        self._texts = texts
        self._live = live

    def _on_partial(self, utterance: Utterance, partial: transcribe_api.Partial) -> None:
        context: OpenUtterance = utterance.context
        context.revision += 1
        end = context.audio_start + partial.audio.ToNanoseconds() / 1e9
        segment = Segment(
            context.id,
            context.revision,
            False,
            context.channel,
            context.figures.role,
            partial.text,
            context.start,
            max(end, context.start),
        )
        self._emit(segment if self._texts is None else self._texts.partial(segment), self._timeline.received_through)

    def _on_final(self, utterance: Utterance, final: transcribe_api.Final) -> None:
        words = tuple(
            RecognisedWord(
                word.text,
                utterance.context.audio_start + word.start.ToNanoseconds() / 1e9,
                utterance.context.audio_start + word.end.ToNanoseconds() / 1e9,
                word.confidence,
            )
            for word in final.words
        )
        confidence = final.confidence if final.HasField("confidence") else None
        engine = (final.engine.name, final.engine.version, final.engine.model) if final.HasField("engine") else None
        self._tell_final(utterance, final.text, confidence, final.language, words, engine)

    def _on_failed(self, utterance: Utterance, reason: str, message: str) -> None:
        self._figures.failed_segments += 1
        self._emit(
            Warned(reason, f"an utterance could not be recognised: {message}", utterance.context.id), self._timeline.received_through
        )
        self._tell_final(utterance, "")

    def _tell_final(
        self,
        utterance: Utterance,
        text: str,
        confidence: float | None = None,
        language: str = "",
        words: tuple[RecognisedWord, ...] = (),
        engine: tuple[str, str, str] | None = None,
    ) -> None:
        context: OpenUtterance = utterance.context
        context.revision += 1
        context.figures.talk_seconds += context.end - context.start
        segment = Segment(
            id=context.id,
            revision=context.revision,
            final=True,
            channel=context.channel,
            role=context.figures.role,
            text=text,
            start=context.start,
            end=context.end,
            confidence=confidence,
            language=language,
            words=words,
            latency=time.monotonic() - context.arrived if self._live else None,
            engine=engine,
        )
        if self._texts is not None:
            segment = self._texts.final(segment, context.decided_position)
        if segment.text:
            context.figures.segments += 1
        self._emit(segment, context.decided_position)
