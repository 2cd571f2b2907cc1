"""PocketSphinx's forced alignment in a worker process.

Every request has a decoder of its own, that knows the words of its text and no others: nothing that somebody said stays in the process, and
a word the dictionary lacks can be given a pronunciation for this once.
"""

from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import pocketsphinx

from malha.runtime.worker import PAUSE
from malha.transcribe.engines.align_messages import Aligned, NotAlignable
from malha.transcribe.engines.pocketsphinx_frontend import examine_whole
from malha.transcribe.engines.pocketsphinx_worker import FRAME_SECONDS, SAMPLE_BYTES, SAMPLE_RATE_HERTZ, Cepstra, clean
from malha.transcribe.engines.pronunciations import Pronunciations, spoken_words

_SLICE_BYTES: Final = SAMPLE_RATE_HERTZ * SAMPLE_BYTES // 4
"""Decoded between two pauses for others."""
_BEAMS: Final[tuple[dict[str, float], ...]] = ({}, {"beam": 1e-100, "wbeam": 1e-80, "pbeam": 1e-100, "maxhmmpf": -1})
"""PocketSphinx's own first. The words are known and few: what cannot be afforded in recognition keeps an odd pronunciation alive in a second try."""
_LEAD_SECONDS, _TAIL_SECONDS = 0.2, 0.3
"""Of a quiet line around the audio: a text whose words fill it to the last frame would not come to its end."""
_LINE_NOISE: Final = 3.0
_SHORTEST_BYTES: Final = SAMPLE_RATE_HERTZ * SAMPLE_BYTES // 20


class AlignWorker:
    """The acoustic model's place, and a dictionary."""

    def __init__(self) -> None:
        self._pronunciations = Pronunciations()
        self._cepstra = Cepstra()
        self.info = version("pocketsphinx")

    def open(self, arguments: object) -> "AlignStream":
        """``arguments``: the text's tokens, as they are written."""
        return AlignStream(cast("Sequence[str]", arguments), self._pronunciations, self._cepstra)


class AlignStream:
    """One text and its audio: 16 kHz 16-bit PCM in, `Aligned` or `NotAlignable` out."""

    def __init__(self, tokens: Sequence[str], pronunciations: Pronunciations, cepstra: Cepstra) -> None:
        self._tokens = tokens
        self._pronunciations = pronunciations
        self._cepstra = cepstra
        self._decoder: Any = None

    def feed(self, item: object) -> Iterator[object]:
        words = [(place, word) for place, token in enumerate(self._tokens) for word in spoken_words(token)]
        known = {word: self._pronunciations.of(word) for _, word in words}
        unspeakable = tuple(dict.fromkeys(place for place, word in words if not known[word]))
        pcm = cast("bytes", item)
        if unspeakable or not words or len(pcm) < _SHORTEST_BYTES:
            yield NotAlignable(unspeakable)
            return
        line, places = " ".join(word for _, word in words), [place for place, _ in words]
        padded = _padded(pcm)
        found: Aligned | NotAlignable = NotAlignable()
        for beams in _BEAMS:
            self._decoder = _decoder(known, beams)
            self._decoder.set_align_text(line)
            yield from self._hear(padded)
            found = self._times(places, len(pcm) / SAMPLE_BYTES / SAMPLE_RATE_HERTZ)
            if isinstance(found, Aligned):
                break
        yield found

    def finish(self) -> Iterator[object]:
        return iter(())

    def close(self) -> None:
        self._decoder = None

    def _hear(self, pcm: bytes) -> Iterator[object]:
        conditioned = examine_whole(pcm).apply(pcm, 0)
        self._decoder.set_cmn(self._cepstra.mean(conditioned))
        self._decoder.start_utt()
        for at in range(0, len(conditioned), _SLICE_BYTES):
            self._decoder.process_raw(conditioned[at : at + _SLICE_BYTES], no_search=False, full_utt=False)
            yield PAUSE
        self._decoder.end_utt()

    def _times(self, places: Sequence[int], seconds: float) -> Aligned | NotAlignable:
        """Of tokens: one that is several words lasts from the first to the last of them."""
        heard = [segment for segment in self._decoder.seg() or () if clean(segment.word)] if self._decoder.hyp() is not None else []
        if len(heard) != len(places):
            return NotAlignable()
        spans: dict[int, tuple[float, float]] = {}
        for place, segment in zip(places, heard, strict=True):
            start, end = _within(segment.start_frame, seconds), _within(segment.end_frame + 1, seconds)
            spans[place] = (spans[place][0] if place in spans else start, end)
        return Aligned([(place, start, end, 0.0) for place, (start, end) in spans.items()])


def _padded(pcm: bytes) -> bytes:
    random = np.random.default_rng(0)
    lead, tail = (
        (random.standard_normal(int(seconds * SAMPLE_RATE_HERTZ)) * _LINE_NOISE).astype("<i2").tobytes()
        for seconds in (_LEAD_SECONDS, _TAIL_SECONDS)
    )
    return lead + pcm + tail


def _within(frame: int, seconds: float) -> float:
    """A frame's time in the audio as it came."""
    return min(max(round(frame * FRAME_SECONDS - _LEAD_SECONDS, 2), 0.0), seconds)


def _decoder(pronunciations: dict[str, tuple[str, ...]], beams: dict[str, float]) -> Any:
    decoder = pocketsphinx.Decoder(
        hmm=str(Path(pocketsphinx.get_model_path()) / "en-us" / "en-us"),
        lm=None,
        dict=None,
        samprate=SAMPLE_RATE_HERTZ,
        loglevel="FATAL",
        **beams,
    )
    for word, variants in pronunciations.items():
        for number, phones in enumerate(variants, 1):
            decoder.add_word(word if number == 1 else f"{word}({number})", phones, False)
    return decoder


def create_worker(_: object) -> AlignWorker:
    """The factory the engine host calls in its worker."""
    return AlignWorker()
