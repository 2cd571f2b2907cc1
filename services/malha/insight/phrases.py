"""Many phrases looked for at once: a trie of stems, walked from each word.

A phrase that is denied where it is said is found as negated. One that itself begins with a negation ("não funciona", "no quiero más") never is.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from malha.insight.negation import negation
from malha.insight.words import Word, words
from malha.text.tokens import primary


class Hit(NamedTuple):
    """A phrase in a text."""

    phrase: int
    first: int
    """Index of its first word."""
    last: int
    negated: bool


@dataclass(slots=True)
class _Node:
    next: dict[str, "_Node"] = field(default_factory=dict)
    phrase: int = -1


class Phrases:
    """Phrases of one language, each found by its stems. Made once, read by many sessions."""

    def __init__(self, language: str) -> None:
        self._language = language
        self._negation = negation(primary(language))
        self._root = _Node()
        self._negative: list[bool] = []
        """By phrase: whether it begins with a negation."""

    def add(self, text: str) -> int:
        """The number of a phrase; the same for phrases of the same stems.

        Raises:
            ValueError: it has no words.
        """
        parts = words(text, self._language)
        if not parts:
            raise ValueError("a phrase without words")
        node = self._root
        for part in parts:
            node = node.next.setdefault(part.stem, _Node())
        if node.phrase < 0:
            node.phrase = len(self._negative)
            self._negative.append(self._negation.begins(parts))
        return node.phrase

    def find(self, said: tuple[Word, ...]) -> list[Hit]:
        """Every phrase in ``said``, where phrases overlap each of them."""
        hits: list[Hit] = []
        roots = self._root.next
        for first, word in enumerate(said):
            node = roots.get(word.stem)
            last = first
            while node is not None:
                if node.phrase >= 0:
                    negated = not self._negative[node.phrase] and self._negation.denies(said, first)
                    hits.append(Hit(node.phrase, first, last, negated))
                last += 1
                if last == len(said):
                    break
                node = node.next.get(said[last].stem)
        return hits


def contains(outer: str, inner: str, language: str) -> bool:
    """Whether saying ``outer`` says ``inner`` as well."""
    whole, part = ([word.stem for word in words(text, language)] for text in (outer, inner))
    return any(whole[at : at + len(part)] == part for at in range(len(whole) - len(part) + 1))
