"""Texts of calls with planted personal numbers, generated from a seed: the same seed, the same texts."""

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

from malha.bench.pii_ids import KINDS, misheard, protocol
from malha.bench.pii_speech import before_noun, cardinal, digits, spoken_email, spoken_id
from malha.bench.pii_templates import HARMLESS, LISTED, MODELS, MONTHS, PERSONAL, UNLISTED

LANGUAGES: Final = ("pt", "es")
_MISHEARD_SHARE: Final = 0.08
"""Of identifiers in a sentence that says what they are."""
_SAID_WHAT: Final = re.compile(r"\b(cpf|cnpj|rg|identidade|cep|cart[ãa]o|iban|nif|contribuinte|dni|nie|tarjeta)\b", re.IGNORECASE)
_PLACE: Final = re.compile(r"\{(\w+)\}")
_PUNCTUATION: Final = re.compile(r"[^\w\s-]")
"""A hyphen within a word stays."""
_HARMLESS_SORT: Final = 4


@dataclass(frozen=True, slots=True)
class Span:
    """Something personal in a text, by its whitespace tokens."""

    kind: str
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Sample:
    """A text, and what must not be seen of it."""

    text: str
    language: str
    spans: tuple[Span, ...]
    spoken: bool
    """Lower case, numbers as words, no punctuation."""
    names: tuple[str, ...]
    """That the call lists."""
    others: tuple[Span, ...] = ()
    """Personal too, and not looked for."""


def generate(count: int, seed: int) -> Iterator[Sample]:
    """``count`` texts: two in five written, two in five spoken, one in five without anything personal, half of those spoken."""
    random = Random(seed)  # noqa: S311 - texts that can be made again, no secrets
    for number in range(count):
        language, sort = LANGUAGES[number % 2], number // 2 % 5
        templates = (HARMLESS if sort == _HARMLESS_SORT else PERSONAL)[language]
        spoken = sort in {1, 3} or (sort == _HARMLESS_SORT and random.random() < 0.5)
        yield _sample(random.choice(templates), Voice(language, random, spoken))


@dataclass(frozen=True, slots=True)
class Voice:
    """Who writes or speaks a text."""

    language: str
    random: Random
    spoken: bool


def _sample(template: str, voice: Voice) -> Sample:
    names = tuple(voice.random.sample(LISTED[voice.language], 2))
    told = bool(_SAID_WHAT.search(_PLACE.sub("", template)))
    text, planted = "", []
    for number, part in enumerate(_PLACE.split(template)):
        if number % 2:
            value = _personal(part, voice, names, told=told) if part.isupper() else _harmless(part, voice)
            planted += [(part.partition("_")[0], len(text), len(text) + len(value))] if part.isupper() else []
            text += value
        else:
            text += _PUNCTUATION.sub("", part).lower() if voice.spoken else part
    words = [match.span() for match in re.finditer(r"\S+", text)]
    return Sample(text, voice.language, tuple(_span(words, *place) for place in planted), voice.spoken, names)


def _span(words: Sequence[tuple[int, int]], kind: str, start: int, end: int) -> Span:
    touched = [number for number, (first, last) in enumerate(words) if first < end and start < last]
    return Span(kind, touched[0], touched[-1])


def _personal(place: str, voice: Voice, names: Sequence[str], *, told: bool) -> str:
    random = voice.random
    if place == "NAME":
        name = random.choice(names)
        name = _plain(name) if random.random() < 0.1 else name
        return name.lower() if voice.spoken else name
    if place == "EMAIL":
        address = _email(voice)
        return spoken_email(address, voice.language, random) if voice.spoken else address
    value = KINDS[place](random)
    if told and random.random() < _MISHEARD_SHARE:
        value = misheard(value, random)
    if voice.spoken:
        return spoken_id(value, voice.language, random)
    return _written_phone(place, value, random) if place.startswith("PHONE") else _written(value, random)


def _written(value: str, random: Random) -> str:
    """In full, without any sign, or with blanks for signs."""
    style = random.random()
    if style < 0.5:
        return value
    plain = re.sub(r"[^\dA-Za-z]", "", value)
    if style < 0.85:
        return plain
    return value.replace(" ", "-") if " " in value and plain.isdigit() else re.sub(r"[^\dA-Za-z]", " ", value)


def _written_phone(place: str, value: str, random: Random) -> str:
    if place == "PHONE_BR":
        area, head, tail = value.split()
        forms = (
            f"({area}) {head}-{tail}",
            f"{area} {head}-{tail}",
            f"+55 {area} {head}-{tail}",
            f"({area}){head}{tail}",
            f"{area}{head}{tail}",
            value,
        )
        return random.choice(forms)
    if place == "PHONE_BR_LOCAL":
        return random.choice((value.replace(" ", "-"), value.replace(" ", ""), value))
    country = {"PHONE_PT": "+351", "PHONE_ES": "+34"}[place]
    return random.choice(
        (value, value.replace(" ", ""), f"{country} {value}", f"{country}{value.replace(' ', '')}", value.replace(" ", "-"))
    )


def _email(voice: Voice) -> str:
    random = voice.random
    first, *_, last = _plain(random.choice(LISTED[voice.language])).lower().split()
    local = random.choice(
        (f"{first}.{last}", f"{first}{last}", first, f"{first}_{last}", f"{first}{random.randrange(10, 100)}", f"{first[0]}.{last}")
    )
    domains = {
        "pt": ("gmail.com", "hotmail.com", "uol.com.br", "empresa.com.br", "sapo.pt"),
        "es": ("gmail.com", "hotmail.com", "yahoo.es", "empresa.es"),
    }
    return f"{local}@{random.choice(domains[voice.language])}"


def _plain(text: str) -> str:
    """Without accents."""
    return "".join(sign for sign in unicodedata.normalize("NFD", text) if not unicodedata.combining(sign))


def _harmless(place: str, voice: Voice) -> str:
    return _HARMLESS[place](voice)


def _number(low: int, high: int) -> Callable[[Voice], str]:
    def tell(voice: Voice) -> str:
        number = voice.random.randrange(low, high)
        return cardinal(number, voice.language) if voice.spoken else str(number)

    return tell


def _large(low: int, high: int) -> Callable[[Voice], str]:
    """With points between thousands where it is written."""

    def tell(voice: Voice) -> str:
        number = voice.random.randrange(low, high)
        return cardinal(number, voice.language) if voice.spoken else f"{number:,}".replace(",", ".")

    return tell


def _amount(voice: Voice) -> str:
    random, pt = voice.random, voice.language == "pt"
    whole, cents = (
        random.choice((random.randrange(10, 300), random.randrange(300, 9000))),
        random.choice((0, 50, 90, random.randrange(1, 100))),
    )
    if voice.spoken:
        unit, joint, cent = ("reais", "e", "centavos") if pt else ("euros", "con", "céntimos")
        return f"{before_noun(whole, voice.language)} {unit}" + (
            f" {joint} {before_noun(cents, voice.language)} {cent}" if cents > 1 else ""
        )
    number = f"{whole:,}".replace(",", ".") + (f",{cents:02}" if cents else "")
    return random.choice((f"R$ {number}", f"R${number}", f"{number} reais") if pt else (f"{number} €", f"{number} euros", f"{number}€"))


def _date(voice: Voice) -> str:
    random = voice.random
    day, month, year = random.randrange(2, 29), random.randrange(1, 13), random.randrange(1955, 2027)
    name = MONTHS[voice.language][month - 1]
    if voice.spoken:
        return f"{cardinal(day, voice.language)} de {name} de {cardinal(year, voice.language)}"
    return random.choice(
        (
            f"{day:02}/{month:02}/{year}",
            f"{day} de {name} de {year}",
            f"{day:02}-{month:02}-{year}",
            f"{year}-{month:02}-{day:02}",
            f"{day} de {name}",
        )
    )


def _time(voice: Voice) -> str:
    random, hour, minute = voice.random, voice.random.randrange(7, 23), voice.random.choice((0, 15, 30, 45))
    if voice.spoken:
        joint = {"pt": "e", "es": "y"}[voice.language]
        return cardinal(hour, voice.language) + (f" {joint} {cardinal(minute, voice.language)}" if minute else "")
    return random.choice(
        (f"{hour}:{minute:02}", f"{hour}h{minute:02}" if voice.language == "pt" else f"{hour}:{minute:02} h", f"{hour:02}:{minute:02}")
    )


def _percent(voice: Voice) -> str:
    number = voice.random.randrange(2, 80)
    if voice.spoken:
        return f"{cardinal(number, voice.language)} {'por cento' if voice.language == 'pt' else 'por ciento'}"
    return voice.random.choice((f"{number}%", f"{number},5%", f"{number} %"))


def _expiry(voice: Voice) -> str:
    month, year = voice.random.randrange(1, 13), voice.random.randrange(26, 34)
    if voice.spoken:
        return f"{cardinal(month, voice.language)} de {cardinal(2000 + year, voice.language)}"
    return f"{month:02}/{year}"


def _protocol(voice: Voice) -> str:
    value = protocol(voice.random)
    return " ".join(digits(value, voice.language, voice.random)) if voice.spoken else value


_HARMLESS: Final[Mapping[str, Callable[[Voice], str]]] = {
    "amount": _amount,
    "date": _date,
    "time": _time,
    "year": _number(1990, 2027),
    "protocol": _protocol,
    "quantity": _number(2, 1200),
    "last4": lambda voice: _spaced(f"{voice.random.randrange(10_000):04}", voice),
    "percent": _percent,
    "model": lambda voice: voice.random.choice(MODELS).lower() if voice.spoken else voice.random.choice(MODELS),
    "large": lambda voice: (
        ("" if voice.spoken or voice.language == "es" else "R$ ") + _large(1_000_000, 9_000_000)(voice) + _currency(voice)
    ),
    "population": _large(20_000, 9_000_000),
    "expiry": _expiry,
    "name": lambda voice: (
        voice.random.choice(UNLISTED[voice.language]).lower() if voice.spoken else voice.random.choice(UNLISTED[voice.language])
    ),
}


def _spaced(value: str, voice: Voice) -> str:
    return " ".join(digits(value, voice.language, voice.random)) if voice.spoken else value


def _currency(voice: Voice) -> str:
    if voice.language == "es":
        return " euros" if voice.spoken else " €"
    return " de reais" if voice.spoken else ",00"
