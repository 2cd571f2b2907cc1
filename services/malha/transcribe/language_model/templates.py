"""The template language of the sentences in ``text/``, and their expansion.

A line of a text file is one template; `#` begins a comment line. In a template ``(a|b c|)`` stands for one of its alternatives,
``[x]`` and ``(x)?`` for `x` or nothing, and ``<name>`` for one of the alternatives of ``name: ...`` in ``classes.txt``. Everything
nests. Expansion is deterministic: the draws of a line depend on the line and on nothing else, so that adding a line leaves the rest
of the text as it was.
"""

import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

_TOKEN = re.compile(r"[()\[\]|?]|<[a-z0-9]+>|[^\s()\[\]|?<>]+")
_OPENING = {"(": ")", "[": "]"}


class TemplateError(ValueError):
    """A template is not well formed: the message quotes it."""


@dataclass(frozen=True)
class Node:
    """Part of a template: a word (``word``), a class (``name``), or a choice between sequences of nodes (``alternatives``)."""

    word: str = ""
    name: str = ""
    alternatives: tuple[tuple["Node", ...], ...] = ()


@dataclass(frozen=True)
class Template:
    """One line of text."""

    source: str
    nodes: tuple[Node, ...]

    @cached_property
    def seed(self) -> int:
        return zlib.crc32(self.source.encode())


def parse(source: str) -> Template:
    """Read one template. Raises TemplateError."""
    tokens = _TOKEN.findall(source)
    if "".join(tokens) != re.sub(r"\s", "", source):
        raise TemplateError(f"a character that cannot be read in: {source}")
    alternatives, rest = _alternatives(tokens, 0, "")
    if rest != len(tokens):
        raise TemplateError(f"an unmatched bracket in: {source}")
    if len(alternatives) != 1:
        return Template(source, (Node(alternatives=alternatives),))
    return Template(source, alternatives[0])


def _alternatives(tokens: Sequence[str], at: int, closing: str) -> tuple[tuple[tuple[Node, ...], ...], int]:
    """The alternatives from token ``at`` up to ``closing``, and the position after it."""
    found: list[tuple[Node, ...]] = []
    sequence: list[Node] = []
    while at < len(tokens) and tokens[at] not in {")", "]"}:
        token = tokens[at]
        at += 1
        if token == "|":
            found.append(tuple(sequence))
            sequence = []
        elif token == "?":
            if not sequence:
                raise TemplateError(f"nothing before `?` in: {' '.join(tokens)}")
            sequence[-1] = Node(alternatives=((sequence[-1],), ()))
        elif token in _OPENING:
            inner, at = _alternatives(tokens, at, _OPENING[token])
            sequence.append(Node(alternatives=inner if token == "(" else (*inner, ())))
        elif token.startswith("<"):
            sequence.append(Node(name=token[1:-1]))
        else:
            sequence.append(Node(word=token))
    if closing:
        if at == len(tokens) or tokens[at] != closing:
            raise TemplateError(f"a bracket that is not closed in: {' '.join(tokens)}")
        at += 1
    return (*found, tuple(sequence)), at


def read_classes(path: Path) -> dict[str, Node]:
    """The classes of ``classes.txt`` by name."""
    classes: dict[str, Node] = {}
    for line in _lines(path):
        name, _, body = line.partition(":")
        template = parse(body.strip())
        classes[name.strip()] = Node(alternatives=(template.nodes,))
    return classes


def read_templates(folder: Path) -> list[Template]:
    """Every template under ``folder``, file by file in the order of their names."""
    return [parse(line) for path in sorted(folder.glob("*.txt")) if path.name != "classes.txt" for line in _lines(path)]


def _lines(path: Path) -> Iterator[str]:
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            yield line.strip()


def expand(template: Template, classes: Mapping[str, Node], most: int) -> list[tuple[str, ...]]:
    """At most ``most`` different sentences of the template, fewer where it has fewer."""
    draws = _Draws(template.seed)
    sentences: dict[tuple[str, ...], None] = {}
    for _ in range(2 * most):
        words: list[str] = []
        _draw(template.nodes, classes, draws, words)
        sentences[tuple(_join_contractions(words))] = None
        if len(sentences) == most:
            break
    sentences.pop((), None)
    return list(sentences)


def _draw(nodes: Sequence[Node], classes: Mapping[str, Node], draws: "_Draws", words: list[str]) -> None:
    for node in nodes:
        if node.word:
            words.append(node.word)
        elif node.name:
            if node.name not in classes:
                raise TemplateError(f"no class <{node.name}>")
            _draw((classes[node.name],), classes, draws, words)
        else:
            _draw(node.alternatives[draws.below(len(node.alternatives))], classes, draws, words)


def _join_contractions(words: Sequence[str]) -> Iterator[str]:
    """``i 've`` becomes ``i've``."""
    word = ""
    for part in words:
        if part.startswith("'") and word:
            word += part
            continue
        if word:
            yield word
        word = part
    if word:
        yield word


class _Draws:
    """A 64-bit linear congruential generator (Knuth, MMIX): the same on every Python, which ``random`` does not promise."""

    def __init__(self, seed: int) -> None:
        self._state = (seed * 2 + 1) & 0xFFFF_FFFF_FFFF_FFFF

    def below(self, bound: int) -> int:
        self._state = (self._state * 6364136223846793005 + 1442695040888963407) & 0xFFFF_FFFF_FFFF_FFFF
        return (self._state >> 33) % bound
