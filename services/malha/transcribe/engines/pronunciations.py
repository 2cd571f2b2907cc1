"""How English words are said, in the phones of PocketSphinx's acoustic model: by its dictionary, else as espeak-ng would say them."""

import re
import unicodedata
from collections import defaultdict
from pathlib import Path
from typing import Final

import pocketsphinx

from malha.transcribe import language_model
from malha.transcribe.engines.espeak_phones import Speller

_WORDS: Final = re.compile(r"[^\W_]+(?:'[^\W_]+)*'?", re.UNICODE)
_VARIANT: Final = re.compile(r"\(\d+\)$")
_APOSTROPHES: Final = str.maketrans({"’": "'", "ʼ": "'", "`": "'"})  # noqa: RUF001 - what people write for one


class Pronunciations:
    """The model's own dictionary of 130,000 words and what Malha adds to it; other words are spelled by rule."""

    def __init__(self) -> None:
        self._known: defaultdict[str, list[str]] = defaultdict(list)
        self._speller: Speller | None = None
        model = Path(pocketsphinx.get_model_path()) / "en-us" / "cmudict-en-us.dict"
        for file in (model, language_model.FOLDER / "pronunciations.dict"):
            for line in file.read_text(encoding="utf-8").splitlines():
                word, _, phones = line.partition(" ")
                if phones and not word.startswith("#"):
                    self._known[_VARIANT.sub("", word)].append(phones.strip())

    def of(self, word: str) -> tuple[str, ...]:
        """Its pronunciations, phones with spaces between; none where nobody can say it."""
        if word in self._known:
            return tuple(dict.fromkeys(self._known[word]))
        if not all(map(_is_latin, word)):
            return ()
        if self._speller is None:
            self._speller = Speller()
        phones = self._speller.spell(word)
        return (" ".join(phones),) if phones else ()


def _is_latin(letter: str) -> bool:
    """Letters of other scripts are what espeak-ng only tells the names of."""
    return not letter.isalpha() or unicodedata.name(letter, "").startswith("LATIN")


def spoken_words(token: str) -> list[str]:
    """The words of a token as the dictionary writes them: ``well``, ``known`` of ``well-known,``; none of a dash.

    A token with a sign that is said, such as ``$20`` or ``5%``, is one word.
    """
    plain = token.translate(_APOSTROPHES).casefold()
    if re.search(r"[$€£%&@+=]|\d[.,:]\d", plain):
        return [plain.strip(".,;:!?\"'()[]")]
    return _WORDS.findall(plain)
