"""Models that fail: who answers then, what is told, and who is asked no more."""

import asyncio
import signal
import time
from typing import Any

import pytest

from fakes.openai_server import FakeOpenAI
from fakes.openai_server_answers import SENTENCE
from fakes.openai_server_faults import (
    BROKEN,
    CUT_STREAM,
    EMPTY,
    HUGE,
    JUNK,
    NEVER,
    OUT_OF_TOKENS,
    OVERLOADED,
    PROSE,
    RESET,
    TOO_MANY,
    Fault,
)
from malha.api.chat.v1 import chat_pb2
from malha.chat.metrics import RELOADS
from malha.runtime.errors import ResourceExhausted

ONE = """
default = "main"
aliases.main.deployment = "one"
[deployments.one]
engine = "openai"
base_url = "{url}"
model = "tiny"
timeouts = { first_token_seconds = 3.0, stall_seconds = 3.0, total_seconds = 20 }
breaker = { failures = 3, open_seconds = 0.5 }
"""
TWO = """
default = "main"
aliases.main.deployment = "one"
[deployments.one]
engine = "openai"
base_url = "{url}"
model = "tiny"
fallback = "two"
timeouts = { first_token_seconds = 3.0, stall_seconds = 3.0, total_seconds = 20 }
[deployments.two]
engine = "openai"
base_url = "{url}"
model = "large"
"""
ROUTED = """
default = "paneas-v1"
[aliases."paneas-v1"]
deployment = "fp16"
routing = { short_prompt_tokens = 400, short = "int4", critical_purposes = ["insight.risk_alert"], critical = "fp16" }
[deployments.int4]
engine = "openai"
base_url = "{url}"
model = "tiny"
[deployments.fp16]
engine = "openai"
base_url = "{url}"
model = "large"
"""
SCHEMA = '{"type":"object","properties":{"message":{"type":"string"}},"required":["message"]}'
QUOTE = "Não tenho um modelo de linguagem agora"


async def once(place: Any, text: str = "Qual é o prazo?", **fields: Any) -> tuple[str, chat_pb2.MessageEnd]:
    talk = place.talk()
    await talk.open(**fields)
    answer = await talk.ask(text)
    await talk.finish()
    return answer


@pytest.mark.parametrize("fault", [BROKEN, OVERLOADED, TOO_MANY, NEVER, JUNK, EMPTY, Fault(reset_after=0), Fault(status=401)])
async def test_a_failure_before_the_first_word_goes_to_the_next(serving: Any, model: FakeOpenAI, fault: Fault) -> None:
    model.faults.append(fault)
    async with serving(model, TWO) as place:
        text, end = await once(place)
        assert (text, end.finish_reason, end.model, end.degraded) == (SENTENCE, "stop", "large", True)
        assert [request.body["model"] for request in model.requests] == ["tiny", "large"]


@pytest.mark.parametrize("fault", [BROKEN, TOO_MANY, NEVER, JUNK, EMPTY])
async def test_without_anybody_else_the_extractive_engine_answers(serving: Any, model: FakeOpenAI, fault: Fault) -> None:
    model.otherwise = fault
    async with serving(model, ONE) as place:
        talk = place.talk()
        await talk.open()
        await talk.say("O prazo de entrega é de cinco dias úteis. O frete é grátis.", context=True)
        text, end = await talk.ask("Qual é o prazo de entrega?")
        assert text.startswith(QUOTE)
        assert "«O prazo de entrega é de cinco dias úteis.»" in text
        assert (end.finish_reason, end.degraded, end.engine) == ("stop", True, "extractive")
        await talk.finish()


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (BROKEN, "MODEL_UNAVAILABLE"),
        (TOO_MANY, "MODEL_RATE_LIMITED"),
        (NEVER, "MODEL_TIMEOUT"),
        (JUNK, "MODEL_ANSWER_INVALID"),
        (PROSE, "MODEL_ANSWER_INVALID"),
        (EMPTY, "MODEL_ANSWER_INVALID"),
        (OUT_OF_TOKENS, "MODEL_ANSWER_CUT"),
        (CUT_STREAM, "MODEL_STREAM_CUT"),
        (RESET, "MODEL_UNAVAILABLE"),
        (HUGE, "MODEL_ANSWER_CUT"),
        (Fault(status=400), "MODEL_REFUSED"),
    ],
)
async def test_a_schema_is_never_answered_by_quotes(serving: Any, model: FakeOpenAI, fault: Fault, reason: str) -> None:
    model.otherwise = fault
    async with serving(model, ONE) as place:
        text, end = await once(place, response_schema=SCHEMA)
        assert (text, end.finish_reason, end.reason) == ("", "error", reason)


async def test_an_answer_to_a_schema_that_is_wrong_goes_to_the_next(serving: Any, model: FakeOpenAI) -> None:
    model.faults.append(Fault(answer=lambda _: '{"message": 7}'))
    async with serving(model, TWO) as place:
        text, end = await once(place, response_schema=SCHEMA)
        assert (text, end.model) == ('{"message": "' + SENTENCE + '"}', "large")


@pytest.mark.parametrize("fault", [RESET, CUT_STREAM, Fault(between_tokens_seconds=10)])
async def test_a_stream_that_breaks_is_completed_where_the_whole_goes_on(serving: Any, model: FakeOpenAI, fault: Fault) -> None:
    model.faults.append(fault)
    async with serving(model, ONE) as place:
        text, end = await once(place)
        assert text == SENTENCE
        assert (end.finish_reason, end.reason, end.degraded) == ("stop", "", True)
        assert len(model.requests) == 2


async def test_a_stream_that_breaks_ends_where_the_whole_is_another(serving: Any, model: FakeOpenAI) -> None:
    model.faults += [RESET, Fault(answer=lambda _: "Outra coisa.")]
    async with serving(model, TWO) as place:
        text, end = await once(place)
        assert SENTENCE.startswith(text)
        assert text
        assert (end.finish_reason, end.reason) == ("error", "STREAM_BROKEN")


async def test_the_whole_is_asked_of_the_next_where_the_first_is_gone(serving: Any, model: FakeOpenAI) -> None:
    model.faults += [RESET, BROKEN]
    async with serving(model, TWO) as place:
        text, end = await once(place)
        assert (text, end.model) == (SENTENCE, "large")


async def test_the_deadline_is_shared_by_the_chain(serving: Any, model: FakeOpenAI) -> None:
    model.faults.append(NEVER)
    async with serving(model, TWO) as place:
        began = time.monotonic()
        talk = place.talk()
        opening = chat_pb2.Open()
        opening.timeout.FromMilliseconds(900)
        await talk._call.write(chat_pb2.ChatRequest(open=opening))
        await talk.read()
        _, end = await talk.ask("Oi")
        assert end.model == "large"
        assert time.monotonic() - began < 10
        await talk.finish()


async def test_the_shortest_timeout_is_one(serving: Any, model: FakeOpenAI) -> None:
    async with serving(model, ONE) as place:
        talk = place.talk()
        await talk._call.write(chat_pb2.ChatRequest(open=chat_pb2.Open(timeout={"nanos": 1})))
        await talk.read()
        _, end = await talk.ask("Oi")
        assert (end.engine, end.degraded) == ("extractive", True)
        await talk.finish()


async def test_a_breaker_opens_and_one_probe_closes_it(serving: Any, model: FakeOpenAI) -> None:
    model.otherwise = BROKEN
    async with serving(model, ONE) as place:
        for _ in range(5):
            await once(place)
        assert len(model.requests) == 3
        assert (await place.unary("ListModels", chat_pb2.ListModelsRequest())).models[0].breaker in {"open", "half_open"}
        await asyncio.sleep(0.6)
        model.otherwise = Fault(before_headers_seconds=1.5)
        answers = await asyncio.gather(*(once(place) for _ in range(4)))
        assert sum(end.engine == "openai" for _, end in answers) == 1
        assert len(model.requests) == 4
        assert (await once(place))[1].engine == "openai"


async def test_retry_after_opens_the_breaker_at_once(serving: Any, model: FakeOpenAI) -> None:
    model.faults.append(TOO_MANY.also(retry_after="60"))
    async with serving(model, ONE) as place:
        assert (await once(place))[1].engine == "extractive"
        assert (await once(place))[1].engine == "extractive"
        assert len(model.requests) == 1


async def test_when_to_ask_again_is_handed_on(serving: Any, model: FakeOpenAI) -> None:
    model.faults.append(TOO_MANY.also(retry_after="60"))
    async with serving(model, "last_resort = false\n" + ONE) as place:
        _, end = await once(place)
        assert (end.reason, end.retry_after.seconds) == ("MODEL_RATE_LIMITED", 60)
        _, end = await once(place)
        assert end.reason == "MODEL_BREAKER_OPEN"
        assert 30 < end.retry_after.ToTimedelta().total_seconds() <= 60
        assert len(model.requests) == 1


async def test_when_to_ask_again_is_handed_on_after_the_answer_began(serving: Any, model: FakeOpenAI) -> None:
    model.faults += [RESET.also(between_tokens_seconds=0.05), TOO_MANY.also(retry_after="60")]
    async with serving(model, ONE) as place:
        text, end = await once(place)
        assert text
        assert SENTENCE.startswith(text)
        assert (end.finish_reason, end.reason, end.retry_after.seconds) == ("error", "STREAM_BROKEN", 60)


async def test_an_answer_that_is_whole_says_nothing_of_asking_again(serving: Any, model: FakeOpenAI) -> None:
    model.faults.append(TOO_MANY.also(retry_after="60"))
    async with serving(model, TWO) as place:
        assert not (await once(place))[1].HasField("retry_after")


async def test_places_are_bounded(serving: Any, model: FakeOpenAI) -> None:
    model.otherwise = Fault(between_tokens_seconds=0.5)  # 2.5 s in all
    models = ONE.replace("[deployments.one]", "[deployments.one]\nmax_concurrent = 1\nmax_waiting = 0")
    async with serving(model, "last_resort = false\n" + models) as place:
        first = asyncio.create_task(once(place))
        while not model.requests:
            await asyncio.sleep(0.01)
        with pytest.raises(ResourceExhausted) as refused:
            await once(place)
        assert refused.value.reason == "MODEL_BUSY"
        assert (await first)[1].finish_reason == "stop"


async def test_routing_by_length_and_purpose(serving: Any, model: FakeOpenAI) -> None:
    async with serving(model, ROUTED) as place:
        assert (await once(place))[1].model == "tiny"
        assert (await once(place, "palavra " * 400))[1].model == "large"
        text, end = await once(place, purpose="insight.risk_alert")
        assert (end.model, end.degraded, text) == ("large", False, SENTENCE)


async def until_reloaded(result: str, before: float) -> None:
    deadline = time.monotonic() + 20
    while RELOADS.labels(result)._value.get() == before:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def reload(result: str) -> None:
    """As `kill -HUP` has it, to its end."""
    before = RELOADS.labels(result)._value.get()
    signal.raise_signal(signal.SIGHUP)
    await until_reloaded(result, before)


async def test_sighup_takes_the_new_file_and_keeps_the_old_where_it_is_wrong(serving: Any, model: FakeOpenAI) -> None:
    async with serving(model, TWO) as place:
        kept = place.service.models.deployed("two")
        assert (await once(place))[1].model == "tiny"
        place.file.write_text(place.file.read_text().replace('model = "tiny"', 'model = "large"'))
        await reload("taken")
        assert (await once(place))[1].model == "large"
        assert place.service.models.deployed("two") is kept
        place.file.write_text("default = 'nobody'\n")
        await reload("refused")
        assert (await once(place))[1].model == "large"


async def test_an_answer_under_way_outlives_the_deployment_it_comes_from(serving: Any, model: FakeOpenAI) -> None:
    model.faults.append(Fault(between_tokens_seconds=0.2))
    async with serving(model, TWO) as place:
        talk = place.talk()
        await talk.open()
        await talk.say("Oi")
        text = (await talk.read()).delta.text
        place.file.write_text(place.file.read_text().replace('model = "tiny"', 'model = "large"'))
        await reload("taken")
        rest, end = await talk.answer()
        assert (text + rest, end.model, end.degraded) == (SENTENCE, "tiny", False)
        assert (await talk.ask("Oi"))[1].model == "large"
        place.file.write_text(place.file.read_text().replace("main", "other"))
        await reload("taken")
        assert (await talk.ask("Oi"))[1].reason == "MODEL_NOT_FOUND"
        await talk.finish()


async def test_a_filtered_answer_says_so(serving: Any, model: FakeOpenAI) -> None:
    model.otherwise = Fault(finish_reason="content_filter")
    async with serving(model, ONE) as place:
        assert (await once(place))[1].reason == "CONTENT_FILTERED"


async def test_an_answer_at_its_limit_says_so(serving: Any, model: FakeOpenAI) -> None:
    async with serving(model, ONE) as place:
        text, end = await once(place, parameters=chat_pb2.Parameters(max_tokens=2))
        assert (text, end.finish_reason, end.reason) == ("Certo. Vou", "length", "MAX_TOKENS")
