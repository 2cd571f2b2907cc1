"""PocketSphinx in a worker process: decodes utterances of many streams while their speech goes on.

The decoder holds the GIL and one utterance at a time, so each stream of speech takes one from a pool and gives it back when its utterance
ends. Every utterance starts from the same feature state: what was decoded before on a decoder never changes what comes after.
"""

import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import pocketsphinx

from malha.runtime.worker import Interim, spare_capacity
from malha.transcribe.engines.pocketsphinx_frontend import Conditioning, examine, examine_whole
from malha.transcribe.engines.pocketsphinx_messages import Words, WorkerOptions

SAMPLE_RATE_HERTZ = 16_000
FRAME_SECONDS = 0.01
SAMPLE_BYTES = 2
SEARCH = {"lw": 8.0, "fwdflat": False}
"""One pass instead of two: a third of the time after the last word, for the same words on held-out calls."""
CMN = "40,3,-1"
"""The cepstral mean every utterance starts from, so that none depends on what was decoded before."""


class PocketSphinxWorker:
    """A pool of decoders over one model."""

    def __init__(self, options: WorkerOptions) -> None:
        self._options = options
        self._idle: list[Any] = [self._make()]
        self.info = version("pocketsphinx")

    def open(self, arguments: object) -> "UtteranceStream":
        """``arguments``: whether partial hypotheses are wanted."""
        decoder = self._idle.pop() if self._idle else self._make()
        return UtteranceStream(decoder, self._idle, self._options.partial_seconds if arguments else None)

    def _make(self) -> Any:
        model = Path(pocketsphinx.get_model_path()) / "en-us"
        return pocketsphinx.Decoder(
            hmm=str(model / "en-us"),
            mean=self._options.means,
            lm=self._options.language_model,
            dict=self._options.dictionary,
            samprate=SAMPLE_RATE_HERTZ,
            loglevel="FATAL",
            **SEARCH,
        )


class UtteranceStream:
    """One utterance: pieces of 16 kHz 16-bit PCM in, a final `Words` out, partial ones before it."""

    def __init__(self, decoder: Any, pool: list[Any], partial_seconds: float | None) -> None:
        self._decoder: Any = decoder
        self._pool = pool
        self._partial_seconds = partial_seconds
        self._told_at = time.monotonic()
        self._told = ""
        self._opening = b""
        self._conditioning: Conditioning | None = None
        self._decoded = 0
        decoder.start_stream()
        decoder.set_cmn(CMN)
        decoder.start_utt()
        self._open = True

    def feed(self, item: object) -> Iterator[object]:
        self._hear(cast("bytes", item))
        now = time.monotonic()
        if self._partial_seconds is not None and now - self._told_at >= self._partial_seconds and spare_capacity():
            self._told_at = now
            text = clean(self._decoder.hyp().hypstr) if self._decoder.hyp() else ""
            if text and text != self._told:
                self._told = text
                yield Interim(Words(text, 0.0, ()))

    def finish(self) -> Iterator[object]:
        if self._conditioning is None and self._opening:
            self._conditioning = examine_whole(self._opening)
            self._decode(self._opening)
        self._end()
        hypothesis = self._decoder.hyp()
        if hypothesis is None:
            yield Words("", 0.0, ())
            return
        words = tuple(
            (
                clean(segment.word),
                segment.start_frame * FRAME_SECONDS,
                (segment.end_frame + 1) * FRAME_SECONDS,
                min(1.0, self._decoder.logmath.exp(segment.prob)),
            )
            for segment in self._decoder.seg()
            if clean(segment.word)
        )
        confidence = sum(word[3] for word in words) / len(words) if words else 0.0
        yield Words(clean(hypothesis.hypstr), confidence, words)

    def _hear(self, pcm: bytes) -> None:
        """Hold the utterance's opening back until it tells how the audio is to be conditioned, then decode as it comes."""
        if self._conditioning is None:
            self._opening += pcm
            self._conditioning = examine(self._opening)
            if self._conditioning is None:
                return
            pcm, self._opening = self._opening, b""
        self._decode(pcm)

    def _decode(self, pcm: bytes) -> None:
        assert self._conditioning is not None
        self._decoder.process_raw(self._conditioning.apply(pcm, self._decoded), no_search=False, full_utt=False)
        self._decoded += len(pcm) // SAMPLE_BYTES

    def close(self) -> None:
        self._end()
        self._pool.append(self._decoder)

    def _end(self) -> None:
        if self._open:
            self._open = False
            self._decoder.end_utt()


def clean(text: str) -> str:
    """Words only: no fillers, no marks of alternative pronunciations."""
    words = (word.partition("(")[0] for word in text.split())
    return " ".join(word for word in words if word and word[0] not in "<[+")


def create_worker(options: WorkerOptions) -> PocketSphinxWorker:
    """The factory the engine host calls in its worker."""
    return PocketSphinxWorker(options)
