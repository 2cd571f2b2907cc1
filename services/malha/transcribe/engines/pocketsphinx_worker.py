"""PocketSphinx in a worker process: decodes utterances of many streams while their speech goes on.

The decoder holds the GIL and one utterance at a time, so each stream of speech takes one from a pool and gives it back when its utterance
ends. Every utterance starts from the cepstral mean of its own opening and from no noise, and is heard in steps of one length: neither what
was decoded before on a decoder nor the sizes of the pieces that audio comes in, which differ from run to run, change the words.
"""

import time
import warnings
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import pocketsphinx

from malha.runtime.worker import PAUSE, Interim, spare_capacity
from malha.transcribe.engines.pocketsphinx_frontend import Conditioning, examine, examine_whole
from malha.transcribe.engines.pocketsphinx_messages import Words, WorkerOptions

SAMPLE_RATE_HERTZ = 16_000
FRAME_SECONDS = 0.01
SAMPLE_BYTES = 2
SEARCH = {"lw": 8.0, "fwdflat": False, "pl_window": 2, "pl_weight": 4.5}
"""One pass instead of two: a third of the time after the last word, for the same words on held-out calls. Phones that the next frames do not
sound like are hardly searched (PocketSphinx's own: 5 frames at weight 3): about three quarters of the work. At weight 6 it is 0.7, for as
few errors on held-out calls but more on recorded people; every second frame (``ds``) or fewer densities (``topn``) cost words."""
CEPSTRA = 13
CMN_FRAMES = 500
"""PocketSphinx's running cepstral mean is at first its starting value counted as so many frames (``cmn_live.c``)."""
WINDOW_SAMPLES, HOP_SAMPLES = 410, 160
STEP_BYTES = SAMPLE_RATE_HERTZ * SAMPLE_BYTES // 20
"""Audio decoded at once. The cepstral mean follows the voice where a step ends (``cmn_live.c``)."""
STEPS_A_TURN = 4
"""A live call waits for so many steps of somebody's recording, about 40 ms of work, and not for all of an utterance."""


class PocketSphinxWorker:
    """A pool of decoders over one model."""

    ended_first = True

    def __init__(self, options: WorkerOptions) -> None:
        self._options = options
        self._cepstra = Cepstra()
        self._idle: list[Any] = [self._make()]
        self.info = version("pocketsphinx")

    def open(self, arguments: object) -> "UtteranceStream":
        """``arguments``: whether partial hypotheses are wanted."""
        decoder = self._idle.pop() if self._idle else self._make()
        return UtteranceStream(decoder, self._idle, self._cepstra, self._options.partial_seconds if arguments else None)

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

    def __init__(self, decoder: Any, pool: list[Any], cepstra: "Cepstra", partial_seconds: float | None) -> None:
        self._decoder: Any = decoder
        self._pool = pool
        self._cepstra = cepstra
        self._partial_seconds = partial_seconds
        self._told_at = time.monotonic()
        self._told = ""
        self._left = b""
        """Less than a step."""
        self._opening = b""
        self._conditioning: Conditioning | None = None
        self._decoded = 0
        self._open = False

    def feed(self, item: object) -> Iterator[object]:
        yield from self._hear(cast("bytes", item))
        now = time.monotonic()
        if self._partial_seconds is not None and now - self._told_at >= self._partial_seconds and spare_capacity():
            self._told_at = now
            text = clean(self._decoder.hyp().hypstr) if self._open and self._decoder.hyp() else ""
            if text and text != self._told:
                self._told = text
                yield Interim(Words(text, 0.0, ()))

    def finish(self) -> Iterator[object]:
        if self._conditioning is None and (opening := self._opening + self._left):
            self._conditioning = examine_whole(opening)
            yield from self._begin(opening)
        elif self._left:
            self._decode(self._left)
        hypothesis = self._decoder.hyp() if self._end() else None
        if hypothesis is None:
            yield Words("", 0.0, ())
            return
        words = tuple(
            (
                clean(segment.word),
                segment.start_frame * FRAME_SECONDS,
                (segment.end_frame + 1) * FRAME_SECONDS,
                min(1.0, segment.prob),
            )
            for segment in self._decoder.seg()
            if clean(segment.word)
        )
        confidence = sum(word[3] for word in words) / len(words) if words else 0.0
        yield Words(clean(hypothesis.hypstr), confidence, words)

    def _hear(self, pcm: bytes) -> Iterator[object]:
        """Step by step, with pauses for others. An utterance's opening is held back until it tells how the audio is to be conditioned."""
        heard = self._left + pcm
        whole = len(heard) - len(heard) % STEP_BYTES
        self._left = heard[whole:]
        for number, step in enumerate(_steps(heard[:whole])):
            if number and number % STEPS_A_TURN == 0:
                yield PAUSE
            if self._conditioning is not None:
                self._decode(step)
                continue
            self._opening += step
            self._conditioning = examine(self._opening)
            if self._conditioning is not None:
                yield from self._begin(self._opening)

    def _begin(self, opening: bytes) -> Iterator[object]:
        """Decode what was held back, from its own mean on."""
        assert self._conditioning is not None
        self._opening = b""
        self._decoder.set_cmn(self._cepstra.mean(self._conditioning.apply(opening, 0)))
        start_afresh(self._decoder)
        self._open = True
        for number, step in enumerate(_steps(opening)):
            if number and number % STEPS_A_TURN == 0:
                yield PAUSE
            self._decode(step)

    def _decode(self, step: bytes) -> None:
        assert self._conditioning is not None
        self._decoder.process_raw(self._conditioning.apply(step, self._decoded), no_search=False, full_utt=False)
        self._decoded += len(step) // SAMPLE_BYTES

    def close(self) -> None:
        self._end()
        self._pool.append(self._decoder)

    def _end(self) -> bool:
        """Whether there was something to end."""
        if not self._open:
            return False
        self._open = False
        self._decoder.end_utt()
        return True


class Cepstra:
    """Tells the mean cepstrum of an utterance's opening: without it the voice and the telephone are taken for the words.

    A decoder of its own, as features cannot be had without a search: this one's grammar knows one word.
    """

    def __init__(self) -> None:
        self._decoder: Any = pocketsphinx.Decoder(
            hmm=str(Path(pocketsphinx.get_model_path()) / "en-us" / "en-us"),
            lm=None,
            dict=None,
            samprate=SAMPLE_RATE_HERTZ,
            loglevel="FATAL",
        )
        self._decoder.add_word("a", "AH", True)
        self._decoder.add_fsg("a", self._decoder.create_fsg("a", 0, 1, [(0, 1, 1.0, "a")]))
        self._decoder.activate_search("a")

    def mean(self, pcm: bytes) -> str:
        """As `set_cmn` takes it."""
        self._decoder.set_cmn(",".join(["0"] * CEPSTRA))
        start_afresh(self._decoder)
        self._decoder.process_raw(pcm, no_search=True, full_utt=False)
        running = [float(value) for value in self._decoder.get_cmn(True).split(",")]
        self._decoder.end_utt()
        frames = max(1, (len(pcm) // SAMPLE_BYTES - WINDOW_SAMPLES) // HOP_SAMPLES + 1)
        return ",".join(f"{value * (CMN_FRAMES + frames) / frames:.3f}" for value in running)


def _steps(pcm: bytes) -> Iterator[bytes]:
    return (pcm[at : at + STEP_BYTES] for at in range(0, len(pcm), STEP_BYTES))


def start_afresh(decoder: Any) -> None:
    """Begin an utterance with no noise tracked: else the tracker goes on from the decoder's last one, and the same audio gives other words."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # "unnecessary", it says of what nothing else does
        decoder.start_stream()
    decoder.start_utt()


def clean(text: str) -> str:
    """Words only: no fillers, no marks of alternative pronunciations."""
    words = (word.partition("(")[0] for word in text.split())
    return " ".join(word for word in words if word and word[0] not in "<[+")


def create_worker(options: WorkerOptions) -> PocketSphinxWorker:
    """The factory the engine host calls in its worker."""
    return PocketSphinxWorker(options)
