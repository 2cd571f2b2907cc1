"""A segment as it should be read: without fillers, in the tenant's words, with digits for number words."""

from collections.abc import Sequence

from malha.text.fillers import drop_fillers
from malha.text.glossary import Glossary
from malha.text.numbers import fold_numbers
from malha.text.spans import Piece


def normalise(pieces: Sequence[Piece], language: str, glossary: Glossary | None = None) -> list[Piece]:
    """Fillers, then the glossary, then numbers.

    Fillers go first because they part what belongs together (``vinte e hã cinco``, ``plano é... família``). The glossary goes before numbers because a tenant's terms
    are what was heard, number words among them (``turbo mil`` -> ``TurboMil``). In a language that is not known only the glossary works.
    """
    plain = drop_fillers(pieces, language)
    return fold_numbers(glossary.apply(plain) if glossary else plain, language)
