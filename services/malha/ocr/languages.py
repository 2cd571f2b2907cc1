"""Which languages a model reads: those all of whose letters it knows."""

from collections.abc import Collection, Iterable
from typing import Final

from malha.runtime.errors import UnsupportedLanguage

_LATIN: Final = "abcdefghijklmnopqrstuvwxyz"
ALPHABETS: Final = {
    "pt": _LATIN + "áâãàçéêíóôõúü",
    "es": _LATIN + "áéíñóúü",
    "en": _LATIN,
    "ca": _LATIN + "àçèéíïòóúü·",
    "gl": _LATIN + "áéíñóúü",
    "fr": _LATIN + "àâçéèêëîïôùûüÿœæ",
    "it": _LATIN + "àèéìíòóùú",
    "de": _LATIN + "äöüß",
    "nl": _LATIN + "éëïóöü",
    "da": _LATIN + "æøå",
    "no": _LATIN + "æøå",
    "sv": _LATIN + "åäö",
    "fi": _LATIN + "åäö",
    "pl": _LATIN + "ąćęłńóśźż",
    "cs": _LATIN + "áčďéěíňóřšťúůýž",
    "hu": _LATIN + "áéíóöőúüű",
    "ro": _LATIN + "ăâîșț",
    "tr": "abcçdefgğhıijklmnoöprsştuüvyz",  # noqa: RUF001 - the dotless i is a letter of its own
    "id": _LATIN,
    "zh": "的一是不了在人有我他",
    "ja": "あいうえおアイウエオ",
    "ko": "가나다라마",
    "ru": "абвгдежзийклмнопрстуфхцчшщъыьэюя",
    "el": "αβγδεζηθικλμνξοπρστυφχψω",
    "ar": "ابتثجحخدذرزسشصضطظعغفقكلمنهوي",
}
"""By primary tag: its small letters (CLDR's main exemplars), of scripts with thousands of signs some of the commonest."""


def languages_of(characters: Collection[str]) -> tuple[str, ...]:
    """The languages that can be written with these characters; of the Latin ones the capitals are asked for too."""
    known = set(characters)

    def writes(letters: str) -> bool:
        return all(letter in known and (len(letter.upper()) > 1 or letter.upper() in known) for letter in letters)

    return tuple(tag for tag, letters in ALPHABETS.items() if writes(letters))


def check_languages(asked: Iterable[str], known: Collection[str], engine: str) -> None:
    """Raises UnsupportedLanguage for one that the engine does not read, listing those it does."""
    for tag in asked:
        if primary(tag) not in known:
            raise UnsupportedLanguage(
                f"engine {engine} does not read every language asked for: it reads {', '.join(sorted(known))}",
                violations={"open.languages": f"must be among {', '.join(sorted(known))}"},
            )


def primary(tag: str) -> str:
    """The language of a BCP 47 tag, without its region."""
    return tag.replace("_", "-").partition("-")[0].lower()
