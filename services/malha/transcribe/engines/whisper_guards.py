"""What tells a Whisper transcript from a hallucination: pure functions on text and probabilities.

Thresholds of repetition, log probability and silence are those of the Whisper paper (https://arxiv.org/abs/2212.04356, section 4.5).
"""

import math
import string
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

MAX_COMPRESSION_RATIO = 2.4
MIN_MEAN_LOG_PROBABILITY = -1.0
SILENCE_PROBABILITY = 0.6

_LOOP_TIMES = 3
_LOOP_TOKENS = 18
_LETTERS_PER_SECOND = 35
_SPARE_LETTERS = 20
_IDLE_LETTERS_PER_SECOND = 4
_DOUBTFUL_SILENCE_PROBABILITY = 0.3
_DOUBTFUL_MEAN_LOG_PROBABILITY = -0.5

CREDITS = (
    "legendas pela comunidade amara org",
    "legendas pela comunidade das amara org",
    "legenda por sônia ruberti",
    "legenda adriana zanotto",
    "transcrição e legendas pedro negri",
    "subtítulos realizados por la comunidad de amara org",
    "subtítulos por la comunidad de amara org",
    "subtitulado por la comunidad de amara org",
    "subtitles by the amara org community",
    "transcription by castingwords",
    "transcribed by https otter ai",
)
"""Subtitle credits that Whisper learnt from its training data and says over silence. Nobody says one in a call: always dropped."""

COURTESIES = (
    "obrigado por assistir",
    "obrigada por assistir",
    "inscreva se no canal",
    "até o próximo vídeo",
    "gracias por ver el video",
    "gracias por ver el vídeo",
    "suscríbete al canal",
    "nos vemos en el próximo video",
    "thanks for watching",
    "thank you for watching",
    "please subscribe to my channel",
    "see you in the next video",
)
"""Ends of videos, likewise learnt. Someone could say one: dropped only where something else speaks for silence too."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a decoding tells about itself. ``seconds`` is the utterance's length; ``looped``: a repetition was cut out of the text."""

    text: str
    seconds: float
    mean_log_probability: float
    silence_probability: float
    looped: bool

    @property
    def confidence(self) -> float:
        """Mean probability of a token, 0..1."""
        return min(1.0, math.exp(self.mean_log_probability)) if self.text else 0.0


def is_silence(evidence: Evidence) -> bool:
    """Whether Whisper itself says that nobody spoke, or the text is one it says when nobody spoke."""
    if evidence.silence_probability > SILENCE_PROBABILITY and evidence.mean_log_probability < MIN_MEAN_LOG_PROBABILITY:
        return True
    plain = _plain(evidence.text)
    return plain in CREDITS or (plain in COURTESIES and _may_be_silence(evidence))


def is_doubtful(evidence: Evidence) -> bool:
    """Whether another try may give a better text."""
    return evidence.looped or is_implausible(evidence) or evidence.mean_log_probability < MIN_MEAN_LOG_PROBABILITY


def is_implausible(evidence: Evidence) -> bool:
    """Whether the text repeats itself beyond what speech does, or is more than anyone can say in the time."""
    too_long = len(evidence.text) > _SPARE_LETTERS + _LETTERS_PER_SECOND * evidence.seconds
    return too_long or compression_ratio(evidence.text) > MAX_COMPRESSION_RATIO


def compression_ratio(text: str) -> float:
    """Bytes of the text over its bytes when compressed: above 2.4 it repeats itself."""
    encoded = text.encode()
    return len(encoded) / len(zlib.compress(encoded))


def cut_loops(tokens: Sequence[int]) -> list[int]:
    """The tokens with each loop, a sequence said three times or more over at least 18 tokens, said once.

    ``não, não, não, não`` is speech and stays; a sentence said three times is a loop.
    """
    kept = list(tokens)
    for period in range(1, len(kept) // _LOOP_TIMES + 1):
        kept = _cut_period(kept, period)
    return kept


def _cut_period(tokens: list[int], period: int) -> list[int]:
    start = 0
    while start + period < len(tokens):
        end = _run_end(tokens, start, period)
        if end - start >= max(_LOOP_TIMES * period, _LOOP_TOKENS):
            tokens = tokens[: start + period] + tokens[end:]
            start += 1
        else:
            start = end - period + 1  # every start before that ends its run at the same place
    return tokens


def _run_end(tokens: Sequence[int], start: int, period: int) -> int:
    end = start + period
    while end < len(tokens) and tokens[end] == tokens[end - period]:
        end += 1
    return end


def _may_be_silence(evidence: Evidence) -> bool:
    return (
        evidence.silence_probability > _DOUBTFUL_SILENCE_PROBABILITY
        or evidence.mean_log_probability < _DOUBTFUL_MEAN_LOG_PROBABILITY
        or len(evidence.text) < _IDLE_LETTERS_PER_SECOND * evidence.seconds
    )


def _plain(text: str) -> str:
    """Lower case words with single spaces, without punctuation."""
    return " ".join(text.lower().translate(_NO_PUNCTUATION).split())


_NO_PUNCTUATION = str.maketrans(dict.fromkeys(string.punctuation + "¡¿…\u2013\u2014", " "))
