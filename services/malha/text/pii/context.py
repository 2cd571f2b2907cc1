"""What the words around a number say it is."""

import re
from dataclasses import dataclass

from malha.text.pii.kinds import Kind
from malha.text.pii.words import CONTEXT, COPULAS

_WORD = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")
_BEFORE_CHARACTERS, _BEFORE_WORDS = 90, 9
_AFTER = re.compile(
    r"^[ ,]{1,2}(?:e|es|is|esse e|este e|ese es|este es|that is)?,? ?(?:o|el|a|la)? ?(?:numero |number )?(?:do|da|de|del|of)? ?(?:meu|mi|my|nosso|seu|su|your|minha|o|el)? ?(?P<word>[^\W\d_]+)"
)
_LENGTHS = {
    Kind.CPF: range(10, 13),
    Kind.CNPJ: range(13, 16),
    Kind.RG: range(6, 11),
    Kind.CEP: range(7, 10),
    Kind.NIF: range(8, 11),
    Kind.NIE: range(6, 9),
    Kind.DNI: range(7, 10),
    Kind.IBAN: range(15, 33),
    Kind.CARD: range(12, 20),
    Kind.PHONE: range(7, 16),
}
"""Digits that are heard where a number of the kind was said: one more or one less than it has, or those of its older forms."""
_SHORT = frozenset({Kind.CPF, Kind.CNPJ, Kind.RG, Kind.NIF, Kind.NIE, Kind.DNI, Kind.IBAN})
_SHORTEST = 3


@dataclass(frozen=True, slots=True)
class Context:
    """The kind that is told, and whether hardly a word stands between."""

    kind: Kind
    adjacent: bool

    def fits(self, digits: int) -> bool:
        """Whether a number of this many digits is one of the kind."""
        return digits in _LENGTHS.get(self.kind, ())

    def holds(self, digits: int) -> bool:
        """Whether so few digits are a part of one: "my CPF is 529 ..."."""
        return self.adjacent and self.kind in _SHORT and digits >= _SHORTEST


def context(plain: str, start: int, end: int, language: str) -> Context | None:
    r"""What is told about the number at these characters of a view's plain text: by the nearest word before it, else just after it.

    ``\\x00`` in ``plain`` is what was found or explained already: nothing before one speaks of this number.
    """
    before = plain[max(0, start - _BEFORE_CHARACTERS) : start]
    before = before[before.rfind("\x00") + 1 :]
    words = _WORD.findall(before)[-_BEFORE_WORDS:]
    for distance, word in enumerate(reversed(words)):
        if word in CONTEXT:
            between = words[len(words) - distance :]
            return Context(_local(CONTEXT[word], language), adjacent=all(other in COPULAS for other in between))
    after = _AFTER.match(plain[end : end + _BEFORE_CHARACTERS])
    if after and after["word"] in CONTEXT:
        return Context(_local(CONTEXT[after["word"]], language), adjacent=False)
    return None


def _local(kind: Kind, language: str) -> Kind:
    """A Spaniard's NIF is the number of the DNI."""
    return Kind.DNI if kind is Kind.NIF and language == "es" else kind
