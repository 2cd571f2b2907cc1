"""How people say a number, as a recogniser writes it: lower case, no punctuation, digit by digit or in groups, with what they say in between."""

import re
from random import Random
from typing import Final

_PT: Final = [
    "zero",
    "um",
    "dois",
    "três",
    "quatro",
    "cinco",
    "seis",
    "sete",
    "oito",
    "nove",
    "dez",
    "onze",
    "doze",
    "treze",
    "catorze",
    "quinze",
    "dezesseis",
    "dezessete",
    "dezoito",
    "dezenove",
]
_ES: Final = [
    "cero",
    "uno",
    "dos",
    "tres",
    "cuatro",
    "cinco",
    "seis",
    "siete",
    "ocho",
    "nueve",
    "diez",
    "once",
    "doce",
    "trece",
    "catorce",
    "quince",
    "dieciséis",
    "diecisiete",
    "dieciocho",
    "diecinueve",
    "veinte",
    "veintiuno",
    "veintidós",
    "veintitrés",
    "veinticuatro",
    "veinticinco",
    "veintiséis",
    "veintisiete",
    "veintiocho",
    "veintinueve",
]
_TENS: Final = {
    "pt": ["_", "_", "vinte", "trinta", "quarenta", "cinquenta", "sessenta", "setenta", "oitenta", "noventa"],
    "es": ["_", "_", "veinte", "treinta", "cuarenta", "cincuenta", "sesenta", "setenta", "ochenta", "noventa"],
}
_HUNDREDS: Final = {
    "pt": ["_", "cento", "duzentos", "trezentos", "quatrocentos", "quinhentos", "seiscentos", "setecentos", "oitocentos", "novecentos"],
    "es": [
        "_",
        "ciento",
        "doscientos",
        "trescientos",
        "cuatrocientos",
        "quinientos",
        "seiscientos",
        "setecientos",
        "ochocientos",
        "novecientos",
    ],
}
_SIGNS: Final = {
    "pt": {".": "ponto", "-": "traço", "/": "barra", "@": "arroba", "_": "underline"},
    "es": {".": "punto", "-": "guion", "/": "barra", "@": "arroba", "_": "guion bajo"},
}
_FILLERS: Final = {"pt": ("é", "hã", "ahn"), "es": ("eh", "este")}
_NAMED_LETTERS: Final = {
    "pt": {"X": "xis", "Y": "ípsilon", "Z": "zê"},
    "es": {"X": "equis", "Y": "i griega", "Z": "zeta", "B": "be", "C": "ce", "D": "de", "F": "efe", "G": "ge", "H": "hache", "J": "jota"}
    | {"K": "ka", "L": "ele", "M": "eme", "N": "ene", "P": "pe", "Q": "cu", "R": "erre", "S": "ese", "T": "te", "V": "uve"},
}
_MILLION: Final = 1_000_000


def cardinal(number: int, language: str) -> str:
    """Below ten million, in words."""
    if number >= _MILLION:
        millions, rest = divmod(number, _MILLION)
        name = {"pt": ("um milhão", "milhões"), "es": ("un millón", "millones")}[language]
        head = name[0] if millions == 1 else f"{cardinal(millions, language)} {name[1]}"
        return f"{head} {cardinal(rest, language)}" if rest else head
    if number >= 1000:
        thousands, rest = divmod(number, 1000)
        head = "mil" if thousands == 1 else f"{before_noun(thousands, language)} mil"
        joint = " e " if language == "pt" and rest and (rest < 100 or rest % 100 == 0) else " "
        return f"{head}{joint}{cardinal(rest, language)}" if rest else head
    return _below_thousand(number, language)


def before_noun(number: int, language: str) -> str:
    """In words before ``euros`` or ``mil``: Spanish ``veintiuno`` becomes ``veintiún``."""
    words = cardinal(number, language)
    if language != "es" or not words.endswith("uno"):
        return words
    return words.removesuffix("veintiuno") + "veintiún" if words.endswith("veintiuno") else words[:-1]


def digits(value: str, language: str, random: Random) -> list[str]:
    """Digit by digit; a Brazilian's six is often ``meia``."""
    half = language == "pt" and random.random() < 0.6
    return ["meia" if sign == "6" and half else {"pt": _PT, "es": _ES}[language][int(sign)] for sign in value]


def spoken_id(value: str, language: str, random: Random) -> str:
    """An identifier as it is said. Its punctuation tells the groups; it may be said too."""
    style = random.choice(("digits", "digits", "groups", "mixed"))
    say_signs, hesitant = random.random() < 0.2, random.random() < 0.15
    words: list[str] = []
    for part in re.findall(r"\d+|[A-Za-z]|[^\dA-Za-z\s]|\s", value):
        if part.isdigit():
            words += _group(part, language, random, style)
        elif part.isalpha():
            named = _NAMED_LETTERS[language].get(part) if random.random() < 0.5 else None
            words.append(named or part.lower())
        elif say_signs and part in _SIGNS[language]:
            words.append(_SIGNS[language][part])
        if hesitant and words and random.random() < 0.25 and part.isdigit():
            words.append(random.choice(_FILLERS[language]))
    while words[-1] in _FILLERS[language]:
        words.pop()
    return " ".join(words)


def spoken_email(value: str, language: str, random: Random) -> str:
    """``joao.silva@gmail.com``: joao ponto silva arroba gmail ponto com. Digits are said one by one."""
    words: list[str] = []
    for part in re.findall(r"[a-z]+|\d|[^a-z\d]", value):
        words += digits(part, language, random) if part.isdigit() else [_SIGNS[language].get(part, part)]
    return " ".join(words)


def _group(part: str, language: str, random: Random, style: str) -> list[str]:
    if style == "digits" or (style == "mixed" and random.random() < 0.5):
        return digits(part, language, random)
    size = 3 if len(part) in {3, 6} and random.random() < 0.5 else 2
    words: list[str] = []
    for start in range(0, len(part), size):
        chunk = part[start : start + size]
        words += digits(chunk, language, random) if chunk.startswith("0") else [cardinal(int(chunk), language)]
    return words


def _below_thousand(number: int, language: str) -> str:
    small = {"pt": _PT, "es": _ES}[language]
    if number < len(small):
        return small[number]
    joint = {"pt": " e ", "es": " y "}[language]
    if number < 100:
        ten, one = divmod(number, 10)
        return _TENS[language][ten] + (f"{joint}{small[one]}" if one else "")
    if number == 100:
        return {"pt": "cem", "es": "cien"}[language]
    hundred, rest = divmod(number, 100)
    head = _HUNDREDS[language][hundred]
    return f"{head}{' e ' if language == 'pt' else ' '}{_below_thousand(rest, language)}" if rest else head
