"""Word times from Whisper's cross-attention: tokens aligned with frames become words with punctuation attached."""

import string
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Protocol

from malha.transcribe.engine import Word

SECONDS_PER_STEP = 0.02
"""Of the encoder's output, on which the alignment is made."""

_OPENING = "\"'“¿¡([{«-"
_CLOSING = "\"'.,!?:;”)]}»…。，！？：、"  # noqa: RUF001 - Chinese and Japanese punctuation


class WordTokenizer(Protocol):
    """What is needed of ``faster_whisper.tokenizer.Tokenizer``."""

    @property
    def eot(self) -> int: ...

    def split_to_word_tokens(self, tokens: list[int]) -> tuple[list[str], list[list[int]]]: ...


@dataclass(frozen=True, slots=True)
class Alignment:
    """Dynamic time warping of text tokens (and the end token after them) over encoder steps, as ``ctranslate2.models.Whisper.align`` gives it.

    ``path`` holds (token, step) pairs, both ascending; ``probabilities`` one per text token.
    """

    path: Sequence[tuple[int, int]]
    probabilities: Sequence[float]


def timed_words(tokenizer: WordTokenizer, tokens: Sequence[int], alignment: Alignment, seconds: float) -> tuple[Word, ...]:
    """The words of ``tokens`` with times within an utterance of ``seconds``, never decreasing."""
    pieces, piece_tokens = tokenizer.split_to_word_tokens([*tokens, tokenizer.eot])
    starts = _token_starts(alignment, len(tokens), seconds)
    bounds = [0, *accumulate(len(group) for group in piece_tokens)]
    words = [
        Word(text=piece, start=starts[begin], end=starts[end], confidence=_mean(alignment.probabilities[begin:end]))
        for piece, (begin, end) in zip(pieces[:-1], pairwise(bounds), strict=False)
    ]
    return tuple(_stripped(word) for word in _attach_punctuation(words) if word.text.strip())


def _token_starts(alignment: Alignment, count: int, seconds: float) -> list[float]:
    """When each token begins, and when the last ends."""
    first: dict[int, int] = {}
    for token, step in alignment.path:
        first.setdefault(token, step)
    steps = accumulate((first.get(token, 0) for token in range(count + 1)), max)
    return [min(round(step * SECONDS_PER_STEP, 2), seconds) for step in steps]


def _attach_punctuation(words: Sequence[Word]) -> list[Word]:
    joined: list[Word] = []
    opening: Word | None = None
    for word in words:
        if opening is not None:
            word = _join(opening, word)  # noqa: PLW2901 - the word with what opens it
            opening = None
        if _only(word.text, _OPENING) and word.text.startswith(" "):
            opening = word
        elif joined and _only(word.text, _CLOSING) and not word.text.startswith(" "):
            joined[-1] = _join(joined[-1], word)
        else:
            joined.append(word)
    return joined if opening is None else [*joined, opening]


def _only(text: str, marks: str) -> bool:
    return bool(text.strip()) and all(letter in marks for letter in text.strip())


def _join(first: Word, second: Word) -> Word:
    """One word of two; its confidence is that of the part with letters."""
    spoken = second if _only(first.text, string.punctuation + _OPENING) else first
    return Word(first.text + second.text, first.start, second.end, spoken.confidence)


def _stripped(word: Word) -> Word:
    return Word(word.text.strip(), word.start, word.end, word.confidence)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
