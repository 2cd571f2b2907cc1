"""wav2vec 2.0 in a worker process: letters of a text aligned with its frames.

What a model writes is in its ``vocab.json``: letters, a delimiter of words, a padding that is CTC's blank. A text is taken to it letter by
letter; what it has no letter for is said without its accent, or left out.
"""

import json
import math
import traceback
import unicodedata
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import numpy.typing as npt
import torch
import transformers

from malha.runtime.worker import PAUSE
from malha.transcribe import ctc
from malha.transcribe.engine import SAMPLE_RATE_HERTZ
from malha.transcribe.engines.align_messages import Aligned, ModelUnusable, NotAlignable

WINDOW_SECONDS: Final = 20
"""Attention grows with the square of what it sees: longer audio is heard in windows."""
CONTEXT_SECONDS: Final = 1
"""Heard on both sides of a window and then forgotten."""
_DELIMITERS: Final = ("|", " ")
_BLANKS: Final = ("<pad>", "[PAD]", "<blank>")


class Wav2Vec2AlignWorker:
    """Loads a model and opens streams to it, or to nothing where it cannot be loaded."""

    def __init__(self, directory: Path) -> None:
        try:
            self._model: Model | None = Model(directory)
        except Exception:  # the library raises OSError, ValueError, RuntimeError and more
            traceback.print_exc()
            self._model = None
        self.info = f"transformers {version('transformers')}, torch {version('torch')}"

    def open(self, arguments: object) -> "_Stream":
        """``arguments``: the text's tokens, as they are written."""
        return _Stream(self._model, cast("Sequence[str]", arguments))


class Model:
    """A network and its letters."""

    def __init__(self, directory: Path) -> None:
        self._network: Any = transformers.Wav2Vec2ForCTC.from_pretrained(directory, local_files_only=True).eval()
        self._vocabulary: dict[str, int] = json.loads((directory / "vocab.json").read_text(encoding="utf-8"))
        self._blank = next((self._vocabulary[name] for name in _BLANKS if name in self._vocabulary), self._network.config.pad_token_id or 0)
        self._stride = math.prod(self._network.config.conv_stride)
        self._normal = _normalises(directory)

    def letters(self, token: str) -> list[int]:
        """Of a token, in the model's vocabulary."""
        cased = token.upper() if "A" in self._vocabulary and "a" not in self._vocabulary else token.lower()
        found = (self._letter(letter) for letter in cased)
        return [letter for letter in found if letter is not None]

    @property
    def delimiter(self) -> int | None:
        """What stands between words."""
        return next((self._vocabulary[name] for name in _DELIMITERS if name in self._vocabulary), None)

    def listen(self, pcm: bytes) -> Iterator[ctc.LogProbabilities]:
        """What is said in each frame, window by window."""
        samples = (np.frombuffer(pcm, np.int16) / 32_768).astype(np.float32)
        if self._normal and len(samples):
            samples = ((samples - samples.mean()) / np.sqrt(samples.var() + 1e-7)).astype(np.float32)
        window, context = WINDOW_SECONDS * SAMPLE_RATE_HERTZ, CONTEXT_SECONDS * SAMPLE_RATE_HERTZ
        for at in range(0, len(samples), window):
            begin = max(0, at - context)
            heard = self._frames(samples[begin : at + window + context])
            first = (at - begin) // self._stride
            yield heard[first:] if at + window >= len(samples) else heard[first : first + window // self._stride]

    def _frames(self, samples: npt.NDArray[np.float32]) -> ctc.LogProbabilities:
        with torch.inference_mode():
            logits = self._network(torch.from_numpy(np.ascontiguousarray(samples))[None]).logits[0]
            told: ctc.LogProbabilities = torch.log_softmax(logits.float(), dim=-1).numpy()
        return told

    def aligned(self, tokens: Sequence[str], told: ctc.LogProbabilities) -> Aligned | NotAlignable:
        """Times of the tokens that have letters."""
        spelled = [(place, letters) for place, token in enumerate(tokens) if (letters := self.letters(token))]
        between = [self.delimiter] if self.delimiter is not None else []
        line = [letter for _, letters in spelled for letter in (*between, *letters)] + between
        spans = ctc.align(told, line, self._blank) if spelled else []
        if not spans:
            return NotAlignable()
        seconds, words, at = self._stride / SAMPLE_RATE_HERTZ, [], 0
        for place, letters in spelled:
            at += len(between)
            said = spans[at : at + len(letters)]
            at += len(letters)
            words.append((place, said[0][0] * seconds, said[-1][1] * seconds, math.exp(sum(span[2] for span in said) / len(said))))
        return Aligned(words)

    def _letter(self, letter: str) -> int | None:
        plain = letter if letter in self._vocabulary else unicodedata.normalize("NFD", letter)[0]
        return None if plain in _DELIMITERS else self._vocabulary.get(plain)


class _Stream:
    def __init__(self, model: Model | None, tokens: Sequence[str]) -> None:
        self._model = model
        self._tokens = tokens

    def feed(self, item: object) -> Iterator[object]:
        model, pcm = self._model, cast("bytes", item)
        if model is None:
            yield ModelUnusable()
            return
        unspeakable = tuple(place for place, token in enumerate(self._tokens) if any(map(str.isalnum, token)) and not model.letters(token))
        if unspeakable or len(pcm) < SAMPLE_RATE_HERTZ // 20:
            yield NotAlignable(unspeakable)
            return
        told: list[ctc.LogProbabilities] = []
        for window in model.listen(pcm):
            told.append(window)
            yield PAUSE
        yield model.aligned(self._tokens, np.concatenate(told))

    def finish(self) -> Iterator[object]:
        return iter(())

    def close(self) -> None:
        """Nothing is kept between texts."""


def _normalises(directory: Path) -> bool:
    """Whether the model wants audio of zero mean and unit variance: large ones do."""
    file = directory / "preprocessor_config.json"
    return bool(json.loads(file.read_text(encoding="utf-8")).get("do_normalize", True)) if file.is_file() else True
