"""The terms in which a language's number words are written down: the part each plays, and how they join."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple


class Kind(IntEnum):
    """What part a word plays in a number."""

    NONE = 0
    DIGIT = 1  # 0 to 9
    WEAK = 2  # a digit only among digits: "meia" for 6, "oh" for 0
    TEEN = 3  # 10 to 29 in one word
    TENS = 4  # 20 to 90, a unit may follow
    HUNDREDS = 5  # 100 to 900 in one word, tens may follow
    EXACT = 6  # "cem", "cien": only a scale may follow
    HUNDRED = 7  # multiplies what stands before it
    THOUSAND = 8
    SCALE = 9  # a million and more
    ARTICLE = 10  # the "a" of "a hundred"
    AND = 11
    SEPARATOR = 12  # "vírgula", "point", "dash": a character between two numbers
    REPEAT = 13  # "double", "triple"
    ORDINAL = 14  # the end of "twenty first"
    WRITTEN = 15  # digits as they stand


class Entry(NamedTuple):
    """A number word: its value (for a separator unused) and, where it is an article or pronoun too, that it is ``shared``."""

    kind: Kind
    value: int = 0
    character: str = ""
    shared: bool = False


@dataclass(frozen=True, slots=True)
class Lexicon:
    """The number words of a language, all folded, and how they join."""

    words: Mapping[str, Entry]
    and_after: frozenset[Kind]
    """After which words "and" goes on with the same number."""
    bare_after: frozenset[Kind]
    """After which words a unit follows without "and" even where it begins a run of digits: ``twenty five five`` is 25 5."""
    lone_thousand: bool
    """Whether "thousand" alone is 1000."""
    half: frozenset[str]
    """``um milhão e meio``."""
    units: frozenset[str]
    """Measures before which even an article is a number: ``um por cento``. One word, two, or a word and ``$`` where the text must end after it.
    Not hours and days: ``um dia eu volto``."""
    not_after: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """A word is no number after these: ``por cento``."""
    not_before: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """A word is no number before these: ``mil desculpas``, ``meia hora``."""
    years: bool = False
    """Whether years are said in two halves: ``nineteen ninety eight``."""


def digits(*names: str, shared: str = "") -> dict[str, Entry]:
    """Entries for the words of 0 to 9, each ``names`` item a space-separated list of forms."""
    alike = set(shared.split())
    return {form: Entry(Kind.DIGIT, value, shared=form in alike) for value, forms in enumerate(names) for form in forms.split()}


def entries(kind: Kind, start: int, step: int, *names: str) -> dict[str, Entry]:
    """Entries for the words of ``start``, ``start + step``, and so on, each item a space-separated list of forms."""
    return {form: Entry(kind, start + step * index) for index, forms in enumerate(names) for form in forms.split()}


def separators(**characters: str) -> dict[str, Entry]:
    """Entries for spoken separators: name to character."""
    return {name: Entry(Kind.SEPARATOR, character=character) for name, character in characters.items()}
