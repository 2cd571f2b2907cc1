"""Numbers that name people, invented from a seed, with check digits computed here: the detectors are judged by arithmetic that is not theirs."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from random import Random
from types import MappingProxyType

_LETTERS = "TRWAGMYFPDXBNJZSQVHLCKE"
"""Of a Spanish DNI or NIE, by the number modulo 23."""
_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def cpf(random: Random) -> str:
    """``529.982.247-25``: two check digits, modulo 11."""
    digits = _digits(random, 9)
    for _ in range(2):
        digits += _modulo_11(digits, range(len(digits) + 1, 1, -1))
    return f"{digits[:3]}.{digits[3:6]}.{digits[6:9]}-{digits[9:]}"


def cnpj(random: Random) -> str:
    """``16.727.230/0001-97``."""
    return _cnpj(_digits(random, 8) + f"{random.choice((1, 1, 1, 2, random.randrange(1, 100))):04}")


def cnpj_alphanumeric(random: Random) -> str:
    """``12.ABC.345/01DE-35``, as given out from July 2026: letters count as their character code less 48."""
    root = "".join(random.choice("0123456789" + _ALPHABET) for _ in range(11)) + random.choice(_ALPHABET)
    return _cnpj(root)


def rg(random: Random) -> str:
    """``12.345.678-9``, as São Paulo writes it; the check digit may be X."""
    digits = str(random.randrange(10, 60)) + _digits(random, 6)
    rest = sum(int(digit) * weight for digit, weight in zip(digits, range(2, 10), strict=True)) % 11
    check = "0" if rest == 0 else "X" if rest == 1 else str(11 - rest)
    return f"{digits[:2]}.{digits[2:5]}.{digits[5:]}-{check}"


def cep(random: Random) -> str:
    """``01310-100``."""
    return f"{random.randrange(1000, 99999):05}-{random.choice((0, 0, 100, random.randrange(1000))):03}"


def nif(random: Random) -> str:
    """``501 442 600``: Portuguese, one check digit, modulo 11."""
    digits = random.choice("1235") + _digits(random, 7)
    digits += _modulo_11(digits, range(9, 1, -1))
    return f"{digits[:3]} {digits[3:6]} {digits[6:]}"


def dni(random: Random) -> str:
    """``12345678-Z``."""
    number = random.randrange(10_000_000, 80_000_000)
    return f"{number}-{_LETTERS[number % 23]}"


def nie(random: Random) -> str:
    """``X-1234567-L``: the first letter counts as 0, 1 or 2."""
    first, number = random.randrange(3), random.randrange(10_000_000)
    return f"{'XYZ'[first]}-{number:07}-{_LETTERS[(first * 10_000_000 + number) % 23]}"


def iban(random: Random, country: str) -> str:
    """``PT50 0002 0123 1234 5678 9015 4``: modulo 97, and the account's own check digits in Portugal and Spain."""
    account = {"PT": _account_pt, "ES": _account_es}.get(country, _account_br)(random)
    number = int("".join(str(int(sign, 36)) for sign in f"{account}{country}00"))
    whole = f"{country}{98 - number % 97:02}{account}"
    return " ".join(whole[start : start + 4] for start in range(0, len(whole), 4))


def card(random: Random) -> str:
    """``4111 1111 1111 1111``: sixteen digits, or fifteen of an American Express; Luhn."""
    prefix, length = random.choice((("4", 16), ("4", 16), ("51", 16), ("55", 16), ("37", 15), ("636368", 16), ("2300", 16)))
    digits = prefix + _digits(random, length - len(prefix) - 1)
    total = sum(sum(divmod(int(digit) * (2 - place % 2), 10)) for place, digit in enumerate(reversed(digits)))
    digits += str(-total % 10)
    groups = (0, 4, 10, 15) if length == 15 else (0, 4, 8, 12, 16)
    return " ".join(digits[start:end] for start, end in itertools.pairwise(groups))


def phone(random: Random, country: str) -> str:
    """National, in groups as people say it: ``11 98765 4321``, ``912 345 678``, ``612 34 56 78``."""
    if country == "PT":
        digits = random.choice(("91", "92", "93", "96", "21", "22")) + _digits(random, 7)
        return f"{digits[:3]} {digits[3:6]} {digits[6:]}"
    if country == "ES":
        digits = random.choice("669") + str(random.randrange(1, 9)) + _digits(random, 7)
        return f"{digits[:3]} {digits[3:5]} {digits[5:7]} {digits[7:]}"
    area = random.choice((11, 21, 31, 41, 47, 51, 61, 71, 81, 85, 19))
    number = f"9{random.randrange(6, 10)}{_digits(random, 3)}" if random.random() < 0.75 else f"3{_digits(random, 3)}"
    return f"{area} {number} {_digits(random, 4)}"


def protocol(random: Random) -> str:
    """Up to six digits: what a call centre gives a request, no one's own number."""
    return str(random.randrange(1000, 1_000_000))


KINDS: Mapping[str, Callable[[Random], str]] = MappingProxyType(
    {
        "CPF": cpf,
        "CNPJ": cnpj,
        "CNPJ_ALPHANUMERIC": cnpj_alphanumeric,
        "RG": rg,
        "CEP": cep,
        "NIF": nif,
        "NIE": nie,
        "DNI": dni,
        "CARD": card,
        "IBAN_BR": lambda random: iban(random, "BR"),
        "IBAN_PT": lambda random: iban(random, "PT"),
        "IBAN_ES": lambda random: iban(random, "ES"),
        "PHONE_BR": lambda random: phone(random, "BR"),
        "PHONE_BR_LOCAL": lambda random: phone(random, "BR")[3:],
        "PHONE_PT": lambda random: phone(random, "PT"),
        "PHONE_ES": lambda random: phone(random, "ES"),
    }
)
"""What templates name, and how it is invented; the part before the first underscore is the kind that is looked for."""


def misheard(value: str, random: Random) -> str:
    """The same with one digit wrong, as recognition errs."""
    place = random.choice([place for place, sign in enumerate(value) if sign.isdigit()])
    return value[:place] + str((int(value[place]) + random.randrange(1, 10)) % 10) + value[place + 1 :]


def _digits(random: Random, count: int) -> str:
    return f"{random.randrange(10**count):0{count}}"


def _modulo_11(digits: str, weights: Sequence[int]) -> str:
    rest = sum((ord(digit) - 48) * weight for digit, weight in zip(digits, weights, strict=True)) % 11
    return "0" if rest < 2 else str(11 - rest)


def _cnpj(root: str) -> str:
    weights = (6, 5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2)
    whole = root + _modulo_11(root, weights[1:])
    whole += _modulo_11(whole, weights)
    return f"{whole[:2]}.{whole[2:5]}.{whole[5:8]}/{whole[8:12]}-{whole[12:]}"


def _account_pt(random: Random) -> str:
    digits = random.choice(("0002", "0010", "0018", "0033", "0035")) + _digits(random, 15)
    return f"{digits}{98 - int(digits + '00') % 97:02}"


def _account_es(random: Random) -> str:
    bank, account = random.choice(("2100", "0049", "0182", "2085")) + _digits(random, 4), _digits(random, 10)
    weights = (1, 2, 4, 8, 5, 10, 9, 7, 3, 6)

    def check(digits: str) -> str:
        rest = 11 - sum(int(digit) * weight for digit, weight in zip(digits, weights, strict=True)) % 11
        return str({10: 1, 11: 0}.get(rest, rest))

    return bank + check("00" + bank) + check(account) + account


def _account_br(random: Random) -> str:
    return _digits(random, 23) + random.choice("CP") + random.choice("12")
