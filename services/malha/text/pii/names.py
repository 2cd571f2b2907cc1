"""Names that a call or tenant lists: whole, and each part of them."""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

from malha.text.pii.kinds import Kind, Match
from malha.text.pii.words import plain
from malha.text.spans import tokens

_PARTICLES = frozenset(["da", "de", "do", "das", "dos", "del", "la", "las", "los", "e", "y", "van", "von", "di"])
_SHORTEST_PART = 3
_COMMON = frozenset(
    [
        "rosa",
        "luz",
        "paz",
        "cruz",
        "costa",
        "reis",
        "rei",
        "ramos",
        "leao",
        "lobo",
        "pinto",
        "prata",
        "campos",
        "campo",
        "rocha",
        "serra",
        "ribeiro",
        "monte",
        "ponte",
        "porto",
        "vale",
        "sol",
        "mar",
        "lima",
        "pera",
        "machado",
        "flor",
        "flores",
        "santos",
        "santo",
        "santa",
        "pires",
        "moreno",
        "moreira",
        "neves",
        "pena",
        "guerra",
        "rico",
        "rubio",
        "calvo",
        "delgado",
        "bravo",
        "cortes",
        "leon",
        "blanco",
        "negro",
        "franco",
        "dias",
        "conde",
        "esperanza",
        "esperanca",
        "vitoria",
        "victoria",
        "gloria",
        "pilar",
        "amparo",
        "consuelo",
        "dolores",
        "socorro",
        "remedios",
        "mercedes",
        "milagros",
        "soledad",
        "aurora",
        "estrela",
        "clara",
        "branca",
        "bella",
        "justo",
        "salvador",
        "domingo",
        "domingos",
        "pascual",
        "angel",
        "angeles",
        "maior",
        "mayor",
        "torres",
        "casas",
        "caballero",
        "nova",
        "novo",
        "jardim",
        "mata",
        "grant",
        "mark",
        "will",
        "bill",
        "rose",
        "may",
        "grace",
        "joy",
        "hope",
        "faith",
        "summer",
        "young",
        "long",
        "short",
        "brown",
        "green",
        "white",
        "black",
        "king",
        "page",
        "price",
        "rich",
        "rice",
    ]
)
"""Parts of names that are words as well: names only with a capital."""


def names_in(text: str, plain_text: str, names: Sequence[str]) -> Iterator[Match]:
    """Every listed name in a view's text. Whole names whatever their case; a part that is also a common word only with a capital."""
    pattern = _pattern(tuple(names))
    if pattern is None:
        return
    for match in pattern.finditer(plain_text):
        if match.group() not in _COMMON or match.lastgroup == "whole" or text[match.start()].isupper():
            yield Match(Kind.NAME, match.start(), match.end())


@lru_cache(maxsize=16)
def _pattern(names: tuple[str, ...]) -> re.Pattern[str] | None:
    """One expression for all of them: the whole names first, then runs of parts."""
    folded = [plain(" ".join(tokens(name))) for name in names]
    whole = sorted({name for name in folded if name}, key=len, reverse=True)
    parts = {part for name in whole for part in name.split() if len(part) >= _SHORTEST_PART and part not in _PARTICLES}
    if not whole:
        return None
    either = "|".join(map(re.escape, sorted(parts, key=len, reverse=True)))
    run = rf"(?P<parts>(?:{either})(?: (?:(?:{'|'.join(sorted(_PARTICLES))}) )*(?:{either}))*)" if parts else "(?P<parts>(?!))"
    return re.compile(rf"(?<!\w)(?:(?P<whole>{'|'.join(map(re.escape, whole))})|{run})(?!\w)")
