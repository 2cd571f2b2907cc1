"""Cuts text that comes in pieces into sentences, so that speech can begin before the text has ended.

A boundary is decided as soon as what follows settles it, and where the pieces were cut never moves one. The rules are those of Portuguese,
Spanish and English: abbreviations, initials, decimal points and list numbers do not end a sentence; ``¿`` and ``¡`` begin one. A sentence
that goes on and on is spoken clause by clause: whoever listens to a language model hears it begin before its long sentence has ended.
"""

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

MAX_CHARACTERS: Final = 400
"""A sentence longer than this is cut at a space: it bounds the memory of a stream."""
CLAUSE_CHARACTERS: Final = 160
"""A sentence longer than this is cut behind a clause: it bounds the wait for sound, to about 40 tokens of a language model."""

_CANDIDATE: Final = re.compile(r"""(?P<line>[\n\r\u2028\u2029])|(?P<run>[.!?…]+)(?P<closers>["'»”’)\]]*)""")  # noqa: RUF001 - a closing quote
_LINE_ENDS: Final = frozenset("\n\r\u2028\u2029")
_PAUSE: Final = re.compile(r"[,;:][\"'»”’)\]]*\s|\s[-–—]\s")  # noqa: RUF001 - dashes and quotes of typeset text
_CONJUNCTION: Final = re.compile(
    r"\s(?=(?:e|mas|porém|porque|quando|enquanto|embora|y|pero|cuando|mientras|aunque|and|but|because|when|while|although)\s)",
    re.IGNORECASE,
)
_LEAST_CLAUSE: Final = 3
"""A clause is at least a third of the longest there may be."""
_JOINERS: Final = frozenset("\u200d\ufe0e\ufe0f")

# Before a name, or before what they introduce: the sentence always goes on.
_LEADING: Final = """sr sra srs sras srta srtas sres dr dra drs dras prof profa profs eng exmo exma ilmo ilma mr mrs ms st ud uds vd vds
    av avda pça pza ctra e.g i.e p.ex p.e ej p.ej ex cf vs approx aprox obs"""
# The sentence goes on if a number follows.
_BEFORE_NUMBER: Final = "no nos nº nr núm num art arts p pp pág págs pag tel fig vol cap apto apt bl ext"
# The sentence goes on if what follows does not begin one.
_TRAILING: Final = "etc ltda cia ltd inc co corp jr h hs hr hrs min sec seg kg máx mín dpto depto tb"
_LEADING_WORDS, _WORDS_BEFORE_NUMBER, _TRAILING_WORDS = (frozenset(words.split()) for words in (_LEADING, _BEFORE_NUMBER, _TRAILING))


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence as it was sent, white space around it included, and how many characters of all the text came before it."""

    text: str
    offset: int


class SentenceBuffer:
    """Gathers text; joined together, the sentences it gives are the text it took."""

    def __init__(self, max_characters: int = MAX_CHARACTERS) -> None:
        self._max = max_characters
        self._clause = min(CLAUSE_CHARACTERS, max_characters)
        self._pending = ""
        self._offset = 0

    def feed(self, text: str) -> list[Sentence]:
        """Take a piece of text; the sentences that are whole by now."""
        self._pending += text
        sentences = []
        while (cut := self._next_cut()) is not None:
            sentences.append(self._take(cut))
        return sentences

    def flush(self) -> list[Sentence]:
        """What waits for its end, as if that had come: one sentence or none."""
        return [self._take(len(self._pending))] if self._pending else []

    def _take(self, length: int) -> Sentence:
        sentence = Sentence(self._pending[:length], self._offset)
        self._pending = self._pending[length:]
        self._offset += length
        return sentence

    def _next_cut(self) -> int | None:
        """Where the first sentence of the pending text ends, or its first clause if it is long; None while that cannot be known.

        Nothing beyond the window is looked at. Otherwise a decision would depend on how much text came with the last piece.
        """
        window = self._pending[: self._clause + 1]
        full = len(window) > self._clause
        cut = _sentence_end(window, self._clause) or (_clause_end(window, self._clause) if full else None)
        if cut is not None or not full:
            return cut
        window = self._pending[: self._max + 1]
        ends = (_sentence_end(window, self._max), _first_pause(window, self._clause, self._max))
        found = min(filter(None, ends), default=None)
        return found or (_forced_cut(window, self._max) if len(window) > self._max else None)


def _sentence_end(window: str, limit: int) -> int | None:
    """Where the first sentence ends that is sure to end within ``limit`` characters."""
    for match in _CANDIDATE.finditer(window, 0, min(limit, len(window))):
        if _is_boundary(window, match):
            return match.end()
    return None


def _clause_end(window: str, limit: int) -> int | None:
    """Behind the last pause of a text that is longer than ``limit``, else before its last conjunction; neither near its beginning."""
    for pattern in (_PAUSE, _CONJUNCTION):
        ends = [match.end() for match in pattern.finditer(window, limit // _LEAST_CLAUSE, limit)]
        if ends:
            return ends[-1]
    return None


def _first_pause(window: str, start: int, limit: int) -> int | None:
    """Behind the first pause that ends after ``start``; there is none before it."""
    match = _PAUSE.search(window, start - 2, min(limit, len(window)))
    return None if match is None else match.end()


def _is_boundary(window: str, match: re.Match[str]) -> bool:
    """Whether it is sure that a sentence ends behind the match. It is not while that depends on text yet to come."""
    if match["line"] is not None:
        return bool(window[: match.start()].strip())
    end, run = match.end(), match["run"]
    if end == len(window):
        return False
    if not window[end].isspace():
        return window[end] in "¿¡"
    if "!" in run or "?" in run:
        return True
    if len(run) > 1 or run == "…":
        return _next_begins(window, end, lambda character: not character.islower())
    return True if match["closers"] else _full_stop_ends(window, match.start(), end)


def _full_stop_ends(window: str, stop: int, end: int) -> bool:
    """Whether a single full stop with white space behind it ends a sentence: the word before it decides, or the character after it."""
    start = stop
    while start and (window[start - 1].isalnum() or window[start - 1] == "."):
        start -= 1
    word = window[start:stop].lower()
    if word in _LEADING_WORDS or (stop - start == 1 and window[start].isupper()):  # a name's initial
        return False
    if len(word) <= 2 and word.isdigit() and not window[:start].strip():  # a list's number
        return False
    if word in _WORDS_BEFORE_NUMBER:
        return _next_begins(window, end, lambda character: not character.isdigit())
    if word in _TRAILING_WORDS or ("." in word and not word.replace(".", "").isdigit()):
        return _next_begins(window, end, lambda character: not (character.islower() or character.isdigit()))
    return True


def _next_begins(window: str, end: int, begins: Callable[[str], bool]) -> bool:
    """Whether the next character that is no space begins a sentence, as the end of a line does."""
    for character in window[end:]:
        if character in _LINE_ENDS:
            return True
        if not character.isspace():
            return begins(character)
    return False


def _forced_cut(window: str, limit: int) -> int:
    """Where to cut a sentence without pauses that is too long: behind its last space, else anywhere but within a character."""
    for cut in range(limit, 0, -1):
        if window[cut - 1].isspace() and window[:cut].strip():
            return cut
    cut = limit
    while cut > 1 and (unicodedata.combining(window[cut]) or window[cut] in _JOINERS or window[cut - 1] in _JOINERS):
        cut -= 1
    return cut if cut > 1 else limit
