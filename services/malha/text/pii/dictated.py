"""What people say around the parts of a number they dictate: names of signs and letters, sounds of thinking, "with the letter"."""

import re
from collections.abc import Sequence

from malha.text.numbers import is_number_word
from malha.text.pii.words import FILLERS, LETTERS, SIGNS, SMALL_DIGITS, WORDLIKE, has_digit, plain
from malha.text.spans import Piece

_EDGES = ".,;:!?\"'()[]<>-…"
_IDENTITY_DIGITS = range(7, 9)
"""Before the letter of a NIE or DNI."""
_LETTER_PHRASES = tuple(
    tuple(phrase.split()) for phrase in ("con la letra", "com a letra", "y la letra", "e a letra", "la letra", "letra", "letter")
)
_CONSONANT = re.compile(r"[b-df-hj-np-tv-z]$")
_HALF_A_DOZEN = "meia"
_CNPJ = "cnpj"
_AT_SIGNS = frozenset({"arroba", "at", "@"})


def without_asides(pieces: Sequence[Piece], language: str) -> list[Piece]:
    """``pieces`` without signs and fillers said between two parts of a number. A hyphen on the part before keeps the two apart."""
    cores = [_core(piece.text) for piece in pieces]
    parts = [_is_part(cores, at, language) for at in range(len(cores))]
    address = not _AT_SIGNS.isdisjoint(cores)
    kept: list[Piece] = []
    at = 0
    while at < len(pieces):
        skipped = _aside(cores, parts, at, FILLERS.get(language, frozenset()), address=address) if at and parts[at - 1] else 0
        if skipped and kept:
            kept[-1] = Piece(kept[-1].text + "-", kept[-1].first, kept[-1].last)
            at += skipped
        else:
            kept.append(pieces[at])
            at += 1
    return kept


def named_letters(pieces: Sequence[Piece]) -> list[Piece]:
    """``pieces`` with names of letters (``equis``, ``x``) beside digits or other letters as capitals, and ones between those as digits.

    Where a CNPJ is told of, which has letters anywhere, small digits before a letter are no articles either: ``um h nove``.
    """
    cores = [_core(piece.text) for piece in pieces]
    told = _CNPJ in cores
    units: list[Piece] = []
    digits, spelled, lettered, at = 0, False, False, 0
    # digits and letters just before; whether a letter was named since the number began
    while at < len(pieces):
        piece, core, used = pieces[at], cores[at], 1
        if has_digit(core):
            digits, spelled = digits + sum(map(str.isdigit, core)), False
        elif core in SMALL_DIGITS and (told or digits or spelled) and (lettered or _goes_on(cores, at + 1, told=told)):
            piece = _renamed(pieces, at, 1, SMALL_DIGITS[core])
            digits, spelled = digits + 1, False
        elif letter := _letter(cores, at, digits, spelled=spelled, told=told):
            name, used = letter
            piece, digits, spelled, lettered = _renamed(pieces, at, used, name), 0, True, True
        else:
            digits, spelled, lettered = 0, False, False
        units.append(piece)
        at += used
    return units


def _core(text: str) -> str:
    """Without punctuation, in lower case, without accents; an accented single letter is a word, and keeps its accent."""
    bare = text.strip(_EDGES).lower()
    return bare if len(bare) == 1 or bare.isascii() else plain(bare)


def _is_part(cores: Sequence[str], at: int, language: str) -> bool:
    """Whether a word can be a part of a dictated number."""
    core = cores[at]
    return (
        has_digit(core)
        or is_number_word(core, language)
        or _names_letter(cores, at)
        or (core == "griega" and at > 0 and cores[at - 1] == "i")
    )


def _aside(cores: Sequence[str], parts: Sequence[bool], at: int, fillers: frozenset[str], *, address: bool) -> int:
    """How many words from ``at`` are said only between two parts of a number."""
    ahead = at
    while ahead < len(cores) and (cores[ahead] in fillers or (cores[ahead] in SIGNS and not address)):
        ahead += 1
    for phrase in _LETTER_PHRASES:
        if tuple(cores[ahead : ahead + len(phrase)]) == phrase and _names_letter(cores, ahead + len(phrase)):
            return ahead + len(phrase) - at
    return ahead - at if ahead < len(cores) and parts[ahead] else 0


def _names_letter(cores: Sequence[str], at: int) -> bool:
    if at >= len(cores):
        return False
    core = cores[at]
    return (len(core) == 1 and "a" <= core <= "z") or core in LETTERS or (core == "i" and cores[at + 1 : at + 2] == ["griega"])


def _letter(cores: Sequence[str], at: int, digits: int, *, spelled: bool, told: bool) -> tuple[str, int] | None:
    """The letter named at ``at``, beside a digit or another letter, and how many words name it."""
    core, used = cores[at], 2 if cores[at] == "i" and cores[at + 1 : at + 2] == ["griega"] else 1
    if not _names_letter(cores, at) or not (digits or spelled or _goes_on(cores, at + used, told=told)):
        return None
    if used == 2:
        return "Y", 2
    if len(core) == 1:
        return core.upper(), 1
    due = (
        digits in _IDENTITY_DIGITS or spelled or (at > 0 and len(cores[at - 1]) == 1) or _CONSONANT.match(" ".join(cores[at + 1 : at + 2]))
    )
    return (LETTERS[core], 1) if core not in WORDLIKE or due else None


def _goes_on(cores: Sequence[str], at: int, *, told: bool) -> bool:
    if at >= len(cores):
        return False
    return has_digit(cores[at]) or cores[at] == _HALF_A_DOZEN or _names_letter(cores, at) or (told and cores[at] in SMALL_DIGITS)


def _renamed(pieces: Sequence[Piece], at: int, used: int, name: str) -> Piece:
    """The words from ``at`` as one letter or digit, with the punctuation after them."""
    last = pieces[at + used - 1]
    return Piece(name + last.text[len(last.text.rstrip(_EDGES)) :], pieces[at].first, last.last)
