"""What is looked for."""

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """A kind of personal data. Its mask is its name in brackets."""

    CPF = "CPF"
    """Brazilian person."""
    CNPJ = "CNPJ"
    """Brazilian company: digits, or letters and digits as from July 2026."""
    RG = "RG"
    """Brazilian identity card."""
    CEP = "CEP"
    """Brazilian postal code, which can be one house."""
    NIF = "NIF"
    """Portuguese tax number; Spanish companies' too."""
    NIE = "NIE"
    """Spanish foreigner's number."""
    DNI = "DNI"
    """Spanish identity card, which is also its holder's tax number."""
    IBAN = "IBAN"
    CARD = "CARD"
    PHONE = "PHONE"
    EMAIL = "EMAIL"
    NAME = "NAME"
    """One that the call or the tenant lists."""
    NUMBER = "NUMBER"
    """Seven digits or more that nothing explains."""

    @property
    def mask(self) -> str:
        """What is shown instead."""
        return f"[{self.value}]"


@dataclass(frozen=True, slots=True)
class Found:
    """Something personal, by the indices of its first and last piece, inclusive."""

    kind: Kind
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Match:
    """Something personal, by the characters of a `View`."""

    kind: Kind
    start: int
    end: int
    whole: bool = True
    """Nothing that could follow would make more of it: a valid check digit, a written form, an address with its domain."""
