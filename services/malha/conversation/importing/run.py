"""An import from its beginning to its report."""

import asyncio
import contextlib
import itertools
import uuid
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

from malha.conversation.importing import jsonl, records
from malha.conversation.importing.tables import Tables, opened
from malha.conversation.importing.writer import Counts, Writer
from malha.runtime.errors import InvalidArgument
from malha.store.database import Database

_BATCH: Final = 500
_MOST_PROBLEMS: Final = 100
Record = TypeVar("Record")
Told = Callable[[str], None]


@dataclass(slots=True)
class Report:
    """What an import did. ``problems``: the first bad rows, each a place and what is wrong with it, never its content."""

    customers: Counts
    conversations: Counts
    messages: Counts
    bad: int = 0
    problems: list[str] = field(default_factory=list)

    def add(self, place: str, error: records.BadRecordError) -> None:
        """A bad row."""
        self.bad += 1
        if len(self.problems) < _MOST_PROBLEMS:
            self.problems.append(f"{place}: {error}")


async def import_conversations(database: Database, tenant: uuid.UUID, source: str, *, prefix: str = "", told: Told) -> Report:
    """Import a file or the tables of a URL; ``told`` hears how far it is.

    Raises OSError for a file, FailedPrecondition and Unavailable for a database, InvalidArgument for what is neither.
    """
    writer = Writer(database, tenant)
    report = Report(writer.customers, writer.conversations, writer.messages)
    if source.startswith(("postgresql://", "postgres://")):
        await _from_tables(source, writer, report, prefix, told)
    elif "://" in source:
        raise InvalidArgument("what is imported is a JSONL file, or the postgresql:// URL of a database", reason="UNKNOWN_SOURCE")
    else:
        await _from_file(Path(source), writer, report, prefix, told)
    await writer.audit("cli")
    return report


async def _from_file(path: Path, writer: Writer, report: Report, prefix: str, told: Told) -> None:
    with contextlib.closing(jsonl.read(path, prefix)) as rows:
        while batch := await asyncio.to_thread(lambda: list(itertools.islice(rows, _BATCH))):
            lines = list(_good_lines(batch, report))
            await writer.write_customers([line.customer for line in lines if line.customer is not None])
            await writer.write_conversations([line.conversation for line in lines])
            await writer.write_messages([message for line in lines for message in line.messages])
            told(f"line {batch[-1].place}: {_so_far(report)}")


def _good_lines(batch: list[jsonl.Whole | jsonl.Bad], report: Report) -> Iterator[jsonl.Whole]:
    for line in batch:
        if isinstance(line, jsonl.Whole):
            yield line
        else:
            report.add(f"line {line.place}", line.error)


async def _from_tables(url: str, writer: Writer, report: Report, prefix: str, told: Told) -> None:
    async with opened(url) as tables:
        await _table(tables, "customers", records.customer, writer.write_customers, report, prefix, told)
        await _table(tables, "conversations", records.conversation, writer.write_conversations, report, prefix, told)
        await _table(tables, "messages", records.message, writer.write_messages, report, prefix, told)


async def _table(
    tables: Tables,
    name: str,
    make: Callable[[Mapping[str, Any], str], Record],
    write: Callable[[Sequence[Record]], Awaitable[Collection[str]]],
    report: Report,
    prefix: str,
    told: Told,
) -> None:
    """Import one table, some rows at a time."""
    cursor, number = await tables.cursor(name), 0
    while cursor is not None and (rows := await cursor.fetch(_BATCH)):
        good: list[tuple[str, Record]] = []
        for row in rows:
            number += 1
            try:
                good.append((f"{name} row {number}", make(row, prefix)))
            except records.BadRecordError as error:
                report.add(f"{name} row {number}", error)
        homeless = await write([record for _, record in good])
        for place, record in good:
            if homeless and getattr(record, "conversation_id", None) in homeless:
                report.add(place, records.BadRecordError("conversation_id", "there is no such conversation"))
        told(f"{name}: {_so_far(report)}")


def _so_far(report: Report) -> str:
    return f"{report.conversations.added} conversations, {report.messages.added} messages added, {report.bad} bad rows"
