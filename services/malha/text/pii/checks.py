"""Check digits and numbering plans."""

import phonenumbers
from stdnum import iban, luhn
from stdnum.br import cnpj, cpf
from stdnum.es import cif, dni, nie
from stdnum.pt import nif

REGIONS = {"pt": ("BR", "PT"), "es": ("ES", "MX", "AR", "CO"), "en": ("US", "GB")}
"""Whose national numbers are tried, by language."""
_CARD_LENGTHS = range(13, 20)
_IBAN_LENGTHS = {
    "PT": 25,
    "ES": 24,
    "BR": 29,
    "DE": 22,
    "FR": 27,
    "IT": 27,
    "GB": 22,
    "NL": 18,
    "BE": 16,
    "CH": 21,
    "IE": 22,
    "LU": 20,
    "AD": 24,
}


def is_cpf(digits: str) -> bool:
    """Whether these are a CPF. One digit eleven times is none, though its check digits fit."""
    return len(digits) == 11 and digits.count(digits[0]) < 11 and cpf.is_valid(digits)


def is_cnpj(signs: str) -> bool:
    """Whether these digits, or upper-case letters and digits, are a CNPJ."""
    return len(signs) == 14 and len(set(signs)) > 1 and signs[-2:].isdigit() and cnpj.is_valid(signs)


def is_card(digits: str) -> bool:
    """Whether Luhn's sum fits and an issuer has numbers that begin so (ISO/IEC 7812: 2 to 6)."""
    return len(digits) in _CARD_LENGTHS and digits[0] in "23456" and luhn.is_valid(digits)


def is_nif(digits: str) -> bool:
    """Whether these are a Portuguese NIF."""
    return len(digits) == 9 and len(set(digits)) > 1 and nif.is_valid(digits)


def is_dni(digits: str, letter: str) -> bool:
    """Whether the letter is that of the number. The number may lack its leading zero."""
    return len(digits) in {7, 8} and dni.is_valid(digits.zfill(8) + letter)


def is_nie(first: str, digits: str, letter: str) -> bool:
    """Whether these are a NIE."""
    return len(digits) == 7 and nie.is_valid(first + digits + letter)


def is_cif(first: str, digits: str, last: str) -> bool:
    """Whether these are a Spanish company's number, which ends in a digit or a letter."""
    return len(digits + last) == 8 and cif.is_valid(first + digits + last)


def iban_length(country: str) -> int:
    """Of a country's IBAN; 0 where none is known."""
    return _IBAN_LENGTHS.get(country, 0)


def is_iban(signs: str) -> bool:
    """Whether its check digits fit (ISO 13616)."""
    return iban.is_valid(signs, check_country=False)


def is_phone(digits: str, language: str, *, international: bool = False) -> bool:
    """Whether a numbering plan has this number: that of its country code, or those of the countries that speak ``language``."""
    if not 7 <= len(digits) <= 15:
        return False
    if international or (len(digits) > 10 and digits.startswith(("55", "351", "34"))):
        return _is_valid(f"+{digits}", None)
    return any(_is_valid(digits, region) for region in REGIONS.get(language, ("BR", "PT", "ES", "US")))


def _is_valid(number: str, region: str | None) -> bool:
    try:
        return phonenumbers.is_valid_number(phonenumbers.parse(number, region))
    except phonenumbers.NumberParseException:
        return False
