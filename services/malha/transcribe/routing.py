"""The rules of SMART_ROUTING_RULES: which recognisers an utterance goes to, by its language and length.

::

    rules = rule *(";" rule)
    rule  = languages [("<" | ">=") seconds] ":" recognisers
    en<8: pocketsphinx, whisper/small; pt, es: whisper/medium, openai; *: openai

Languages are primary tags, ``*`` any, and also that of an utterance whose language is not known. The first rule that fits decides; its
recognisers are asked in their order.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from malha.runtime.errors import FailedPrecondition

ANY: Final = "*"
_RULE: Final = re.compile(
    r"(?P<languages>[A-Za-z*][A-Za-z*,\s]*?)\s*(?:(?P<sign><|>=)\s*(?P<seconds>\d+(?:\.\d+)?)\s*s?\s*)?:(?P<names>.+)", re.DOTALL
)
_LANGUAGE: Final = re.compile(r"[a-z]{2,8}|\*")


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. Seconds are of an utterance: from ``least`` on, below ``below``."""

    languages: frozenset[str]
    names: tuple[str, ...]
    least: float = 0.0
    below: float = float("inf")

    def speaks_of(self, language: str) -> bool:
        """Whether it is about a BCP 47 tag; empty: not known."""
        return ANY in self.languages or language.partition("-")[0].lower() in self.languages

    def fits(self, language: str, seconds: float) -> bool:
        """Whether it decides about an utterance."""
        return self.speaks_of(language) and self.least <= seconds < self.below


def parse_rules(text: str, known: Collection[str]) -> tuple[Rule, ...]:
    """Raises FailedPrecondition (ROUTING_INVALID) for what is no rule, and for a recogniser that is not ``known`` here."""
    return tuple(_rule(part.strip(), known) for part in text.split(";") if part.strip())


def _rule(text: str, known: Collection[str]) -> Rule:
    found = _RULE.fullmatch(text)
    if found is None:
        raise _invalid(f"`{text}` is no rule: write LANGUAGES [<SECONDS or >=SECONDS]: RECOGNISERS, such as en<8: pocketsphinx")
    languages = [language.strip().lower() for language in found["languages"].split(",")]
    if wrong := [language for language in languages if not _LANGUAGE.fullmatch(language)]:
        raise _invalid(f"`{wrong[0]}` in `{text}` is no language: write primary tags such as pt, or *")
    names = tuple(name.strip() for name in found["names"].split(","))
    if unknown := [name for name in names if name not in known]:
        raise _invalid(f"`{unknown[0]}` in `{text}` is no recogniser here: there are {', '.join(known)}")
    seconds = float(found["seconds"] or 0.0)
    if found["sign"] == "<":
        return Rule(frozenset(languages), names, below=seconds)
    return Rule(frozenset(languages), names, least=seconds)


def candidates(rules: Sequence[Rule], language: str, seconds: float | None) -> tuple[str, ...]:
    """Who is asked, in order; ``seconds`` None: all that may be, as long as the length is not known."""
    if seconds is None:
        return tuple(dict.fromkeys(name for rule in rules if rule.speaks_of(language) for name in rule.names))
    return next((rule.names for rule in rules if rule.fits(language, seconds)), ())


def _invalid(message: str) -> FailedPrecondition:
    return FailedPrecondition(f"SMART_ROUTING_RULES: {message}", reason="ROUTING_INVALID")
