"""What is said in a call, as it may be shown and kept: normalised by the tenant's glossary, and scrubbed of personal data.

A final that ends inside a run of digits or number words may be the first half of an identity number. It is told with the run masked, and
what the channel says next, or five seconds, decides; if it was none, an amended segment shows it. What was said is held in memory only: a
process that takes the call over leaves it masked.
"""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

from malha.api.insight.v1 import rules_pb2
from malha.audio.events import CallEvent, RecognisedWord, Segment
from malha.text.glossary import Glossary
from malha.text.scrub import Pipeline, Scrubbed
from malha.text.spans import Piece, tokens

DECIDE_SECONDS: Final = 5.0
"""How long an open run stays masked where the channel says nothing more."""

Emit = Callable[[CallEvent, int], None]
Pipelines = Callable[[str], Pipeline]
"""The pipeline for a language."""


@dataclass(slots=True, eq=False)
class _Held:
    raw: Segment
    """As it was recognised."""
    told: Segment
    position: int
    timer: asyncio.TimerHandle


class CallTexts:
    """The text of one call's segments."""

    def __init__(self, pipelines: Pipelines, language: str, emit: Emit) -> None:
        """``language`` is expected where the recogniser names none. ``emit`` is told what is amended."""
        self._pipelines = pipelines
        self._language = language
        self._emit = emit
        self._held: dict[int, _Held] = {}
        """By channel."""

    def partial(self, segment: Segment) -> Segment:
        """A partial as it may be shown."""
        pipeline, held = self._pipeline(segment), self._held.get(segment.channel)
        if held is None:
            return replace(segment, text=pipeline.partial(segment.text))
        return replace(segment, text=pipeline.joined(held.raw.text, segment.text)[1].text)

    def final(self, segment: Segment, position: int) -> Segment:
        """A final as it may be shown and kept. Decides on what its channel held back."""
        pipeline, held = self._pipeline(segment), self._held.pop(segment.channel, None)
        if held is None or not segment.text:
            if held is not None:
                self._held[segment.channel] = held  # nothing was said: it stays undecided
            scrubbed = pipeline.final(segment.text)
        else:
            held.timer.cancel()
            earlier, scrubbed = pipeline.joined(held.raw.text, segment.text)
            self._amend(held, earlier, pipeline)
        told = _told(segment, scrubbed, pipeline)
        if scrubbed.held:
            timer = asyncio.get_running_loop().call_later(DECIDE_SECONDS, self._decide, segment.channel)
            self._held[segment.channel] = _Held(segment, told, position, timer)
        return told

    def finish(self) -> None:
        """No more is said: decide on all that is held back."""
        for channel in list(self._held):
            self._decide(channel)

    def close(self) -> None:
        """Forget what is held back: it stays masked."""
        for held in self._held.values():
            held.timer.cancel()
        self._held.clear()

    def _decide(self, channel: int) -> None:
        held = self._held.pop(channel)
        held.timer.cancel()
        pipeline = self._pipeline(held.raw)
        self._amend(held, pipeline.alone(held.raw.text), pipeline)

    def _amend(self, held: _Held, scrubbed: Scrubbed, pipeline: Pipeline) -> None:
        if scrubbed.text == held.told.text:
            return
        amended = _told(held.raw, scrubbed, pipeline)
        self._emit(replace(amended, revision=held.told.revision + 1, amended=True, latency=None), held.position)

    def _pipeline(self, segment: Segment) -> Pipeline:
        return self._pipelines(segment.language or self._language)


def _told(segment: Segment, scrubbed: Scrubbed, pipeline: Pipeline) -> Segment:
    return replace(segment, text=scrubbed.text, words=tuple(_words(segment, scrubbed, pipeline)))


def _words(segment: Segment, scrubbed: Scrubbed, pipeline: Pipeline) -> Iterator[RecognisedWord]:
    """Words with the times and least confidence of what they were made of."""
    if not segment.words:
        return
    spoken = [(token, word) for word in segment.words for token in tokens(word.text)]
    pieces: tuple[Piece, ...] = scrubbed.pieces
    if [token for token, _ in spoken] != tokens(segment.text):  # the engine writes its words otherwise
        pieces = pipeline.final(" ".join(token for token, _ in spoken)).pieces
    if spoken:
        for piece in pieces:
            of = [word for _, word in spoken[piece.first : piece.last + 1]]
            yield RecognisedWord(piece.text, of[0].start, of[-1].end, min(word.confidence for word in of))


def pipelines(configuration: rules_pb2.Configuration, verbatim: bool) -> Pipelines:
    """The pipelines of a tenant, by language."""
    glossary = Glossary.of(dict(configuration.glossary)) if configuration.glossary and not verbatim else None
    names, scrub = tuple(configuration.names), not configuration.keep_personal_data
    return lru_cache(maxsize=8)(lambda language: Pipeline(language, glossary, names, scrub=scrub, normalise=not verbatim))
