"""Tenants share a model in turns, and a server without a store says so."""

import asyncio
import logging
from typing import Any

import pytest
from integration.chat.test_kept import OTHER

from fakes.openai_server import FakeOpenAI
from fakes.openai_server_faults import Fault
from malha.runtime.errors import FailedPrecondition, ResourceExhausted
from malha.runtime.logs import Event
from malha.store.database import Database

NARROW = """
default = "main"
last_resort = false
aliases.main.deployment = "one"
[deployments.one]
engine = "openai"
base_url = "{url}"
model = "tiny"
max_concurrent = 1
max_waiting = 6
timeouts = { first_token_seconds = 60 }
"""


async def test_a_tenant_that_floods_a_model_does_not_keep_the_others_from_it(serving: Any, model: FakeOpenAI) -> None:
    model.faults.append(Fault(before_headers_seconds=3.0))  # time for all the others to come
    model.otherwise = Fault(before_headers_seconds=0.2)
    ended: list[str] = []

    async with serving(model, NARROW) as place:

        async def ask(name: str, authorization: Any = None) -> None:
            talk = place.talk(authorization)
            await talk.open()
            try:
                await talk.ask("Oi")
            except ResourceExhausted as error:
                ended.append(f"{name} {error.reason}")
            else:
                ended.append(name)

        flood = [asyncio.create_task(ask("flood")) for _ in range(12)]
        while len(ended) < 5 or len(model.requests) < 1:  # one is answered, six wait, the rest are refused
            await asyncio.sleep(0.01)
        assert ended[:5] == ["flood MODEL_BUSY"] * 5
        await asyncio.gather(ask("other", OTHER), ask("other", OTHER))
        at_once = ended.count("flood")
        await asyncio.gather(*flood)
    assert ended.count("other") == 2, "none of them was refused: the flood's newest made room"
    assert at_once <= 4, "they had every second turn"
    assert ended.count("flood") + ended.count("flood MODEL_BUSY") == 12


async def test_without_a_store_it_is_logged_and_told(
    serving: Any, model: FakeOpenAI, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(model) as place:
        unkept = [record for record in caplog.records if record.getMessage() == Event.CHAT_UNKEPT]
        assert [record.levelno for record in unkept] == [logging.WARNING]
        talk = place.talk()
        assert not (await talk.open()).stored
        await talk.ask("Oi")
        for fields in ({"conversation_id": "c1"}, {"knowledge_base": "b"}):
            with pytest.raises(FailedPrecondition) as refused:
                await place.talk().open(**fields)
            assert refused.value.reason == "STORE_NOT_CONFIGURED"
    caplog.clear()
    async with serving(model, database=database) as place:
        assert (await place.talk().open()).stored
        assert not [record for record in caplog.records if record.getMessage() == Event.CHAT_UNKEPT]
