"""What it costs to store before telling: finals of many calls through the group commit, to a PostgreSQL of its own on this machine's disk."""

import asyncio
import tempfile
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, Final

from malha.bench.conversations import measure_conversations
from malha.bench.statistics import summary
from malha.bench.usage import machine
from malha.store.database import Database
from malha.store.embedded import running
from malha.store.group_commit import GroupCommit
from malha.store.session_updates import SessionUpdate, StoredEvent, StoredSegment
from malha.store.settings import StoreSettings

_WORDS: Final = ["bom", "dia", "em", "que", "posso", "ajudar", "com", "a", "sua", "conta", "hoje"]
_ROWS: Final = 2
"""Of a final: the event, and the segment."""
_BURST_ROUNDS: Final = 10
"""Finals of each call, all at once: what catching up after an outage looks like."""

_OPEN: Final = """
    WITH made AS (INSERT INTO conversation (tenant_id) SELECT malha_tenant() FROM generate_series(1, $1) RETURNING id)
    INSERT INTO live_session (session_id, tenant_id, conversation_id, principal_digest, resume_digest, config)
    SELECT malha_uuid7(), malha_tenant(), id, '', '', '' FROM made RETURNING session_id
"""


@dataclass(frozen=True, slots=True)
class Options:
    """``conversations``: how many to list, search and open among; 0 leaves that out."""

    calls: int
    seconds: float
    finals_per_second: float
    conversations: int
    settings: StoreSettings
    """Without a URL: a PostgreSQL of its own."""


def run_store(options: Options, told: Callable[[str], None]) -> dict[str, Any]:
    """The report: ``commit_ms`` by percentile at the paced rate, ``rows_per_s`` when all calls commit at once."""
    return asyncio.run(_run(options, told))


async def _run(options: Options, told: Callable[[str], None]) -> dict[str, Any]:
    if options.settings.url:
        return await _measure(options, options.settings, told)
    with tempfile.TemporaryDirectory(prefix="malha-bench-") as directory:
        async with running(Path(directory)) as settings:
            return await _measure(options, settings, told)


async def _measure(options: Options, settings: StoreSettings, told: Callable[[str], None]) -> dict[str, Any]:
    async with await Database.connect(settings) as database, GroupCommit(settings) as writer:
        await database.check()
        calls = await _Calls.open(database, writer, options.calls)
        told(f"{options.calls} calls, {options.finals_per_second:g} finals a second")
        took = await calls.paced(options.seconds, options.finals_per_second)
        told("all calls at once")
        rows_per_s = await calls.burst()
    report = {
        "machine": machine(),
        "calls": options.calls,
        "finals_per_s": options.finals_per_second,
        "finals": len(took),
        "commit_ms": summary(took),
        "rows_per_s": round(rows_per_s),
    }
    if options.conversations:
        report["conversations"] = await measure_conversations(settings, options.conversations, told=told)
    return report


class _Calls:
    """Live calls that say something in turn."""

    def __init__(self, writer: GroupCommit, sessions: list[uuid.UUID]) -> None:
        self._writer = writer
        self._sessions = sessions
        self._said = 0

    @classmethod
    async def open(cls, database: Database, writer: GroupCommit, number: int) -> "_Calls":
        """Calls of a tenant of their own, which stays."""
        tenant = uuid.uuid4()
        async with database.tenant_tx(tenant) as connection:
            await connection.execute("INSERT INTO tenant (id, name) VALUES ($1, $2)", tenant, f"bench-{tenant}")
            return cls(writer, [row["session_id"] for row in await connection.fetch(_OPEN, number)])

    async def paced(self, seconds: float, per_second: float) -> list[float]:
        """Milliseconds of each commit, asked for at its time whether or not those before are done."""
        for _ in range(len(self._sessions)):  # connections, plans, pages
            await self._say()
        began, tasks = perf_counter(), []
        for number in range(round(seconds * per_second)):
            await asyncio.sleep(max(0.0, began + number / per_second - perf_counter()))
            tasks.append(asyncio.create_task(self._say()))
        return list(await asyncio.gather(*tasks))

    async def burst(self) -> float:
        """Rows a second."""
        began, finals = perf_counter(), _BURST_ROUNDS * len(self._sessions)
        await asyncio.gather(*(self._say() for _ in range(finals)))
        return finals * _ROWS / (perf_counter() - began)

    async def _say(self) -> float:
        session, seq = self._sessions[self._said % len(self._sessions)], self._said // len(self._sessions) + 1
        self._said += 1
        start = 3.0 * seq
        words = [{"text": word, "start": start + 0.2 * index, "confidence": 0.9} for index, word in enumerate(_WORDS)]
        text = " ".join(_WORDS)
        segment = StoredSegment(f"0-{seq}", 1, 0, "agent", start, start + 2.5, text, words, 0.9)
        event = StoredEvent(seq, "final", {"text": text, "words": words}, segment.segment_id, 1, seq * 48_000)
        began = perf_counter()
        await self._writer.commit(SessionUpdate(session, 1, seq, {"0": seq * 48_000}, {"0": seq}, events=[event], segments=[segment]))
        return (perf_counter() - began) * 1000
