"""Whisper decoding by CTranslate2: a batch of utterances, none of which changes what another becomes.

One pass of the encoder serves language detection, generation and word alignment. What CTranslate2 asks of a batch is kept here: windows of one
length, prompts of one length, one language per alignment.
"""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, TypeVar

import ctranslate2
import numpy as np
import numpy.typing as npt
import tokenizers
from faster_whisper.feature_extractor import FeatureExtractor
from faster_whisper.tokenizer import Tokenizer

from malha.transcribe.engine import SAMPLE_RATE_HERTZ, Word
from malha.transcribe.engines import whisper_guards as guards
from malha.transcribe.engines.whisper_messages import Decoding, Transcript, Utterance
from malha.transcribe.engines.whisper_windows import SAMPLES_PER_FRAME, max_text_tokens, prompt_length
from malha.transcribe.engines.whisper_words import Alignment, timed_words

_SILENT_PEAK = 32
"""An utterance whose loudest sample is below this (-60 dBFS) holds no speech."""
_MIN_ALIGNED_FRAMES = 16
"""The alignment's median filter is seven encoder steps wide."""

Floats: TypeAlias = npt.NDArray[Any]
_Key = TypeVar("_Key", bound=Hashable)


@dataclass(frozen=True, slots=True)
class _Item:
    """An utterance under way. ``place`` is that in the batch as it was asked for."""

    place: int
    samples: npt.NDArray[np.int16]
    utterance: Utterance
    language: str

    @property
    def seconds(self) -> float:
        return len(self.samples) / SAMPLE_RATE_HERTZ


@dataclass(frozen=True, slots=True)
class _Generated:
    """What one utterance became: text tokens without loops, and what the decoder tells about them."""

    tokens: list[int]
    evidence: guards.Evidence


class WhisperDecoder:
    """Decodes batches with one loaded model. Not for two threads at a time."""

    def __init__(self, model: Any, tokenizer: tokenizers.Tokenizer, *, beam_size: int) -> None:
        """``model`` is a ``ctranslate2.models.Whisper``."""
        self._model = model
        self._tokenizer = tokenizer
        self._beam_size = beam_size
        self._features = FeatureExtractor(feature_size=model.n_mels)
        self._tokenizers: dict[str, Tokenizer] = {}

    def decode(self, decoding: Decoding, utterances: Sequence[Utterance]) -> Iterator[list[Transcript] | None]:
        """Yield one transcript for each utterance, in their order; before that, None between two parts of the work.

        An utterance may be at most as long as the window.
        """
        transcripts = [Transcript(text="", language=utterance.language, confidence=0.0) for utterance in utterances]
        items = [item for item in map(_item, range(len(utterances)), utterances) if not _is_silent(item)]
        if items:
            encoded: list[Floats] = []
            for part in self._encode(items, decoding.frames):
                encoded.append(part)
                yield None
            memory = np.concatenate(encoded)
            items = self._with_languages(items, memory)
            generated = self._generate(items, memory, decoding)
            yield None
            words = self._align(items, memory, generated)
            for row, item in enumerate(items):
                transcripts[item.place] = _transcript(item, generated[row].evidence, words.get(row, ()))
        yield transcripts

    def _encode(self, items: Sequence[_Item], frames: int) -> Iterator[Floats]:
        """The encoder's output in parts, shaped (items, frames / 2, width) together.

        A CPU gains nothing from encoding several at once, and their attention over long windows takes hundreds of MB.
        """
        features = np.stack([self._log_mel(item.samples, frames) for item in items])
        together = len(items) if self._model.device == "cuda" else 1
        for start in range(0, len(items), together):
            part = ctranslate2.StorageView.from_array(features[start : start + together])
            yield np.array(self._model.encode(part, to_cpu=True))

    def _log_mel(self, samples: npt.NDArray[np.int16], frames: int) -> npt.NDArray[np.float32]:
        """Features shaped (channels, frames) of the samples and silence after them, as in Whisper's training."""
        window = np.zeros(frames * SAMPLES_PER_FRAME, np.float32)
        window[: len(samples)] = samples / np.float32(32768)
        return np.ascontiguousarray(self._features(window, padding=0), np.float32)

    def _with_languages(self, items: Sequence[_Item], memory: Floats) -> list[_Item]:
        known = [replace(item, language=item.language if self._model.is_multilingual else "en") for item in items]
        unknown = [row for row, item in enumerate(known) if not item.language]
        if unknown:
            for row, candidates in zip(unknown, self._model.detect_language(_rows(memory, unknown)), strict=True):
                known[row] = replace(known[row], language=candidates[0][0].strip("<|>"))
        return known

    def _generate(self, items: Sequence[_Item], memory: Floats, decoding: Decoding) -> list[_Generated]:
        prompts = [self._prompt(item, with_text=decoding.temperature == 0) for item in items]
        sampling = {"beam_size": self._beam_size} if decoding.temperature == 0 else _sampling(decoding.temperature)
        generated: dict[int, _Generated] = {}
        for rows in _groups(map(len, prompts)).values():
            results = self._model.generate(
                _rows(memory, rows),
                [prompts[row] for row in rows],
                max_length=2 * max_text_tokens(decoding.frames),  # CTranslate2 gives half of it to the text
                return_scores=True,
                return_no_speech_prob=True,
                **sampling,
            )
            for row, result in zip(rows, results, strict=True):
                generated[row] = self._read(items[row], result)
        return [generated[row] for row in range(len(items))]

    def _prompt(self, item: _Item, *, with_text: bool) -> list[int]:
        tokenizer = self._tokenizer_of(item.language)
        text = [token for token in tokenizer.encode(f" {item.utterance.prompt.strip()}") if token < tokenizer.eot]
        length = prompt_length(len(text)) if with_text else 0
        before = [tokenizer.sot_prev, *text[-length:]] if length else []
        return [*before, *tokenizer.sot_sequence, tokenizer.no_timestamps]

    def _read(self, item: _Item, result: Any) -> _Generated:
        tokenizer = self._tokenizer_of(item.language)
        said = [token for token in result.sequences_ids[0] if token < tokenizer.eot]
        tokens = guards.cut_loops(said)
        steps = len(result.sequences_ids[0])
        evidence = guards.Evidence(
            text=tokenizer.decode(tokens).strip().strip("\ufffd"),
            seconds=item.seconds,
            mean_log_probability=result.scores[0] * steps / (steps + 1),  # the score is a mean without the end token, which it counts
            silence_probability=result.no_speech_prob,
            looped=len(tokens) < len(said),
        )
        return _Generated(tokens, evidence)

    def _align(self, items: Sequence[_Item], memory: Floats, generated: Sequence[_Generated]) -> dict[int, tuple[Word, ...]]:
        """Words of the rows that want them and have text."""
        wanted = [row for row, item in enumerate(items) if item.utterance.words and generated[row].evidence.text]
        words: dict[int, tuple[Word, ...]] = {}
        for language, places in _groups(items[row].language for row in wanted).items():
            rows = [wanted[place] for place in places]
            tokenizer = self._tokenizer_of(language)
            results = self._model.align(
                _rows(memory, rows),
                tokenizer.sot_sequence,
                [generated[row].tokens for row in rows],
                [max(_MIN_ALIGNED_FRAMES, len(items[row].samples) // SAMPLES_PER_FRAME) for row in rows],
            )
            for row, result in zip(rows, results, strict=True):
                alignment = Alignment(result.alignments, result.text_token_probs)
                words[row] = timed_words(tokenizer, generated[row].tokens, alignment, items[row].seconds)
        return words

    def _tokenizer_of(self, language: str) -> Tokenizer:
        if language not in self._tokenizers:
            multilingual = self._model.is_multilingual
            self._tokenizers[language] = Tokenizer(self._tokenizer, multilingual, task="transcribe", language=language)
        return self._tokenizers[language]


def _item(place: int, utterance: Utterance) -> _Item:
    return _Item(place, np.frombuffer(utterance.pcm, np.int16), utterance, utterance.language)


def _is_silent(item: _Item) -> bool:
    return not len(item.samples) or max(int(item.samples.max()), -int(item.samples.min())) < _SILENT_PEAK


def _sampling(temperature: float) -> Mapping[str, Any]:
    return {"beam_size": 1, "sampling_topk": 0, "sampling_temperature": temperature}


def _groups(keys: Iterable[_Key]) -> dict[_Key, list[int]]:
    """The places of each key."""
    groups: defaultdict[_Key, list[int]] = defaultdict(list)
    for place, key in enumerate(keys):
        groups[key].append(place)
    return groups


def _rows(memory: Floats, rows: Sequence[int]) -> Any:
    """Some rows of the encoder's output, as CTranslate2 takes them."""
    chosen = memory if len(rows) == len(memory) else memory[list(rows)]
    return ctranslate2.StorageView.from_array(np.ascontiguousarray(chosen))


def _transcript(item: _Item, evidence: guards.Evidence, words: tuple[Word, ...]) -> Transcript:
    if guards.is_silence(evidence):
        return Transcript(text="", language=item.language, confidence=0.0)
    return Transcript(
        text=evidence.text,
        language=item.language,
        confidence=evidence.confidence,
        words=words,
        doubtful=guards.is_doubtful(evidence),
        implausible=guards.is_implausible(evidence),
    )
