"""CTranslate2 Whisper models with the real vocabulary layout and made-up weights, written with numpy alone: for benchmarks and tests.

Two kinds. A *random* model computes like the real one and says nonsense: good for proving that a batch equals its parts, and for load. A
*scripted* model says one known sentence whatever it hears, at the full cost of its size: good for plumbing and for benchmarks, where random
weights would loop to the length limit and fail every confidence check. No word error rate of either means anything.

How the script works: the decoder's attention and feed-forward outputs are zero, so a hidden state is the embedding of the last token alone.
The embeddings on the chain ``<|notimestamps|> -> word -> word -> <|endoftext|>`` are orthogonal, and the row of each successor in the output
projection is its predecessor's embedding. The encoder and the cross-attention queries and keys stay random, so word alignment is a real one.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
from ctranslate2.specs import whisper_spec
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE

_LANGUAGES: Final = (
    "en zh de es ru ko fr ja pt tr pl ca nl ar sv it id hi fi vi he uk el ms cs ro da hu ta no th ur hr bg lt la mi ml cy "
    "sk te fa lv bn sr az sl kn et mk br eu is hy ne mn bs kk sq sw gl mr pa si km sn yo so af oc ka be tg sd gu am yi lo "
    "uz fo ht ps tk nn mt sa lb my bo tl mg as tt haw ln ha ba jw su"
)
LANGUAGES: Final = _LANGUAGES.split()
"""In the order of their tokens."""
_TASK_TOKENS = ("<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>")
_TEXT_POSITIONS = 448
_AUDIO_POSITIONS = 1500
_BLANK_TOKEN = 220


Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Size:
    """Dimensions of a model."""

    width: int
    heads: int
    layers: int


SIZES: Final = {
    "mini": Size(width=64, heads=2, layers=1),
    "tiny": Size(width=384, heads=6, layers=4),
    "base": Size(width=512, heads=8, layers=6),
    "small": Size(width=768, heads=12, layers=12),
}
"""``mini`` is nobody's; the others are Whisper's own."""
SizeName = Literal["mini", "tiny", "base", "small"]


def build_whisper(
    directory: Path,
    *,
    size: SizeName = "mini",
    script: str | None = None,
    language: str = "pt",
    certainty: float = 0.95,
    no_speech: float = 0.0,
    loop: bool = False,
    multilingual: bool = True,
    quantization: str | None = "int8",
    seed: int = 0,
) -> Path:
    """Write a model into ``directory`` (made if absent) and return it.

    Args:
        directory: where model.bin, config.json, tokenizer.json, vocabulary.json and preprocessor_config.json go.
        size: ``mini`` loads in milliseconds, the others cost what Whisper of this name costs.
        script: the sentence a scripted model says, each of its tokens once (a word is one token, a punctuation mark another); None: random.
        language: what a scripted model detects.
        certainty: probability of each scripted token, 0..1.
        no_speech: probability a scripted model gives to ``<|nospeech|>``.
        loop: the script begins again instead of ending.
        multilingual: False makes an English-only model, as whisper/tiny.en.
        quantization: of the weights on disk; None: float32.
        seed: of the random weights.
    """
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer = _tokenizer(script.split() if script else (), multilingual=multilingual)
    tokenizer.save(str(directory / "tokenizer.json"))
    weights = _Weights(SIZES[size], np.random.default_rng(seed), vocabulary=tokenizer.get_vocab_size(), scripted=script is not None)
    spec = weights.spec()
    if script is not None:
        chain = _chain(tokenizer, script, loop=loop)
        start = _id(tokenizer, "<|startoftranscript|>")
        answers = {_id(tokenizer, f"<|{language}|>"): 0.9, _id(tokenizer, "<|nospeech|>"): no_speech}
        spec.decoder.projection.weight, spec.decoder.embeddings.weight = weights.script(chain, certainty, start, answers)
        spec.decoder.position_encodings.encodings = np.zeros((_TEXT_POSITIONS, weights.size.width), np.float32)
    _configure(spec, tokenizer, weights.size)
    spec.validate()
    spec.optimize(quantization=quantization)
    spec.save(str(directory))
    preprocessor = {"feature_size": 80, "sampling_rate": 16000, "hop_length": 160, "chunk_length": 30, "n_fft": 400}
    (directory / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    return directory


def _tokenizer(words: Sequence[str], *, multilingual: bool) -> Tokenizer:
    """A byte-level BPE with Whisper's layout: text tokens (each of ``words`` is one), then the special tokens, then 1501 timestamps."""
    byte = _byte_letters()
    vocabulary = {letter: index for index, letter in enumerate(byte[value] for value in sorted(byte))}
    merges: dict[tuple[str, str], None] = {}
    for word in words:
        letters = [byte[value] for value in f" {word}".encode()]
        grown = letters[0]
        for letter in letters[1:]:
            merges[(grown, letter)] = None
            grown += letter
            vocabulary.setdefault(grown, len(vocabulary))
    text_tokens = 50257 if multilingual else 50256
    last = "" if multilingual else "Ġunused"  # CTranslate2 takes a vocabulary without '' for English-only
    for index in range(text_tokens - 1 - len(vocabulary)):
        vocabulary[f"Ġunused{index}"] = len(vocabulary)
    vocabulary[last] = len(vocabulary)
    tokenizer = Tokenizer(BPE(vocab=vocabulary, merges=list(merges)))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|startoftranscript|>", *(f"<|{code}|>" for code in LANGUAGES), *_TASK_TOKENS]
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    tokenizer.add_tokens([AddedToken(f"<|{index * 0.02:.2f}|>", normalized=False) for index in range(1501)])
    return tokenizer


def _id(tokenizer: Tokenizer, token: str) -> int:
    found = tokenizer.token_to_id(token)
    assert found is not None, "a special token"
    return int(found)


def _byte_letters() -> dict[int, str]:
    """GPT-2's printable letter for each byte."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = {value: chr(value) for value in printable}
    hidden = (value for value in range(256) if value not in letters)
    return letters | {value: chr(256 + index) for index, value in enumerate(hidden)}


def _chain(tokenizer: Tokenizer, script: str, *, loop: bool) -> list[int]:
    text = tokenizer.encode(f" {script}", add_special_tokens=False).ids
    if len(set(text)) != len(text):
        raise ValueError("a script says each word and each punctuation mark once")
    return [_id(tokenizer, "<|notimestamps|>"), *text, text[0] if loop else _id(tokenizer, "<|endoftext|>")]


def _configure(spec: Any, tokenizer: Tokenizer, size: Size) -> None:
    tokens = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    spec.register_vocabulary([token for token, _ in tokens])
    spec.config.suppress_ids = []
    spec.config.suppress_ids_begin = [_BLANK_TOKEN, _id(tokenizer, "<|endoftext|>")]
    spec.config.lang_ids = [_id(tokenizer, f"<|{code}|>") for code in LANGUAGES]
    spec.config.alignment_heads = [(layer, head) for layer in range(size.layers // 2, size.layers) for head in range(size.heads)]


class _Weights:
    """Fills a specification. ``scripted`` zeroes what the decoder would add to a token's embedding."""

    def __init__(self, size: Size, random: np.random.Generator, *, vocabulary: int, scripted: bool) -> None:
        self.size = size
        self._random = random
        self._vocabulary = vocabulary
        self._scripted = scripted

    def spec(self) -> Any:
        width, layers, heads = self.size.width, self.size.layers, self.size.heads
        spec = whisper_spec.WhisperSpec(layers, heads, layers, heads)
        spec.encoder.conv1.weight, spec.encoder.conv1.bias = self._normal(width, 80, 3, scale=240**-0.5), _zeros(width)
        spec.encoder.conv2.weight, spec.encoder.conv2.bias = self._normal(width, width, 3, scale=(3 * width) ** -0.5), _zeros(width)
        spec.encoder.position_encodings.encodings = self._normal(_AUDIO_POSITIONS, width, scale=0.02)
        for layer in spec.encoder.layer:
            self._attention(layer.self_attention)
            self._feed_forward(layer.ffn)
        for layer in spec.decoder.layer:
            self._attention(layer.self_attention, silent=self._scripted)
            self._attention(layer.attention, cross=True, silent=self._scripted)
            self._feed_forward(layer.ffn, silent=self._scripted)
        for norm in (spec.encoder.layer_norm, spec.decoder.layer_norm):
            self._norm(norm)
        spec.decoder.embeddings.weight = self._normal(self._vocabulary, width, scale=0.02)
        spec.decoder.projection.weight = spec.decoder.embeddings.weight
        spec.decoder.position_encodings.encodings = self._normal(_TEXT_POSITIONS, width, scale=0.02)
        return spec

    def script(self, chain: Sequence[int], certainty: float, start: int, answers: dict[int, float]) -> tuple[Floats, Floats]:
        """Projection and embeddings, shaped (vocabulary, width); ``answers`` are the probabilities of tokens right after ``start``."""
        states = self._orthogonal(len(chain))
        embeddings, projection = _zeros(self._vocabulary, self.size.width), _zeros(self._vocabulary, self.size.width)
        for state, (token, successor) in zip(states, pairwise(chain), strict=False):
            embeddings[token] = state
            projection[successor] += state * self._logit(certainty)
        embeddings[start] = states[-1]
        for token, probability in answers.items():
            projection[token] += states[-1] * self._logit(probability)
        return projection, embeddings

    def _logit(self, probability: float) -> float:
        """The logit that has this probability among ``vocabulary`` logits of zero, over the squared norm of a state."""
        if probability <= 0:
            return 0.0
        return math.log(probability / (1 - probability) * (self._vocabulary - 1)) / self.size.width

    def _orthogonal(self, count: int) -> Floats:
        """``count`` orthogonal rows with mean 0 and variance 1, which layer normalisation leaves as they are."""
        if count >= self.size.width:
            raise ValueError(f"a script of this size has at most {self.size.width - 2} tokens")
        basis = np.concatenate([np.ones((1, self.size.width)), self._random.standard_normal((count, self.size.width))])
        orthonormal = np.linalg.qr(basis.T)[0].T[1:]
        rows: Floats = (orthonormal * self.size.width**0.5).astype(np.float32)
        return rows

    def _attention(self, part: Any, *, cross: bool = False, silent: bool = False) -> None:
        width = self.size.width
        self._norm(part.layer_norm)
        for linear, rows in zip(part.linear, (width, 2 * width, width) if cross else (3 * width, width), strict=True):
            self._linear(linear, rows, width, silent=silent and linear is part.linear[-1])

    def _feed_forward(self, part: Any, *, silent: bool = False) -> None:
        width = self.size.width
        self._norm(part.layer_norm)
        self._linear(part.linear_0, 4 * width, width)
        self._linear(part.linear_1, width, 4 * width, silent=silent)

    def _linear(self, part: Any, rows: int, columns: int, *, silent: bool = False) -> None:
        part.weight = _zeros(rows, columns) if silent else self._normal(rows, columns, scale=columns**-0.5)
        part.bias = _zeros(rows)

    def _norm(self, part: Any) -> None:
        part.gamma, part.beta = np.ones(self.size.width, np.float32), _zeros(self.size.width)

    def _normal(self, *shape: int, scale: float) -> Floats:
        weights: Floats = (self._random.standard_normal(shape) * scale).astype(np.float32)
        return weights


def _zeros(*shape: int) -> Floats:
    return np.zeros(shape, np.float32)
