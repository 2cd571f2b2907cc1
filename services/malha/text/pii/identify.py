"""What one run of digits is, by itself: check digits, letters beside it, numbering plans."""

import re

from malha.text.pii.checks import is_card, is_cif, is_cnpj, is_cpf, is_dni, is_nie, is_nif, is_phone
from malha.text.pii.kinds import Kind, Match
from malha.text.pii.run import Run

LENGTHS = frozenset(range(7, 20))
"""Digits of what can be told from itself."""
_LETTER_BEFORE = re.compile(r"(?<!\w)(?P<letter>[a-z])[ .-]{0,3}$")
_LETTER_AFTER = re.compile(r"(?P<gap>[ .-]{0,3})(?P<letter>[a-z])(?!\w)")
_PREFIX = re.compile(r"(?:\+ ?)?\(?$")
_WORDS_OF_ONE_LETTER = frozenset("AEOUY")
_TOLD = frozenset({Kind.PHONE, Kind.CARD, Kind.CPF, Kind.NIF})
"""Kinds whose numbers have no other sign than their length, where "my phone is" stands just before."""


def identified(run: Run) -> Match | None:
    """All of the run as one number."""
    if len(run.digits) not in LENGTHS:
        return None
    before, after = letters(run)
    kind = _lettered(run, before, after) or (_plain(run) if len(run.digits) > 8 else None)
    return match(run, kind) if kind else None


def match(run: Run, kind: Kind, *, whole: bool = True) -> Match:
    """With the sign, the parenthesis and the letters that belong to it."""
    start, end = run.start, run.end
    if prefix := _PREFIX.search(run.plain, max(0, start - 3), start):
        start = prefix.start()
    before, after = _LETTER_BEFORE.search(run.plain[max(0, start - 5) : start]), _LETTER_AFTER.match(run.plain, end)
    if before and len(run.digits) <= 8 and _belongs_before(run, kind, before["letter"].upper()):
        start -= len(before.group())
    if after and _belongs_after(run, kind, after["letter"].upper(), said="-" in after["gap"]):
        end = after.end()
    elif kind is Kind.NUMBER and run.plain[end : end + 1].isalpha():
        end += 1
    return Match(kind, start, end, whole)


def letters(run: Run) -> tuple[str, str]:
    """The single letters just before and after the run, in upper case."""
    before, after = _LETTER_BEFORE.search(run.plain[max(0, run.start - 5) : run.start]), _LETTER_AFTER.match(run.plain, run.end)
    return before["letter"].upper() if before else "", after["letter"].upper() if after else ""


def _lettered(run: Run, before: str, after: str) -> Kind | None:
    """Spanish numbers, which end or begin with letters. Between letters that are no words, also with a wrong check letter."""
    digits, spanish = run.digits, run.language == "es"
    if len(digits) > 8:
        return None
    if before and after and (is_nie(before, digits, after) or (spanish and len(digits) == 7 and before in "XYZ" and _is_sign(after))):
        return Kind.NIE
    attached = run.end < len(run.plain) and not run.plain[run.end].isspace()
    if after and is_dni(digits, after) and (len(digits) == 8 or attached):
        return Kind.DNI
    if spanish and before and is_cif(before, digits, after if len(digits) == 7 else ""):
        return Kind.NIF
    return Kind.DNI if spanish and len(digits) == 8 and _is_sign(after) else None


def _plain(run: Run) -> Kind | None:
    digits, told = run.digits, run.told
    if told and told.adjacent and told.kind in _TOLD and told.fits(len(digits)) and not run.parted:
        return told.kind
    phoned = told is not None and told.kind is Kind.PHONE
    if not phoned and is_cpf(digits):
        return Kind.CPF
    if is_cnpj(digits):
        return Kind.CNPJ
    if not phoned and is_card(digits):
        return Kind.CARD
    tax = run.language == "pt" and is_nif(digits) and not phoned
    if tax and (digits[0] != "9" or (told is not None and told.kind is Kind.NIF)):
        return Kind.NIF
    international = "+" in run.plain[max(0, run.start - 3) : run.start]
    return Kind.PHONE if is_phone(digits, run.language, international=international) else None


def _belongs_before(run: Run, kind: Kind, letter: str) -> bool:
    return letter in "XYZ" if kind is Kind.NIE else kind is Kind.NIF and run.language == "es" and letter in "ABCDEFGHJNPQRSUVW"


def _belongs_after(run: Run, kind: Kind, letter: str, *, said: bool) -> bool:
    """``said``: a hyphen stands before it."""
    if kind is Kind.RG:
        return letter == "X"
    if kind is Kind.NIF:
        return run.language == "es" and len(run.digits) == 7 and letter in "ABCDEFGHIJ"
    if kind not in {Kind.DNI, Kind.NIE}:
        return False
    return said or _is_sign(letter) or is_dni(run.digits, letter) or any(is_nie(first, run.digits, letter) for first in "XYZ")


def _is_sign(letter: str) -> bool:
    """Whether a single letter is no word."""
    return bool(letter) and letter not in _WORDS_OF_ONE_LETTER
