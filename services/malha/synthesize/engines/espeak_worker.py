"""The worker side of the espeak-ng engine: the library in a process of its own, one sentence after the other.

espeak-ng speaks hundreds of times faster than real time and cannot pause for another text. So a thread that owns the library speaks each
sentence to its end (or until its stream is closed), while the chunks made so far leave. They grow, so that the first one comes soon and the
rest costs few messages; where they are cut depends on the sentence alone, as the host asks for streams it may have to repeat. (A repeated
sentence differs by milliseconds at most: the library's random flutter goes on from sentence to sentence.)
"""

import threading
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Final

from malha.runtime.worker import Worker, WorkerStream
from malha.synthesize.engine import Mark, SpeechChunk, Voice
from malha.synthesize.engines.espeak_library import PCM_SAMPLE_BYTES, EspeakError, EspeakLibrary
from malha.synthesize.engines.espeak_text import Words, portions, prepare

FIRST_CHUNK_SECONDS: Final = 0.1
LONGEST_CHUNK_SECONDS: Final = 0.8
LONGEST_SENTENCE_SECONDS: Final = 300.0
"""Bounds the memory one sentence can take (13 MB); 400 characters of Braille at half speed take half an hour."""

LANGUAGES: Final = {
    "pt-br": ("pt-BR", "pt"),
    "pt": ("pt-PT", "pt"),
    "es": ("es-ES", "es"),
    "es-419": ("es-419", "es-MX", "es"),
    "en-us": ("en-US", "en"),
    "en-gb": ("en-GB", "en"),
}
"""espeak-ng's languages that are offered, by its names, with their BCP 47 tags."""

VARIANTS: Final = {"f2": "female", "f3": "female", "f5": "female", "m3": "male", "m7": "male"}


@dataclass(frozen=True, slots=True)
class Delivery:
    """How a stream's sentences are spoken."""

    language: str
    """As espeak-ng names it: ``pt-br``."""
    variant: str
    """``f2``, or nothing."""
    words_per_minute: int


@dataclass(frozen=True, slots=True)
class Loaded:
    """What the worker tells about the library."""

    version: str
    sample_rate_hertz: int
    voices: tuple[Voice, ...]


def load(_: object) -> Worker:
    """The engine host's factory; there are no options. Raises FailedPrecondition where the wheel is broken or not for this machine."""
    try:
        return _EspeakWorker(EspeakLibrary())
    except (EspeakError, OSError) as error:
        raise _unusable() from error


class _EspeakWorker:
    def __init__(self, library: EspeakLibrary) -> None:
        self.info = Loaded(library.version, library.sample_rate_hertz, tuple(_voices(library)))
        self._speaker = _Speaker(library)
        self._speaker.start()

    def open(self, arguments: object) -> WorkerStream:
        assert isinstance(arguments, Delivery)
        return _EspeakStream(self._speaker, arguments)


def _voices(library: EspeakLibrary) -> Iterator[Voice]:
    languages, variants = library.languages, library.variants()
    for language, tags in LANGUAGES.items():
        if language in languages:
            yield Voice(language, tags, "male")
            for variant, gender in VARIANTS.items():
                if variant in variants:
                    yield Voice(f"{language}+{variant}", tags, gender)


class _EspeakStream:
    """Each input is a sentence, each output a `SpeechChunk`."""

    def __init__(self, speaker: "_Speaker", delivery: Delivery) -> None:
        self._speaker = speaker
        self._delivery = delivery
        self._utterance: _Utterance | None = None

    def feed(self, item: object) -> Iterator[SpeechChunk]:
        assert isinstance(item, str)
        utterance = self._utterance = self._speaker.speak(item, self._delivery)
        while (chunk := utterance.chunks.get()) is not None:
            yield chunk
        if utterance.error is not None:
            raise utterance.error

    def finish(self) -> Iterator[SpeechChunk]:
        return iter(())

    def close(self) -> None:
        if self._utterance is not None:
            self._utterance.cancelled = True


class _Utterance:
    """A sentence being spoken: filled by the speaker's thread, emptied by the worker's. ``None`` is its last chunk."""

    def __init__(self, sentence: str, delivery: Delivery, sample_rate_hertz: int) -> None:
        self.chunks: SimpleQueue[SpeechChunk | None] = SimpleQueue()  # bounded by LONGEST_SENTENCE_SECONDS
        self.error: Exception | None = None
        self.cancelled = False
        self._delivery = delivery
        self._rate = sample_rate_hertz
        self._prepared = prepare(sentence)
        self._words = Words(self._prepared)
        self._gathered = bytearray()
        self._marks: list[Mark] = []
        self._samples = self._told = 0  # spoken so far, and handed over
        self._portion = 0, 0  # the position and the sample at which the present portion begins
        self._chunk_seconds = FIRST_CHUNK_SECONDS

    def run(self, library: EspeakLibrary) -> None:
        """Speak it, unless nobody wants it any more."""
        try:
            if not self.cancelled:
                library.select(self._delivery.language, self._delivery.variant, self._delivery.words_per_minute)
                for start, end in portions(self._prepared.text):
                    self._portion = start, self._samples
                    library.speak(self._prepared.text[start:end], self._take)
                self._tell(len(self._gathered))
        except Exception as error:
            self.error = error
        finally:
            self.chunks.put(None)

    def _take(self, pcm: bytes, words: list[tuple[int, int]]) -> bool:
        first_position, first_sample = self._portion
        for position, sample in words:
            mark = self._words.mark(first_position + position, (first_sample + sample) / self._rate)
            if mark is not None:
                self._marks.append(mark)
        self._gathered += pcm
        self._samples += len(pcm) // PCM_SAMPLE_BYTES
        if self._samples > LONGEST_SENTENCE_SECONDS * self._rate:
            raise _too_long()
        while len(self._gathered) >= (size := int(self._chunk_seconds * self._rate) * PCM_SAMPLE_BYTES):
            self._tell(size)
            self._chunk_seconds = min(2 * self._chunk_seconds, LONGEST_CHUNK_SECONDS)
        return not self.cancelled

    def _tell(self, size: int) -> None:
        if not size:
            return
        self._told += size // PCM_SAMPLE_BYTES
        count = bisect_left(self._marks, self._told / self._rate, key=lambda mark: mark.time)
        self.chunks.put(SpeechChunk(bytes(self._gathered[:size]), tuple(self._marks[:count])))
        del self._gathered[:size], self._marks[:count]


class _Speaker(threading.Thread):
    """The thread that owns the library."""

    def __init__(self, library: EspeakLibrary) -> None:
        super().__init__(name="espeak", daemon=True)
        self._library = library
        self._waiting: SimpleQueue[_Utterance] = SimpleQueue()  # bounded by the host: one utterance a stream

    def speak(self, sentence: str, delivery: Delivery) -> _Utterance:
        """Queue a sentence."""
        utterance = _Utterance(sentence, delivery, self._library.sample_rate_hertz)
        self._waiting.put(utterance)
        return utterance

    def run(self) -> None:
        while True:
            self._waiting.get().run(self._library)


# The errors' module brings gRPC, which a worker that never fails does without.


def _too_long() -> Exception:
    from malha.runtime.errors import ResourceExhausted  # noqa: PLC0415 - see above

    return ResourceExhausted(
        f"one sentence would take more than {LONGEST_SENTENCE_SECONDS:g} s to speak: send shorter ones",
        reason="SENTENCE_TOO_LONG",
        quota="sentence_seconds",
    )


def _unusable() -> Exception:
    from malha.runtime.errors import FailedPrecondition  # noqa: PLC0415 - see above

    return FailedPrecondition(
        "the espeak-ng library or its data cannot be loaded: pip install --force-reinstall espeakng-loader", reason="ENGINE_NOT_INSTALLED"
    )
