"""How long it takes to list, find and open conversations among very many.

The texts are made of syllables, with words as frequent as in a language (Zipf's law): the first word stands nearly everywhere, one is in a
percent of the utterances, one in a few calls alone.
"""

import random
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from time import perf_counter
from typing import Any, Final

import asyncpg

from malha.api.conversation.v1 import conversation_pb2 as api
from malha.bench.statistics import summary
from malha.conversation.conversations import Conversations
from malha.runtime.auth import Principal
from malha.store.database import Database
from malha.store.settings import StoreSettings

_BATCH: Final = 2000
_VACUUM_SECONDS: Final = 600.0
_SEGMENTS: Final = 8
_MESSAGES: Final = 1
_WORDS: Final = 8
_VOCABULARY: Final = 20_000
_SENTENCES: Final = 4000
_SYLLABLES: Final = [
    "ba",
    "ca",
    "da",
    "fa",
    "ga",
    "la",
    "ma",
    "na",
    "pa",
    "ra",
    "sa",
    "ta",
    "va",
    "be",
    "ce",
    "de",
    "fe",
    "le",
    "me",
    "ne",
    "pe",
    "re",
    "se",
    "te",
    "ve",
    "bo",
    "co",
    "do",
    "lo",
    "mo",
    "no",
    "po",
    "ro",
    "so",
    "to",
    "vo",
    "ção",
    "nha",
]
_SOME: Final = "cancelamento"
_RARE: Final = "ombudsman"
_TURNS: Final = 1000
"""Of the one long call: about an hour."""

MAKE: Final = """
    INSERT INTO conversation (tenant_id, external_id, channel, status, started_at)
    SELECT malha_tenant(), 'bench-' || number, (ARRAY['voice', 'whatsapp', 'site'])[1 + number % 3], (ARRAY['open', 'closed'])[1 + number % 2],
        now() - number * interval '1 minute'
    FROM generate_series($1::integer, $2::integer) AS number RETURNING id
"""
CALLS: Final = """
    INSERT INTO live_session (session_id, tenant_id, conversation_id, principal_digest, resume_digest, config, state)
    SELECT id, malha_tenant(), id, '', '', '', 'closed' FROM unnest($1::uuid[]) AS id
"""
SAID: Final = """
    INSERT INTO segment (tenant_id, session_id, segment_id, revision, channel, start_seconds, end_seconds, text)
    SELECT malha_tenant(), id, 's' || number, 1, number % 2, number * 3, number * 3 + 2.5, text
    FROM unnest($1::uuid[], $2::integer[], $3::text[]) AS said (id, number, text)
"""
WRITTEN: Final = """
    INSERT INTO message (tenant_id, conversation_id, sender_type, text)
    SELECT malha_tenant(), id, 'customer', text FROM unnest($1::uuid[], $2::text[]) AS written (id, text)
"""


async def measure_conversations(
    store: StoreSettings, conversations: int = 100_000, rounds: int = 100, told: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    """Fill a tenant of its own and ask. Milliseconds by percentile for each question, through the service, without the network.

    The tenant stays: measure on a database made for it. ``told`` hears how far it is.
    """
    async with await Database.connect(store) as database:
        return await _measure(database, store.owner_url, conversations, rounds, told)


async def _measure(database: Database, owner_url: str, conversations: int, rounds: int, told: Callable[[str], None]) -> dict[str, Any]:
    tenant, chance = uuid.uuid4(), random.Random(1)  # noqa: S311 - text, not secrets
    vocabulary = _vocabulary(chance)
    started = perf_counter()
    async with database.tenant_tx(tenant) as connection:
        await connection.execute("INSERT INTO tenant (id, name) VALUES ($1, $2)", tenant, f"bench-{tenant}")
    sentences = _sentences(chance, vocabulary)
    for first in range(0, conversations, _BATCH):
        told(f"{first} conversations made")
        await _fill(database, tenant, first, min(first + _BATCH, conversations), sentences, chance)
    await _vacuum(owner_url)
    filled = perf_counter() - started
    asked = _questions(Conversations(database), Principal("bench", "", tenant_id=tenant), vocabulary[0], conversations)
    report: dict[str, Any] = {"conversations": conversations, "segments": conversations * _SEGMENTS, "fill_seconds": round(filled, 1)}
    for name, ask in asked.items():
        told(name)
        report[f"{name}_ms"] = await _time(ask, rounds)
    return report


async def _vacuum(owner_url: str) -> None:
    """What PostgreSQL does by itself a minute later."""
    connection = await asyncpg.connect(owner_url)
    try:
        await connection.execute("VACUUM ANALYZE", timeout=_VACUUM_SECONDS)
    finally:
        await connection.close()


async def _time(ask: Callable[[int], Awaitable[Any]], rounds: int) -> dict[str, float | None]:
    for number in range(10):  # connections, plans
        await ask(number)
    times = []
    for number in range(rounds):
        started = perf_counter()
        await ask(number)
        times.append((perf_counter() - started) * 1000)
    return summary(times)


def _questions(
    service: Conversations, principal: Principal, most_frequent: str, conversations: int
) -> Mapping[str, Callable[[int], Awaitable[Any]]]:
    """What is asked, by name; each takes the round's number."""
    deep: list[str] = [""]

    async def page(number: int) -> None:
        answer = await service.list(api.ListConversationsRequest(page_size=100, page_token=deep[0]), principal)
        assert len(answer.conversations) == min(100, conversations)
        deep[0] = answer.next_page_token if number % 50 else ""

    async def filtered(_: int) -> None:
        wanted = api.ListConversationsRequest(channel=api.CONVERSATION_CHANNEL_SITE, status=api.CONVERSATION_STATUS_CLOSED)
        await service.list(wanted, principal)

    def find(query: str) -> Callable[[int], Awaitable[None]]:
        async def ask(_: int) -> None:
            answer = await service.search(api.SearchConversationsRequest(query=query), principal)
            assert answer.conversations

        return ask

    async def open_one(number: int) -> None:
        name = f"bench-{number * 997 % (conversations - 1) + 1}"
        answer = await service.get(api.GetConversationRequest(conversation_id=name), principal)
        assert len(answer.entries) == _SEGMENTS + _MESSAGES

    async def open_long(_: int) -> None:
        answer = await service.get(api.GetConversationRequest(conversation_id="bench-0", page_size=_TURNS), principal)
        assert len(answer.entries) == _TURNS

    return {
        "list": page,
        "list_filtered": filtered,
        "search_rare": find(_RARE),
        "search_some": find(_SOME),
        "search_frequent": find(most_frequent),
        "search_two_words": find(f"{most_frequent} {_SOME[:6]}"),
        "open": open_one,
        "open_hour": open_long,
    }


async def _fill(database: Database, tenant: uuid.UUID, first: int, end: int, sentences: Sequence[str], chance: random.Random) -> None:
    async with database.tenant_tx(tenant) as connection:
        ids = [row["id"] for row in await connection.fetch(MAKE, first, end - 1)]
        await connection.execute(CALLS, ids)
    said = [(each, number) for each in ids for number in range(_SEGMENTS)]
    if first == 0:
        said += [(ids[0], number) for number in range(_SEGMENTS, _TURNS - _MESSAGES)]
    texts = chance.choices(sentences, k=len(said))
    texts = [f"{text} {_SOME}" if chance.random() < 0.01 else text for text in texts]
    texts[0] = f"{texts[0]} {_RARE}"
    async with database.tenant_tx(tenant) as connection:
        await connection.execute(SAID, [each for each, _ in said], [number for _, number in said], texts)
    async with database.tenant_tx(tenant) as connection:
        await connection.execute(WRITTEN, ids, chance.choices(sentences, k=len(ids)))


def _vocabulary(chance: random.Random) -> list[str]:
    """Words, the most frequent first."""
    words = dict.fromkeys("".join(chance.choices(_SYLLABLES, k=chance.randint(1, 4))) for _ in range(4 * _VOCABULARY))
    return list(words)[:_VOCABULARY]


def _sentences(chance: random.Random, vocabulary: Sequence[str]) -> list[str]:
    weights = [1 / rank for rank in range(1, len(vocabulary) + 1)]
    return [" ".join(chance.choices(vocabulary, weights, k=_WORDS)) for _ in range(_SENTENCES)]
