"""Personal data out of what models are told and what is stored, unless the tenant keeps it.

A text that is JSON is data of a program (a window of a call, with ids): its strings are scrubbed one by one, ids are left as they are.
"""

import asyncio
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from malha.chat.questions import data_of, is_id
from malha.runtime.errors import MalhaError
from malha.store.configuration import Configurations
from malha.store.database import Database
from malha.text.pii import scrub_text
from malha.text.pii.find import find
from malha.text.spans import pieces

WORDS_AT_ONCE: Final = 200
LONG: Final = 40
"""Characters. After each line that is longer other work of the process goes on: it takes a quarter of a millisecond and more."""
MOST_DEPTH: Final = 32


@dataclass(frozen=True, slots=True)
class Scrubber:
    """What holds for one tenant."""

    names: tuple[str, ...] = ()
    keep: bool = False

    async def text(self, text: str, language: str) -> str:
        """The text without personal data. Lines without any stay as they are."""
        if self.keep or not text:
            return text
        data = data_of(text)
        if data is not None:
            return orjson.dumps(await self._data(data, language, 0)).decode()
        return await self._lines(text, language)

    async def _data(self, value: Any, language: str, depth: int) -> Any:
        if isinstance(value, str):
            return await self._lines(value, language)
        if depth >= MOST_DEPTH:
            return None
        if isinstance(value, list):
            return [await self._data(item, language, depth + 1) for item in value]
        if isinstance(value, dict):
            return {name: item if is_id(name) else await self._data(item, language, depth + 1) for name, item in value.items()}
        return value

    async def _lines(self, text: str, language: str) -> str:
        scrubbed = []
        for part in _parts(text):
            scrubbed.append(_line(part, language, self.names))
            if len(part) > LONG:
                await asyncio.sleep(0)
        return "".join(scrubbed)


class Scrubbers:
    """The scrubber of each tenant, by its configuration. While the database is away all personal data that can be told goes."""

    def __init__(self, database: Database | None) -> None:
        self._configurations = Configurations(database) if database is not None else None

    async def of(self, tenant_id: uuid.UUID | None) -> Scrubber:
        """As the tenant has set it, some seconds ago at most."""
        if self._configurations is None or tenant_id is None:
            return Scrubber()
        try:
            configuration = await self._configurations.of(tenant_id)
        except MalhaError:
            return Scrubber()
        return Scrubber(tuple(configuration.names), configuration.keep_personal_data)


def _parts(text: str) -> Iterator[str]:
    """Lines with their ends; of a line that is very long, parts of so many words, so that nobody waits long."""
    for line in text.splitlines(keepends=True):
        if len(line) <= WORDS_AT_ONCE * 8:
            yield line
            continue
        words = line.split(" ")
        for start in range(0, len(words), WORDS_AT_ONCE):
            last = start + WORDS_AT_ONCE >= len(words)
            yield " ".join(words[start : start + WORDS_AT_ONCE]) + ("" if last else " ")


def _line(line: str, language: str, names: Sequence[str]) -> str:
    if not find(pieces(line), language, names):
        return line
    stripped = line.strip()
    start = line.index(stripped)
    return line[:start] + scrub_text(stripped, language, names) + line[start + len(stripped) :]
