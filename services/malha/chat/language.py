"""Which of the languages Malha answers in a text is in: Portuguese, Spanish or English."""

import re
from typing import Final

_WORD: Final = re.compile(r"[^\W\d_]+")
_PORTUGUESE: Final = (
    "não você vocês está são uma um com meu minha meus para pelo pela quanto como onde quando qual quais porque isso isto tem ao os as o a e do da "
    "dos das em no na muito obrigado obrigada fazer posso quero preciso seu sua até também já foi ser"
)
_SPANISH: Final = (
    "no usted está son una un con mi mis para por el la los las cuánto cuanto cómo donde dónde cuando cuál cual porque eso esto tiene hay y del al "
    "en muy gracias hacer puedo quiero necesito su sus hasta también ya fue ser es lo se"
)
_ENGLISH: Final = (
    "the a an is are was what how where when which who why my your you i do does can could would please to of in on for with and not it this that "
    "have has want need"
)
_COMMON: Final = {"pt": frozenset(_PORTUGUESE.split()), "es": frozenset(_SPANISH.split()), "en": frozenset(_ENGLISH.split())}
"""Words that are common in each; some are in two."""
LANGUAGES: Final = frozenset(_COMMON)
DEFAULT: Final = "pt"


def language_of(tag: str, text: str) -> str:
    """The language of a BCP 47 tag, where Malha answers in it; else the one whose common words the text has most of, Portuguese in doubt."""
    primary = tag.partition("-")[0].lower()
    if primary in LANGUAGES:
        return primary
    words = [word.lower() for word in _WORD.findall(text[:2000])]
    scores = {language: sum(word in common for word in words) for language, common in _COMMON.items()}
    best = max(scores, key=lambda language: (scores[language], language == DEFAULT))
    return best if scores[best] else DEFAULT
