"""Character error rate, by jiwer, and how many accents were read; white space counts as one blank each."""

import unicodedata
from typing import Any

from malha.runtime.errors import FailedPrecondition


def normalise(text: str) -> str:
    """Composed, each stretch of white space one blank."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def character_error_rate(reference: str, hypothesis: str) -> float:
    """Errors over characters of the reference. Raises FailedPrecondition naming the extra if jiwer is not installed."""
    return float(_jiwer().cer(normalise(reference), normalise(hypothesis)))


def accent_recall(reference: str, hypothesis: str) -> float | None:
    """Of the letters with accents, the share that was read as they are; None where there are none."""
    told, heard = normalise(reference), normalise(hypothesis)
    right = {
        index
        for chunk in _jiwer().process_characters(told, heard).alignments[0]
        if chunk.type == "equal"
        for index in range(chunk.ref_start_idx, chunk.ref_end_idx)
    }
    accented = [index for index, letter in enumerate(told) if letter.isalpha() and unicodedata.normalize("NFD", letter) != letter]
    return sum(index in right for index in accented) / len(accented) if accented else None


def _jiwer() -> Any:
    try:
        import jiwer  # noqa: PLC0415 - an optional extra
    except ModuleNotFoundError as error:
        raise FailedPrecondition("error rates need: pip install 'malha-services[bench]'", reason="MISSING_EXTRA") from error
    return jiwer
