"""The closed word classes of Portuguese, Spanish and English: what is said while thinking, and what carries grammar rather than content."""

import re
from collections.abc import Mapping
from typing import Final

from malha.text.tokens import word_set

_SOUNDS: Final = r"a+h+|u+h+m*|e+h+m*|hm+"
_HESITATIONS: Final[Mapping[str, re.Pattern[str]]] = {
    "pt": re.compile(rf"(?:{_SOUNDS}|h?ã+h?n*|a+hn+|hu+m+|é{{2,}}h*|né+)"),
    "es": re.compile(rf"(?:{_SOUNDS}|e+m+|hu+m+|estee+)"),
    "en": re.compile(rf"(?:{_SOUNDS}|u+m+|e+r|e+rm+)"),
}
_TRAILED_OFF: Final[Mapping[str, frozenset[str]]] = {"pt": frozenset({"é"}), "es": frozenset({"este"}), "en": frozenset()}
_FIRST_LETTERS: Final = frozenset("auehãén")

FUNCTION_WORDS: Final[Mapping[str, frozenset[str]]] = {
    "pt": word_set(
        "a o as os um uma uns umas e ou mas que se de do da dos das em no na nos nas por pelo pela pelos pelas para pra pro com sob sobre ate ao aos "
        "eu tu ele ela eles elas voce voces me te lhe lhes nos vos meu minha meus minhas teu tua seu sua seus suas nosso nossa este esta isto esse essa "
        "isso aquele aquela aquilo la ja como quando onde porque qual quem cujo sou es e somos sao foi era ser esta estou estao estava ter tem tenho "
        "tinha ha vai vou ir entao tambem so mais"
    ),
    "es": word_set(
        "el la los las un una unos unas lo y e o u pero que si de del al a en por para con sobre hasta desde entre yo tu el ella ellos ellas usted "
        "ustedes me te se le les nos os mi mis tu tus su sus nuestro nuestra este esta esto estos estas ese esa eso esos esas aquel aquella como cuando "
        "donde porque cual quien soy es somos son fue era ser estoy esta estan estaba he ha hay han tener tiene tengo tenia va voy ir entonces tambien "
        "ya mas"
    ),
    "en": word_set(
        "a an the and or but if of to in on at by for with from into about as than i you he she it we they me him her us them my your his its our their "
        "this that these those there here what which who when where why how am is are was were be been being have has had do does did will would can "
        "could should may might must shall then just it's i'm i'll i've that's we're you're he's she's they're"
    ),
}
"""Articles, pronouns, prepositions, conjunctions, auxiliaries; folded. Nothing that negates or emphasises."""


def hesitation(core: str, tail: str, language: str) -> bool:
    """Whether a token, its punctuation parted, is a sound of thinking in ``language`` (a primary subtag).

    Only sounds and the Portuguese tag ``né``. A word that also means something is one only where its writing says so: ``é...``, ``este...``
    (trailing off) and ``ééé``. Never what answers, as ``uhum``, ``aham``, ``mm`` and ``mhm`` do, nor what a listener may need: ``tipo``, ``o sea``.
    """
    pattern = _HESITATIONS.get(language)
    if pattern is None or not core or core[0].lower() not in _FIRST_LETTERS:
        return False
    word = core.lower()
    return pattern.fullmatch(word) is not None or (tail.startswith(("...", "…")) and word in _TRAILED_OFF[language])
