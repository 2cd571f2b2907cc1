"""A message as long as the contract allows: no other stream of the process feels it, and one that no model could read is refused at once."""

import asyncio
import time
from typing import Any

import pytest

from fakes.loop_watch import never_blocked
from fakes.openai_server import FakeOpenAI
from fakes.openai_server_answers import SENTENCE
from malha.api.chat.v1 import chat_pb2
from malha.runtime.errors import InvalidArgument

LONG = 200_000
SPOKEN = "quero cancelar o plano porque a conta do telefone 11 98765 4321 veio errada "
ROOMY = """
default = "main"
aliases.main.deployment = "one"
[deployments.one]
engine = "openai"
base_url = "{url}"
model = "tiny"
context_tokens = 200000
timeouts = { first_token_seconds = 60 }
"""


async def test_the_longest_message_is_scrubbed_while_others_are_answered(serving: Any, model: FakeOpenAI) -> None:
    whole = (SPOKEN * (LONG // len(SPOKEN) + 1))[: LONG - 30] + " meu CPF é 529.982.247-25."
    async with serving(model, ROOMY) as place:
        long, short = place.talk(), place.talk()
        for talk in (long, short):
            await talk.open(language="pt")
            assert (await talk.ask("Bom dia, o meu telefone é 11 98765-4321"))[0] == SENTENCE  # what is made once
        async with never_blocked():
            asked = asyncio.create_task(long.ask(whole))
            await asyncio.sleep(0.05)
            for _ in range(3):
                assert (await short.ask("Oi"))[0] == SENTENCE
            assert not asked.done(), "the others did not wait for it"
            assert (await asked)[0] == SENTENCE
        longest = max((request.prompt for request in model.requests), key=len)
        assert "[CPF]" in longest
        assert not any(number in longest for number in ("529.982", "98765"))


async def test_what_no_model_could_read_is_refused_before_it_is_scrubbed(serving: Any, model: FakeOpenAI) -> None:
    async with serving(model) as place:
        talk = place.talk()
        await talk.open()
        before = time.thread_time()
        with pytest.raises(InvalidArgument) as refused:
            await talk.ask((SPOKEN * (LONG // len(SPOKEN) + 1))[:LONG])
        assert refused.value.reason == "PROMPT_TOO_LONG"
        assert time.thread_time() - before < 1, "scrubbing it would have taken seconds"


async def test_earlier_messages_that_would_not_be_told_are_not_scrubbed(serving: Any, model: FakeOpenAI) -> None:
    async with serving(model) as place:
        talk = place.talk()
        await talk.open(language="pt")
        before = time.thread_time()
        await talk.say("a primeira", context=True)
        await talk.say((SPOKEN * (LONG // len(SPOKEN) + 1))[:LONG], context=True)
        await talk.say("a última", author=chat_pb2.AUTHOR_ASSISTANT, context=True)
        await talk.say("E esta, do meu CPF 529.982.247-25?", context=True)
        await talk.ask("Oi")
        assert time.thread_time() - before < 1
        told = model.last.prompt
        assert "E esta, do meu CPF [CPF]?" in told
        assert "primeira" not in told
        assert "telefone" not in told
