"""espeak-ng's reading of an English word in ARPAbet, the phones of CMU's dictionary and of PocketSphinx's acoustic model.

Its rules know numbers, abbreviations and names that no dictionary has. The library's state is global: one thread of a process uses it.
"""

import ctypes
import re
from typing import Any, Final

import espeakng_loader

_SYNCHRONOUS: Final = 2
_DONT_EXIT: Final = 0x8000
_UTF8: Final = 1
_SEPARATED: Final = ord("_") << 8
"""Phonemes by their ASCII names (espeak-ng, docs/phonemes.md) with this between."""

ARPABET: Final = {
    "?": "",
    "0": "AA",
    "0#": "AA",
    "3": "ER",
    "3:": "ER",
    "@": "AH",
    "@-": "AH",
    "@2": "AH",
    "@5": "AH",
    "@L": "AH L",
    "A:": "AA",
    "A@": "AA R",
    "A:@": "AA R",
    "a": "AE",
    "aa": "AE",
    "a#": "AH",
    "aI": "AY",
    "aI@": "AY AH",
    "aI3": "AY ER",
    "aU": "AW",
    "aU@": "AW ER",
    "D": "DH",
    "E": "EH",
    "E#": "IH",
    "E2": "EH",
    "e@": "EH R",
    "eI": "EY",
    "I": "IH",
    "I#": "IH",
    "I2": "IH",
    "i": "IY",
    "i:": "IY",
    "i@": "IY AH",
    "i@3": "IH R",
    "N": "NG",
    "O": "AO",
    "O2": "AO",
    "O:": "AO",
    "O@": "AO R",
    "o@": "AO R",
    "OI": "OY",
    "oU": "OW",
    "oU#": "OW",
    "S": "SH",
    "T": "TH",
    "tS": "CH",
    "dZ": "JH",
    "t#": "T",
    "t2": "T",
    "U": "UH",
    "U@": "UH R",
    "u": "UW",
    "u:": "UW",
    "V": "AH",
    "V3": "AH",
    "VR": "ER",
    "Z": "ZH",
    "b": "B",
    "d": "D",
    "d#": "D",
    "f": "F",
    "g": "G",
    "h": "HH",
    "j": "Y",
    "k": "K",
    "l": "L",
    "L": "L",
    "l#": "L",
    "m": "M",
    "n": "N",
    "n-": "AH N",
    "p": "P",
    "r": "R",
    "r-": "R",
    "s": "S",
    "t": "T",
    "v": "V",
    "w": "W",
    "x": "K",
    "z": "Z",
    "z#": "Z",
    "s#": "S",
}


class Speller:
    """Loads the library once in a process."""

    def __init__(self) -> None:
        self._library: Any = ctypes.CDLL(espeakng_loader.get_library_path())
        self._library.espeak_TextToPhonemes.restype = ctypes.c_char_p
        self._library.espeak_TextToPhonemes.argtypes = (ctypes.POINTER(ctypes.c_char_p), ctypes.c_int, ctypes.c_int)
        path = str(espeakng_loader.get_data_path()).encode()
        if self._library.espeak_Initialize(_SYNCHRONOUS, 0, path, _DONT_EXIT) <= 0 or self._library.espeak_SetVoiceByName(b"en-us") != 0:
            raise RuntimeError("espeak-ng cannot read its data: reinstall espeakng-loader")

    def spell(self, word: str) -> list[str]:
        """The phones of a word; none where the library finds nothing to say, or says something English has not."""
        phones: list[str] = []
        for name in self.names(word):
            found = ARPABET.get(name) or ARPABET.get(name.rstrip("#2"))
            if found is None:
                return []
            phones += found.split()
        return phones

    def names(self, word: str) -> list[str]:
        """espeak-ng's own names of a word's phonemes, without stress and pauses."""
        text = ctypes.c_char_p(word.encode())
        told: list[str] = []
        while text.value:
            clause = self._library.espeak_TextToPhonemes(ctypes.byref(text), _UTF8, _SEPARATED)
            told += re.split(r"[_ ]+", clause.decode(errors="replace") if clause else "")
        return [name for part in told if (name := _stripped(part))]


def _stripped(name: str) -> str:
    """A phoneme's name without the marks of stress before it."""
    return name.lstrip("',%=|").removesuffix("|") if name.strip("',%=|:;-") else ""
