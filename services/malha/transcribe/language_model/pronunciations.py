"""How words are pronounced: PocketSphinx's dictionary (CMUdict), this project's own words, and the endings `'s` and `'ll` of both."""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

import pocketsphinx

OWN: Final = Path(__file__).parent / "pronunciations.dict"
_VARIANT: Final = re.compile(r"\(\d+\)$")
_SIBILANTS: Final = frozenset({"S", "Z", "SH", "ZH", "CH", "JH"})
_VOICELESS: Final = frozenset({"P", "T", "K", "F", "TH"})

Pronunciations = Mapping[str, list[str]]
"""For each word its pronunciations, the commonest first, as phones between blanks."""


def read_pronunciations() -> Pronunciations:
    """Every word with a pronunciation of its own."""
    found: dict[str, list[str]] = {}
    for path in (Path(pocketsphinx.get_model_path()) / "en-us" / "cmudict-en-us.dict", OWN):
        for line in path.read_text(encoding="utf-8").splitlines():
            word, _, phones = line.partition(" ")
            if phones and not line.startswith("#"):
                found.setdefault(_VARIANT.sub("", word), []).append(phones.strip())
    return found


def pronounce(words: Iterable[str], known: Pronunciations) -> Pronunciations:
    """The words with their pronunciations, sorted. Raises ValueError naming those that have none."""
    found = {word: known.get(word) or list(_with_ending(word, known)) for word in sorted(words)}
    missing = [word for word, ways in found.items() if not ways]
    if missing:
        raise ValueError(f"without a pronunciation, to be added to {OWN.name}: {' '.join(missing)}")
    return found


def dictionary_lines(pronunciations: Pronunciations) -> Iterator[str]:
    """Lines of a PocketSphinx dictionary: a word's second and later pronunciations are told apart as ``word(2)``."""
    for word, ways in pronunciations.items():
        for number, phones in enumerate(ways, start=1):
            yield f"{word if number == 1 else f'{word}({number})'} {phones}\n"


def _with_ending(word: str, known: Pronunciations) -> Iterator[str]:
    stem, _, ending = word.rpartition("'")
    for phones in known.get(stem, []):
        last = phones.rpartition(" ")[2]
        if ending == "s":
            yield f"{phones} {'IH Z' if last in _SIBILANTS else 'S' if last in _VOICELESS else 'Z'}"
        elif ending == "ll":
            yield f"{phones} AH L"
