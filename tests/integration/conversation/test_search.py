"""Search: rare words and frequent ones, prefixes, snippets, pages."""

import random
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from malha.api.conversation.v1 import conversation_pb2 as api
from malha.conversation.store import search
from malha.runtime.errors import InvalidArgument


@pytest.fixture(params=["newest", "index", "rest"])
def way(request: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each way to find: among the newest conversations, by the index, and by going through all."""
    if request.param != "newest":
        monkeypatch.setattr(search, "NEWEST_FIRST", 0)
    if request.param == "rest":
        monkeypatch.setattr(search, "MOST_PLACES", 1)
    return request.param


async def begin(caller: Any, name: str, second: int, *texts: str) -> None:
    await caller.ask("UpsertConversation", conversation_id=name, start_time=Timestamp(seconds=1_700_000_000 + second))
    await caller.call(name, *texts)


async def found(caller: Any, query: str) -> list[str]:
    answer = await caller.ask("SearchConversations", query=query)
    return [one.conversation.external_id for one in answer.conversations]


async def test_all_words_and_the_beginning_of_the_last(caller: Any, way: str) -> None:
    await begin(caller, "a", 1, "Quero cancelar o contrato.", "Obrigado.")
    await begin(caller, "b", 2, "O contrato foi renovado.")
    await begin(caller, "c", 3, "Nada disso.")
    await caller.ask("CreateMessage", conversation_id="c", sender_type=api.SENDER_TYPE_CUSTOMER, text="E o CONTRATO?")
    assert await found(caller, "contrato") == ["c", "b", "a"]
    assert await found(caller, "contr") == ["c", "b", "a"]
    assert await found(caller, "contr cancelar") == []
    assert await found(caller, "contrato cancel") == ["a"]
    assert await found(caller, "contrato obrigado") == []
    assert await found(caller, "renovad!") == ["b"]
    assert await found(caller, "inexistente") == []


async def test_accents_are_found_however_they_are_written(caller: Any, way: str) -> None:
    await begin(caller, "composed", 1, "Minha ligação caiu.")
    await begin(caller, "decomposed", 2, "Minha ligac\u0327a\u0303o caiu.")
    for query in ("ligação", "ligac\u0327a\u0303o", "liga\u00e7", "ligação caiu", "caiu ligac\u0327"):
        assert await found(caller, query) == ["decomposed", "composed"], query


async def test_matches_tell_where_the_words_are(caller: Any, way: str) -> None:
    long = "palavra " * 60 + "boleto vencido " + "depois " * 60
    await begin(caller, "a", 1, "Bom dia.", long, "outro boleto", "boleto", "boleto de novo")
    message = await caller.ask("CreateMessage", conversation_id="a", sender_type=api.SENDER_TYPE_BOT, text="\x02boleto\x03 pago")
    one = (await caller.ask("SearchConversations", query="boleto")).conversations[0]
    assert [match.segment_id for match in one.matches] == ["s2", "s3", "s4"]
    assert all(match.session_id == one.matches[0].session_id for match in one.matches)
    first = one.matches[0]
    assert "boleto vencido" in first.snippet
    assert len(first.snippet) < 400
    assert [first.snippet[mark.start : mark.end] for mark in first.highlights] == ["boleto"]
    other = (await caller.ask("SearchConversations", query="pago boleto")).conversations[0].matches
    assert [(match.message_id, match.snippet) for match in other] == [(message.message.id, "boleto pago")]
    assert [(mark.start, mark.end) for mark in other[0].highlights] == [(0, 6), (7, 11)]


async def test_pages_are_whole_while_conversations_are_added(caller: Any, way: str) -> None:
    for number in range(7):
        await begin(caller, f"c{number}", number // 2, "fatura vencida", "fatura")
    first = await caller.ask("SearchConversations", query="fatura", page_size=3)
    await begin(caller, "late", 100, "fatura")
    second = await caller.ask("SearchConversations", query="fatura", page_size=3, page_token=first.next_page_token)
    third = await caller.ask("SearchConversations", query="fatura", page_size=3, page_token=second.next_page_token)
    told = [one.conversation.external_id for page in (first, second, third) for one in page.conversations]
    assert sorted(told) == [f"c{number}" for number in range(7)]
    assert not third.next_page_token


@pytest.mark.parametrize(
    "query",
    ["'", "a'b", "\\", "a\\", "a & b", "a | !b", "a:*", "(a", "<->", "a <-> b", "'; DROP TABLE message --", "user@example.com", "http://x/y?z", "a\x00b",
     "x-y", "3,14", "🙂 a", "ß", "\u200b", "%", "é" * 400],
)  # fmt: skip
async def test_no_query_is_an_error_of_the_database(caller: Any, query: str) -> None:
    await begin(caller, "c", 1, "contrato")
    if any(map(str.isalnum, query)):
        assert await found(caller, query) == []
        return
    with pytest.raises(InvalidArgument) as raised:
        await found(caller, query)
    assert list(raised.value.violations) == ["query"]


async def test_random_queries_are_answered(caller: Any) -> None:
    await begin(caller, "c", 1, "contrato")
    chance = random.Random(7)
    for _ in range(120):
        query = "a" + "".join(chance.choices("ab'\\\\&|!():*<->\"% .,@/-_0é\U0001d49c🙂\u200b\u0301ß\x00\x01\x02", k=30))
        await found(caller, query)


async def test_what_is_written_with_signs_is_found_as_written(caller: Any, way: str) -> None:
    text = "Escreva para ana@example.com, plano pós-pago, R$ 1.234,56, D'Ávila"
    await begin(caller, "c", 1, text)
    for query in ("ana@example.com", "pós-pago", "pós-pa", "pago", "1.234,56", "d'ávila", "Plano PÓS"):
        assert await found(caller, query) == ["c"], query
