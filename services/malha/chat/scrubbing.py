"""Personal data out of what models are told and what is stored, unless the tenant keeps it.

A text that is JSON is data of a program (a window of a call, with ids): its strings are scrubbed one by one, ids are left as they are. Lines are
scrubbed one by one too, and of a long line one stretch after the other, each read with what stands around it.
"""

import re
import unicodedata
import uuid
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from malha.chat.pace import Pace
from malha.chat.questions import data_of, is_id
from malha.runtime.errors import MalhaError
from malha.store.configuration import Configurations
from malha.store.database import Database
from malha.text.pii import scrub
from malha.text.spans import Piece

STRETCH: Final = 400
"""Characters that are decided at once: some milliseconds."""
AROUND: Final = 160
"""Characters before and behind that are read with them: a card number that is spelt out has 90, an IBAN 140."""
LONGEST_WORD: Final = 120
"""Characters. What goes on longer without white space is read as several words, cut behind punctuation where there is any."""
WORDS_AT_ONCE: Final = 500
"""That are looked up between two steps."""
MOST_DEPTH: Final = 32
_WORD: Final = re.compile(rf"[^\s]{{1,{LONGEST_WORD}}}")
_CUT: Final = re.compile(r"[,;|\"'<>(){}\[\]=&?!](?=[^,;|\"'<>(){}\[\]=&?!]*$)")
"""The last place in a word at which it can be cut."""

_Steps = Generator[None, None, str]


@dataclass(frozen=True, slots=True)
class Scrubber:
    """What holds for one tenant."""

    names: tuple[str, ...] = ()
    keep: bool = False
    pace: Pace = field(default_factory=Pace)

    async def text(self, text: str, language: str, *, prose: bool = False) -> str:
        """The text without personal data; all else stays as it is. Other work of the process goes on meanwhile.

        ``prose``: also JSON is read as words, so that the beginning of a text is the beginning of what becomes of it.
        """
        if self.keep or not text:
            return text
        return await self.pace.run(self._lines(text, language) if prose else self._text(text, language))

    def _text(self, text: str, language: str) -> _Steps:
        data = data_of(text)
        if data is None:
            return (yield from self._lines(text, language))
        return orjson.dumps((yield from self._data(data, language, 0))).decode()

    def _data(self, value: Any, language: str, depth: int) -> Generator[None, None, Any]:
        yield
        if isinstance(value, str):
            return (yield from self._lines(value, language))
        if depth >= MOST_DEPTH and isinstance(value, list | dict):
            return None
        if isinstance(value, list):
            items = list(value)
            for number, item in enumerate(value):
                items[number] = yield from self._data(item, language, depth + 1)
            return items
        if isinstance(value, dict):
            fields = {}
            for name, item in value.items():
                fields[name] = item if is_id(name) else (yield from self._data(item, language, depth + 1))
            return fields
        return value

    def _lines(self, text: str, language: str) -> _Steps:
        scrubbed: list[str] = []
        for line in text.splitlines(keepends=True):
            if line.isspace():
                scrubbed.append(line)
            else:
                scrubbed += yield from _line(line, language, self.names)
            yield
        return "".join(scrubbed)


class Scrubbers:
    """The scrubber of each tenant, by its configuration. While the database is away all personal data that can be told goes."""

    def __init__(self, database: Database | None) -> None:
        self._configurations = Configurations(database) if database is not None else None
        self._pace = Pace()

    async def of(self, tenant_id: uuid.UUID | None) -> Scrubber:
        """As the tenant has set it, some seconds ago at most."""
        if self._configurations is None or tenant_id is None:
            return Scrubber(pace=self._pace)
        try:
            configuration = await self._configurations.of(tenant_id)
        except MalhaError:
            return Scrubber(pace=self._pace)
        return Scrubber(tuple(configuration.names), configuration.keep_personal_data, self._pace)


def _line(line: str, language: str, names: Sequence[str]) -> Generator[None, None, list[str]]:
    """A line, in parts. What is found across the end of a stretch belongs to the one it begins in."""
    spans = yield from _words(line)
    shown: list[str] = []
    place = begin = 0  # the next word, and the character behind what is shown
    while place < len(spans):
        stop = spans[place][0] + STRETCH
        first, behind = _word_at(spans, spans[place][0] - AROUND, place), _word_from(spans, stop + AROUND, place)
        words = [Piece(_composed(line[slice(*spans[number])]), number, number) for number in range(first, behind)]
        for piece in scrub(words, language, names):
            if piece.last < place:
                continue
            if spans[piece.first][0] >= stop:
                break
            start, end = spans[max(piece.first, place)][0], spans[piece.last][1]
            said = line[start:end]
            shown += [line[begin:start], said if piece.text == _composed(said) else piece.text]
            place, begin = piece.last + 1, end
        yield
    return [*shown, line[begin:]]


def _composed(text: str) -> str:
    """With letters and accents as one character each, as personal data is looked for."""
    return unicodedata.normalize("NFC", text)


def _words(line: str) -> Generator[None, None, list[tuple[int, int]]]:
    """Where words begin and end."""
    spans: list[tuple[int, int]] = []
    place = 0
    while (found := _WORD.search(line, place)) is not None:
        start, place = found.span()
        if place - start == LONGEST_WORD and (cut := _CUT.search(found[0])) is not None:
            place = start + cut.end()
        spans.append((start, place))
        if len(spans) % WORDS_AT_ONCE == 0:
            yield
    return spans


def _word_at(spans: Sequence[tuple[int, int]], place: int, number: int) -> int:
    """Back from a word to the first that begins at ``place`` or behind it."""
    while number > 0 and spans[number - 1][0] >= place:
        number -= 1
    return number


def _word_from(spans: Sequence[tuple[int, int]], place: int, number: int) -> int:
    """On from a word to the first that begins at ``place`` or behind it."""
    while number < len(spans) and spans[number][0] < place:
        number += 1
    return number
