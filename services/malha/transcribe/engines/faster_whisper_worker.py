"""The faster-whisper engine's worker process: loads the model once and decodes the batches it is sent."""

from collections.abc import Iterator, Sequence
from importlib.metadata import version
from typing import Any

import ctranslate2
import tokenizers

from malha.runtime.worker import PAUSE
from malha.transcribe.engines.whisper_decoder import WhisperDecoder
from malha.transcribe.engines.whisper_messages import DEFAULT_COMPUTE_TYPE, Decoding, Utterance, WorkerInfo, WorkerOptions

_COMPUTE_TYPES = {"cpu": "int8", "cuda": "float16"}
_MULTILINGUAL_START = 50258
"""Id of ``<|startoftranscript|>`` in a multilingual vocabulary; in an English-only one it is one less."""


class FasterWhisperWorker:
    """A loaded model. A stream opened with a `Decoding` takes batches of `Utterance` and gives lists of `Transcript`."""

    def __init__(self, options: WorkerOptions) -> None:
        """Raises FailedPrecondition if the model cannot be loaded so."""
        model, self._tokenizer = _load(options)
        self._decoder = WhisperDecoder(model, self._tokenizer, beam_size=options.beam_size)
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
    device = options.device if options.device != "auto" else "cuda" if ctranslate2.get_cuda_device_count() else "cpu"
    try:
        model = ctranslate2.models.Whisper(
            str(options.model_directory),
            device=device,
            compute_type=_COMPUTE_TYPES[device] if options.compute_type == DEFAULT_COMPUTE_TYPE else options.compute_type,
            intra_threads=options.threads,
            inter_threads=1,
        )
        tokenizer = tokenizers.Tokenizer.from_file(str(options.model_directory / "tokenizer.json"))
    except Exception as error:  # the two libraries raise plain RuntimeError, ValueError and Exception
        raise _failed(f"the model in {options.model_directory} cannot be loaded on {device}: {error}") from error
    if tokenizer.token_to_id("<|startoftranscript|>") == _MULTILINGUAL_START and not model.is_multilingual:
        raise _failed(f"the vocabulary in {options.model_directory} lacks the token '': CTranslate2 would take the model for English-only")
    return model, tokenizer


def _languages(model: Any, tokenizer: tokenizers.Tokenizer) -> tuple[str, ...]:
    """Codes of the language tokens, which follow ``<|startoftranscript|>``."""
    if not model.is_multilingual:
        return ("en",)
    first = _MULTILINGUAL_START + 1
    return tuple(str(tokenizer.id_to_token(first + index)).strip("<|>") for index in range(model.num_languages))


def _failed(message: str) -> Exception:
    from malha.runtime.errors import FailedPrecondition  # noqa: PLC0415 - brings grpc, 20 MB that a loaded worker has no use for

    return FailedPrecondition(message, reason="MODEL_UNUSABLE")
