"""Whether what was said was denied: "não quero cancelar", "no tengo ninguna queja", "I don't want to cancel".

A negation reaches over light words alone (wanting, going to, thinking, function words). Not denied, then: what follows another verb ("se não
resolver quero cancelar"), inability ("não consigo cancelar", "I can't cancel": one who cannot wants to), questions ("por que não cancela"), "não
só", "not only".
"""

from collections.abc import Mapping
from functools import cache
from typing import Final, NamedTuple

from malha.insight.words import Word, words
from malha.text.tokens import primary
from malha.text.words import FUNCTION_WORDS

_REACH: Final = 4
"""Words between a negation and what it negates, at most: ``I do not want you to cancel``."""


class _Grammar(NamedTuple):
    """How a language denies."""

    negators: str
    light: str
    """Compared by stem."""
    ability: str
    asking: str
    """Before a negation."""
    affirming: frozenset[str]
    """Pairs of words that only look like a negation."""


_GRAMMARS: Final[Mapping[str, _Grammar]] = {
    "pt": _Grammar(
        "nao nunca jamais nem sem",
        "quero vamos iria pretendo penso gostaria preciso desejo acho disse falei fiz fazer houve nenhum nenhuma intenção necessidade ainda agora",
        "consigo consegui posso pude podia",
        "que porque",
        frozenset(["sem duvida", "sem falta", "nao so", "nao somente", "nao apenas"]),
    ),
    "es": _Grammar(
        "no nunca jamas ni sin tampoco",
        "quiero queria vamos iria pienso quisiera necesito hace falta deseo creo dije hice hacer hubo ningun ninguna intención necesidad todavía ahora",
        "puedo pude podia logro logre consigo",
        "que",
        frozenset(["sin duda", "sin falta", "no solo", "no solamente"]),
    ),
    "en": _Grammar(
        "not no never without neither nor",
        "want wish going think plan like need said made make looking trying intend intention really yet now any even",
        "can could able",
        "why",
        frozenset(["no doubt", "without doubt", "without fail", "not only", "not just"]),
    ),
}
_NONE: Final = _Grammar("", "", "", "", frozenset())
"""Of other languages nothing is taken for a negation."""


class Negation:
    """How one language denies, ready to be asked."""

    def __init__(self, language: str) -> None:
        code = primary(language)
        grammar = _GRAMMARS.get(code, _NONE)
        self._negators = frozenset(grammar.negators.split())
        self._light = frozenset(word.stem for word in words(grammar.light, code))
        self._functional = FUNCTION_WORDS.get(code, frozenset())
        self._ability = frozenset(grammar.ability.split())
        self._asking = frozenset(grammar.asking.split())
        self._affirming = grammar.affirming

    def begins(self, phrase: tuple[Word, ...]) -> bool:
        """Whether a phrase itself begins with a negation (``não funciona``, ``ainda não funciona``, ``did not work``)."""
        return any(word.folded in self._negators for word in phrase[:2])

    def denies(self, said: tuple[Word, ...], first: int) -> bool:
        """Whether what begins at word ``first`` is denied by a negation before it in its clause."""
        clause = said[first].clause
        for index in range(first - 1, max(-1, first - 2 - _REACH), -1):
            if said[index].clause != clause:
                return False
            if said[index].folded in self._negators:
                return self._reaches(said, index, first)
        return False

    def _reaches(self, said: tuple[Word, ...], index: int, first: int) -> bool:
        """Whether the negation at ``index`` denies what begins at ``first``. In English the ability stands before it: ``can not``."""
        if any(word.folded in self._asking for word in said[max(0, index - 2) : index]):
            return False
        if any(word.folded in self._ability for word in said[max(0, index - 1) : first]):
            return False
        if f"{said[index].folded} {said[index + 1].folded}" in self._affirming:
            return False
        return all(word.stem in self._light or word.folded in self._functional for word in said[index + 1 : first])


@cache
def negation(language: str) -> Negation:
    """That of a language; ``language`` is a primary subtag of ours or empty."""
    return Negation(language)
