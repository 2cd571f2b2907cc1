"""Word error rate, by jiwer, of texts without case and punctuation."""

import re
import unicodedata
from collections.abc import Sequence

from malha.runtime.errors import FailedPrecondition

_NOT_WORD = re.compile(r"[^\w']+|_")


def normalise(text: str) -> str:
    """Lower case, composed, words and apostrophes only."""
    return " ".join(_NOT_WORD.sub(" ", unicodedata.normalize("NFC", text).lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")).split())


def word_error_rate(references: Sequence[str], hypotheses: Sequence[str]) -> float:
    """Errors over words of all references together. Raises FailedPrecondition naming the extra if jiwer is not installed."""
    try:
        import jiwer  # noqa: PLC0415 - an optional extra
    except ModuleNotFoundError as error:
        raise FailedPrecondition("word error rates need: pip install 'malha-services[bench]'", reason="MISSING_EXTRA") from error
    return float(jiwer.wer([normalise(text) for text in references], [normalise(text) for text in hypotheses]))
