"""What a rule is, and which rules are refused because they can never match."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from malha.insight.domain import InsightType, Role
from malha.insight.phrases import contains
from malha.insight.words import words
from malha.runtime.errors import InvalidArgument
from malha.text.tokens import primary

INVALID_RULE: Final = "INVALID_RULE"
STEMMED: Final = ("pt", "es", "en")
"""Languages whose words are compared by stem; those of others by their folded form."""
_ID: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_LONGEST_WINDOW_SECONDS: Final = 600.0
_LONGEST_COOLDOWN_SECONDS: Final = 3600.0
_MOST_PHRASES: Final = 256
_LONGEST_PHRASE: Final = 200


@dataclass(frozen=True, slots=True)
class RuleSpec:
    """A rule of the rule engine. ``all_of``, ``any_of`` and ``none_of`` are phrases, compared by stem, without case and accents."""

    id: str
    type: InsightType
    message: str
    """What the operator is told; ``{quote}`` stands for the words that matched."""
    all_of: tuple[str, ...] = ()
    any_of: tuple[str, ...] = ()
    none_of: tuple[str, ...] = ()
    negated_too: bool = False
    """Whether a negated phrase ("não quero cancelar") matches as well."""
    roles: tuple[Role, ...] = ()
    """Whose words count; empty: everybody's."""
    window_seconds: float = 0.0
    """How far back words count; 0: the segment alone."""
    languages: tuple[str, ...] = ()
    """Primary subtags; empty: any."""
    cooldown_seconds: float = 60.0
    """How long it stays silent after it matched."""
    confidence: float = 0.8
    version: int = 1
    name: str = ""
    disabled: bool = False

    @property
    def reference(self) -> str:
        """``id@version``."""
        return f"{self.id}@{self.version}"


def check_rule(spec: RuleSpec) -> None:
    """Refuse a rule that is malformed or can never match.

    Raises:
        InvalidArgument: INVALID_RULE, with a violation for each field.
    """
    _refuse(dict(_violations(spec)))


def check_rules(specs: Sequence[RuleSpec]) -> None:
    """As ``check_rule`` for several, which must also have different ids; violations begin with ``rules[INDEX].``.

    Raises:
        InvalidArgument: INVALID_RULE.
    """
    found = {f"rules[{index}].{path}": problem for index, spec in enumerate(specs) for path, problem in _violations(spec)}
    known: set[str] = set()
    for index, spec in enumerate(specs):
        if spec.id in known:
            found[f"rules[{index}].id"] = "another rule has this id"
        known.add(spec.id)
    _refuse(found)


def _refuse(violations: Mapping[str, str]) -> None:
    if violations:
        raise InvalidArgument(
            "a rule is malformed or can never match: correct it as the violations say", reason=INVALID_RULE, violations=violations
        )


def _violations(spec: RuleSpec) -> Iterator[tuple[str, str]]:
    if not _ID.fullmatch(spec.id):
        yield "id", "a-z, 0-9, - and _, at most 64 characters, beginning with a letter or digit"
    if not spec.message.strip():
        yield "message", "what the operator is told must not be empty"
    if not 0 <= spec.confidence <= 1:
        yield "confidence", "from 0 to 1"
    if not 0 <= spec.window_seconds <= _LONGEST_WINDOW_SECONDS:
        yield "window", f"from 0 to {_LONGEST_WINDOW_SECONDS:.0f} s"
    if not 0 <= spec.cooldown_seconds <= _LONGEST_COOLDOWN_SECONDS:
        yield "cooldown", f"from 0 to {_LONGEST_COOLDOWN_SECONDS:.0f} s"
    for index, language in enumerate(spec.languages):
        if not re.fullmatch(r"[a-z]{2,3}", primary(language)):
            yield f"languages[{index}]", "a BCP 47 primary tag such as pt"
    if not spec.all_of and not spec.any_of:
        yield "condition", "all_of or any_of must have a phrase: nothing else can match"
    yield from _phrase_violations(spec)


def _phrase_violations(spec: RuleSpec) -> Iterator[tuple[str, str]]:
    malformed = False
    for field, phrases in (("all_of", spec.all_of), ("any_of", spec.any_of), ("none_of", spec.none_of)):
        if len(phrases) > _MOST_PHRASES:
            yield f"condition.{field}", f"at most {_MOST_PHRASES} phrases"
        for index, phrase in enumerate(phrases[:_MOST_PHRASES]):
            if len(phrase) > _LONGEST_PHRASE or not words(phrase, ""):
                malformed = True
                yield f"condition.{field}[{index}]", f"a phrase is one or more words, at most {_LONGEST_PHRASE} characters"
    if not malformed and spec.none_of and all(_contradicts(spec, language) for language in spec.languages or STEMMED):
        yield "condition.none_of", "what must be said is excluded as well: the rule can never match"


def _contradicts(spec: RuleSpec, language: str) -> bool:
    """Whether, in a language, saying what the rule asks for says what it excludes."""

    def excluded(phrase: str) -> bool:
        return any(contains(phrase, unwanted, language) for unwanted in spec.none_of)

    return any(map(excluded, spec.all_of)) or (bool(spec.any_of) and all(map(excluded, spec.any_of)))
