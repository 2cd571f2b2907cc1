"""A tenant's own words: what its recogniser writes, and how the tenant writes it.

Terms are looked up in a trie of folded tokens, so the cost is that of the text and not of the glossary.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from malha.runtime.errors import InvalidArgument
from malha.text.spans import Piece, tokens
from malha.text.tokens import fold, split

MAX_ENTRIES = 5_000
MAX_CHARACTERS = 100
_SHOWN_VIOLATIONS = 20


@dataclass(slots=True)
class _Node:
    after: dict[str, "_Node"] = field(default_factory=dict)
    replacement: tuple[str, ...] | None = None


class Glossary:
    """A glossary made ready to apply. Make one with ``Glossary.of``."""

    def __init__(self, root: _Node) -> None:
        self._root = root

    @classmethod
    def of(cls, entries: Mapping[str, str]) -> "Glossary":
        """From term to replacement, both up to 100 characters. Terms are told apart without case, accents and outer punctuation.

        Raises:
            InvalidArgument: ``GLOSSARY_TOO_LARGE`` for over 5,000 entries; ``INVALID_GLOSSARY`` for a term or replacement that is empty or too long, a term
                that maps to itself, one given twice with different replacements, and terms that map to each other in a circle. The violations name
                entries by position, in the order given, never by their words.
        """
        if len(entries) > MAX_ENTRIES:
            wrong = {"entries": f"at most {MAX_ENTRIES}, not {len(entries)}"}
            raise InvalidArgument("the glossary has too many entries", reason="GLOSSARY_TOO_LARGE", violations=wrong)
        violations = _violations(entries)
        if violations:
            shown = dict(list(violations.items())[:_SHOWN_VIOLATIONS])
            message = f"the glossary has {len(violations)} wrong entries"
            raise InvalidArgument(message, reason="INVALID_GLOSSARY", violations=shown)
        root = _Node()
        for replacement in entries.values():
            _insert(root, _key(replacement), replacement)
        for term, replacement in entries.items():
            _insert(root, _key(term), replacement)
        return cls(root)

    def apply(self, pieces: Sequence[Piece]) -> list[Piece]:
        """``pieces`` with terms replaced, from the left, the longest first, and what was put in is not looked at again.

        A term matches whole tokens with no punctuation inside; the punctuation around it stays. Where a replacement has as many tokens as its term each rests on
        its own, else each rests on all of the term. A replacement that is already there is not extended again (``malha`` -> ``Malha Telecom``),
        only written as the glossary writes it.
        """
        parts = [split(piece.text) for piece in pieces]
        folded = [fold(part.core) for part in parts]
        out: list[Piece] = []
        at = 0
        while at < len(pieces):
            node, end, found, ahead = self._root, at, None, at
            while (
                ahead < len(pieces)
                and (step := node.after.get(folded[ahead]))
                and (ahead == at or not (parts[ahead - 1].tail or parts[ahead].lead))
            ):
                node, ahead = step, ahead + 1
                if node.replacement is not None:
                    found, end = node.replacement, ahead
            if found is None:
                out.append(pieces[at])
                at += 1
                continue
            out.extend(_put(pieces[at:end], found, parts[at].lead, parts[end - 1].tail))
            at = end
        return out


def _put(matched: Sequence[Piece], replacement: tuple[str, ...], lead: str, tail: str) -> list[Piece]:
    texts = list(replacement)
    texts[0] = lead + texts[0]
    texts[-1] += tail
    if len(texts) == len(matched):
        return [Piece(text, piece.first, piece.last) for text, piece in zip(texts, matched, strict=True)]
    return [Piece(text, matched[0].first, matched[-1].last) for text in texts]


def _key(term: str) -> tuple[str, ...]:
    """The folded tokens of a term; tokens that are punctuation alone do not count."""
    return tuple(folded for token in tokens(term) if (folded := fold(split(token).core)))


def _insert(root: _Node, key: tuple[str, ...], replacement: str) -> None:
    node = root
    for token in key:
        node = node.after.setdefault(token, _Node())
    node.replacement = tuple(tokens(replacement))


def _violations(entries: Mapping[str, str]) -> dict[str, str]:
    violations: dict[str, str] = {}
    targets: dict[tuple[str, ...], tuple[str, ...]] = {}
    replacements: dict[tuple[str, ...], str] = {}
    for index, (term, replacement) in enumerate(entries.items()):
        key, target = _key(term), _key(replacement)
        for name, text, words in (("term", term, key), ("replacement", replacement, target)):
            if not words:
                violations[f"entries[{index}].{name}"] = "empty"
            elif len(text) > MAX_CHARACTERS:
                violations[f"entries[{index}].{name}"] = f"over {MAX_CHARACTERS} characters"
        if tokens(term) == tokens(replacement):
            violations.setdefault(f"entries[{index}]", "maps to itself")
        if replacements.setdefault(key, replacement) != replacement:
            violations.setdefault(f"entries[{index}].term", "given before, with another replacement")
        targets.setdefault(key, target)
    for index, term in enumerate(entries):
        if _circular(_key(term), targets):
            violations.setdefault(f"entries[{index}]", "part of a circle of terms")
    return violations


def _circular(key: tuple[str, ...], targets: Mapping[tuple[str, ...], tuple[str, ...]]) -> bool:
    """Whether following replacements from a term leads back to it by way of another."""
    seen = {key}
    at = targets.get(key)
    while at is not None and at not in seen:
        seen.add(at)
        at = targets.get(at)
    return at == key and len(seen) > 1
