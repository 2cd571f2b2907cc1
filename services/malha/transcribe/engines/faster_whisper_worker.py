"""The faster-whisper engine's worker process: loads the model once, decodes something to be warm, then the batches it is sent."""

from collections.abc import Iterator, Sequence
from importlib.metadata import version
from typing import Any

import ctranslate2
import numpy as np
import tokenizers

from malha.runtime.worker import PAUSE
from malha.transcribe.engine import SAMPLE_RATE_HERTZ
from malha.transcribe.engines.whisper_decoder import WhisperDecoder
from malha.transcribe.engines.whisper_messages import DEFAULT_COMPUTE_TYPE, Decoding, Utterance, WorkerInfo, WorkerOptions
from malha.transcribe.engines.whisper_windows import WINDOWS

_WARM_UP_LOUDNESS = 1_000.0
_COMPUTE_TYPES = {"cpu": "int8", "cuda": "float16"}
_MULTILINGUAL_START = 50258
"""Id of ``<|startoftranscript|>`` in a multilingual vocabulary; in an English-only one it is one less."""


class FasterWhisperWorker:
    """A loaded model. A stream opened with a `Decoding` takes batches of `Utterance` and gives lists of `Transcript`."""

    def __init__(self, options: WorkerOptions) -> None:
        """Raises FailedPrecondition if the model cannot be loaded so."""
        model, self._tokenizer = _load(options)
        self._decoder = WhisperDecoder(model, self._tokenizer, beam_size=options.beam_size)
        _warm_up(self._decoder)
        self.info = WorkerInfo(
            version=f"faster-whisper {version('faster-whisper')}, ctranslate2 {version('ctranslate2')}",
            languages=_languages(model, self._tokenizer),
            multilingual=model.is_multilingual,
            device=model.device,
            compute_type=model.compute_type,
        )

    def open(self, arguments: object) -> "_Stream":
        if not isinstance(arguments, Decoding):
            raise TypeError("a stream is opened with a Decoding")
        return _Stream(self._decoder, arguments)


class _Stream:
    def __init__(self, decoder: WhisperDecoder, decoding: Decoding) -> None:
        self._decoder = decoder
        self._decoding = decoding

    def feed(self, item: Sequence[Utterance]) -> Iterator[object]:
        for transcripts in self._decoder.decode(self._decoding, item):
            yield PAUSE if transcripts is None else transcripts  # between two parts, a batch nobody waits for is cancelled

    def finish(self) -> Iterator[object]:
        return iter(())

    def close(self) -> None:
        """Nothing is kept between batches."""


def _load(options: WorkerOptions) -> tuple[Any, tokenizers.Tokenizer]:
    device, index = _device(options.device)
    try:
        model = ctranslate2.models.Whisper(
            str(options.model_directory),
            device=device,
            device_index=index,
            compute_type=_COMPUTE_TYPES[device] if options.compute_type == DEFAULT_COMPUTE_TYPE else options.compute_type,
            intra_threads=options.threads,
            inter_threads=1,
        )
        tokenizer = tokenizers.Tokenizer.from_file(str(options.model_directory / "tokenizer.json"))
    except Exception as error:  # the two libraries raise plain RuntimeError, ValueError and Exception
        raise _failed(f"the model in {options.model_directory} cannot be loaded on {options.device}: {error}") from error
    if tokenizer.token_to_id("<|startoftranscript|>") == _MULTILINGUAL_START and not model.is_multilingual:
        raise _failed(f"the vocabulary in {options.model_directory} lacks the token '': CTranslate2 would take the model for English-only")
    return model, tokenizer


def _device(name: str) -> tuple[str, int]:
    """CTranslate2's device and its number. Raises FailedPrecondition for a GPU that is not there."""
    gpus = ctranslate2.get_cuda_device_count() if name != "cpu" else 0
    if name == "auto":
        return ("cuda", 0) if gpus else ("cpu", 0)
    device, _, number = name.partition(":")
    index = int(number or 0)
    if device == "cuda" and index >= gpus:
        there = f"it has {gpus} (cuda:0{f' to cuda:{gpus - 1}' if gpus > 1 else ''})" if gpus else "it has none, or no driver for it"
        raise _failed(f"this machine has no GPU {name}: {there}", reason="GPU_NOT_THERE")
    return device, index


def _warm_up(decoder: WhisperDecoder) -> None:
    """The first decoding pays for libraries that load late, and on a GPU for its kernels: seconds that no caller should wait."""
    noise = np.random.default_rng(0).standard_normal(SAMPLE_RATE_HERTZ) * _WARM_UP_LOUDNESS
    utterance = Utterance(pcm=noise.astype("<i2").tobytes(), language="en", prompt="", words=False)
    for _ in decoder.decode(Decoding(WINDOWS[0]), [utterance]):
        pass


def _languages(model: Any, tokenizer: tokenizers.Tokenizer) -> tuple[str, ...]:
    """Codes of the language tokens, which follow ``<|startoftranscript|>``."""
    if not model.is_multilingual:
        return ("en",)
    first = _MULTILINGUAL_START + 1
    return tuple(str(tokenizer.id_to_token(first + index)).strip("<|>") for index in range(model.num_languages))


def _failed(message: str, reason: str = "MODEL_UNUSABLE") -> Exception:
    from malha.runtime.errors import FailedPrecondition  # noqa: PLC0415 - brings grpc, 20 MB that a loaded worker has no use for

    return FailedPrecondition(message, reason=reason)
