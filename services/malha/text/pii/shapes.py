"""Written forms: those only one kind has, and those of numbers that name nobody."""

import re
from collections.abc import Iterator

from malha.text.pii.checks import iban_length, is_cnpj, is_iban
from malha.text.pii.kinds import Kind, Match
from malha.text.pii.words import CONTEXT, MONTHS

_FREE, _END = r"(?<![\w.,/+-])", r"(?![\w/-]|[.,]\d)"
_FORMS = (
    (Kind.CPF, re.compile(rf"{_FREE}\d{{3}}\.\d{{3}}\.\d{{3}}[-/]\d{{2}}(?![\d])")),
    (Kind.CNPJ, re.compile(rf"{_FREE}[0-9a-z]{{2}}\.[0-9a-z]{{3}}\.[0-9a-z]{{3}}/[0-9a-z]{{4}}-\d{{2}}(?!\w)")),
    (Kind.RG, re.compile(rf"{_FREE}(?:[a-z]{{2}}-?)?\d{{1,2}}\.\d{{3}}\.\d{{3}}-[\dx](?!\w)")),
    (Kind.CEP, re.compile(rf"{_FREE}\d{{2}}\.?\d{{3}}-\d{{3}}(?![\d-])")),
    (Kind.PHONE, re.compile(r"(?<![\w+(])(?:\+ ?55 ?)?\(0?[1-9]\d\) ?(?:9 ?)?\d{4}[ .-]?\d{4}(?!\d)")),
    (Kind.PHONE, re.compile(rf"{_FREE}(?:\+ ?55 ?)?(?:[1-9]\d )?9\d{{4}}-\d{{4}}(?![\d-])")),
)
"""Masked whether or not check digits fit: nothing else looks so."""

_CURRENCY = r"(?:r\$|us\$|\$|€|£|\beur\b|\busd\b|\bbrl\b)"
_MONTH_DAY = rf"\b(?:[0-2]?\d|3[01])º? (?:de |of )?(?:{MONTHS})\b(?: (?:de |del |of )?(?:19|20)\d\d\b)?"
_NO_ID = (
    rf"{_CURRENCY} ?\d+(?:[.,]\d+)*(?: mil\b)?",
    r"(?<![\w.,/+-])\d+(?:[.,]\d+)* ?(?:%|€|£|\$|por cento\b|por ciento\b|per ?cent\b)",
    rf"{_FREE}(?:[0-2]?\d|3[01])[/.-](?:0?\d|1[0-2])[/.-](?:(?:19|20)\d\d|\d\d){_END}",
    rf"{_FREE}(?:0?\d|1[0-2])/(?:[0-2]?\d|3[01])/(?:(?:19|20)\d\d|\d\d){_END}",
    rf"{_FREE}(?:19|20)\d\d[-/.](?:0?\d|1[0-2])[-/.](?:[0-2]?\d|3[01])(?!\d)",
    _MONTH_DAY,
    rf"\b(?:{MONTHS}) (?:[0-2]?\d|3[01])(?:st|nd|rd|th)?(?:,? (?:19|20)\d\d)?\b",
    rf"\b(?:{MONTHS}) (?:de |del |of )?(?:19|20)\d\d\b",
    r"(?<![\w.,/+-])[0-2]?\d(?::|h)[0-5]\d(?::[0-5]\d)?(?: ?h\b)?(?!\d)",
)
CLOSED = re.compile("|".join(_NO_ID))
"""Amounts with their currency, shares, dates, times: of a form that begins nobody's number. In a view's plain text."""
EXPLAINED = re.compile(
    "|".join(
        (
            *_NO_ID,
            rf"{_FREE}\d{{1,3}}(?:\.\d{{3}})+(?:,\d{{1,2}})?{_END}(?! ?[b-df-np-xz]\b)",
            rf"{_FREE}\d{{1,3}}(?:,\d{{3}})+(?:\.\d{{1,2}})?{_END}",
            rf"{_FREE}\d{{1,6}}[.,]\d{{1,2}}{_END}",
            rf"{_FREE}(?:0?\d|1[0-2])/(?:20)?\d\d{_END}",
        )
    )
)
"""These, and plain numbers with thousands or decimals told apart."""

GROUPED = re.compile(r"\d{1,3}(?:[.,]\d{3})+")

_IBAN = re.compile(r"(?<![\w])(?P<country>[a-z] ?[a-z]) ?(?P<rest>\d ?\d(?:[ .-]{0,2}[0-9a-z]){11,40})")
_CHUNK = re.compile(r"[0-9a-z](?:[0-9a-z./-]*[0-9a-z])?")
_CNPJ_LENGTH = 14
_CHECK_DIGITS = 2
"""At its end; all before may be letters, but without a word that tells of a CNPJ that is taken for a word."""
_GAP = 2
"""Characters between groups: a blank, and a sign that was said."""


def forms(plain: str) -> Iterator[Match]:
    """Numbers in a form that only one kind has, in a view's plain text."""
    for kind, form in _FORMS:
        for match in form.finditer(plain):
            yield Match(kind, match.start(), match.end())


def ibans(plain: str) -> Iterator[Match]:
    """IBANs: of their country's length, and of digits for the most part. Their check digits may be misheard."""
    place = 0
    while match := _IBAN.search(plain, place):
        place = match.start() + 1
        country = match["country"].replace(" ", "").upper()
        places = [at for at in range(match.start("rest"), match.end()) if plain[at].isalnum()][: iban_length(country) - 2]
        if len(places) != iban_length(country) - 2:
            continue
        end = places[-1] + 1
        signs = country + "".join(plain[at] for at in places).upper()
        if (end == len(plain) or not plain[end].isalnum()) and (is_iban(signs) or sum(map(str.isdigit, signs)) >= len(signs) - 4):
            yield Match(Kind.IBAN, match.start(), end)
            place = end


def lettered_cnpjs(text: str, plain: str, *, told: bool) -> Iterator[Match]:
    """CNPJs with letters, however they are grouped: by their check digits, or where the text tells that one comes (``told``)."""
    chunks = [match.span() for match in _CHUNK.finditer(plain)]
    number = 0
    while number < len(chunks):
        end, signs, ahead = 0, "", number
        while (
            ahead < len(chunks)
            and len(signs) < _CNPJ_LENGTH
            and _is_chunk(text, *chunks[ahead], apart=chunks[ahead][0] - end if end else 1)
        ):
            end = chunks[ahead][1]
            signs += "".join(filter(str.isalnum, plain[chunks[ahead][0] : end])).upper()
            ahead += 1
        if (
            len(signs) == _CNPJ_LENGTH
            and not signs.isdigit()
            and (sum(map(str.isdigit, signs)) > _CHECK_DIGITS or told)
            and (is_cnpj(signs) or (told and signs[-2:].isdigit()))
        ):
            yield Match(Kind.CNPJ, chunks[number][0], end)
            number = ahead
        else:
            number += 1


def _is_chunk(text: str, start: int, end: int, *, apart: int) -> bool:
    """Digits, a single capital (a view writes spelled letters so), or a mix; words of letters only as capitals."""
    chunk = text[start:end]
    return apart <= _GAP and (any(map(str.isdigit, chunk)) or (chunk.isupper() and end - start <= 4 and chunk.lower() not in CONTEXT))
