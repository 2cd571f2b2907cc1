"""Asks the model through Chat: one short conversation for each question.

Instructions, schema, catalogue and examples come first, the same from call to call, so that a server which caches prefixes reads them once. What
was said comes last and alone, as JSON: it is data, whatever it says.
"""

import asyncio
import contextlib
from dataclasses import dataclass
from typing import Any, Final

import grpc

from malha.api.chat.v1 import chat_pb2 as api
from malha.api.chat.v1 import chat_pb2_grpc
from malha.insight.answers import Checked, check
from malha.insight.domain import Draft, FewShot, InsightType, Offer, Request
from malha.insight.prompts import Prompt, make_prompt
from malha.runtime.durations import duration, seconds
from malha.runtime.errors import Unavailable
from malha.runtime.status import from_rpc_error

MOST_ANSWER_TOKENS: Final = 400
CLOSE_SECONDS: Final = 0.2
CUT: Final = "CUT"
FAILED: Final = "MODEL_FAILED"
NO_ANSWER: Final = frozenset({"INVALID_JSON", "WRONG_LANGUAGE"})

Metadata = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Ask:
    """A question to the model about one type."""

    type: InsightType
    request: Request
    language: str
    """BCP 47 tag the answer is wanted in."""
    offers: tuple[Offer, ...]
    few_shots: tuple[FewShot, ...]
    knowledge_base: str
    alias: str
    session_id: str
    timeout_seconds: float


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of it."""

    draft: Draft | None
    reason: str
    """Empty: ``draft`` may be shown. Else why not: ``EMPTY``, ``UNSUPPORTED``, ``NOT_IN_CATALOGUE``, ``INVALID_JSON``, ``CUT``, ..."""
    failed: bool
    """Whether the model did not answer what it was asked; else it did, and what it said may not be shown."""
    raw: str
    """As the model wrote it."""
    model: str
    degraded: bool
    """Another model than the one that was asked for answered."""
    prompt_version: str
    first_token_seconds: float
    total_seconds: float


async def ask(channel: grpc.aio.Channel, metadata: Metadata, asked: Ask) -> Answer:
    """Ask, and check the answer. Raises what Chat answers: MODEL_TIMEOUT, BUDGET_EXHAUSTED, ..."""
    prompt = make_prompt(asked.type, asked.language, asked.request, asked.offers, asked.few_shots)
    raw, end = await _complete(channel, metadata, asked, prompt)
    checked = _judge(raw, end, asked, prompt)
    return Answer(
        checked.draft,
        checked.reason,
        end.finish_reason != "stop" or checked.reason in NO_ANSWER,
        raw,
        end.model,
        end.degraded,
        prompt.version,
        seconds(end.first_token),
        seconds(end.total),
    )


def _judge(raw: str, end: api.MessageEnd, asked: Ask, prompt: Prompt) -> Checked:
    if end.finish_reason == "length":
        return Checked(None, CUT)
    if end.finish_reason != "stop":
        return Checked(None, end.reason or FAILED)
    quotes = tuple(citation.quote for citation in end.citations)
    return check(raw, asked.type, asked.language, asked.request, asked.offers, quotes, prompt.system)


async def _complete(channel: grpc.aio.Channel, metadata: Metadata, asked: Ask, prompt: Prompt) -> tuple[str, api.MessageEnd]:
    """The whole answer, and how it ended."""
    call = chat_pb2_grpc.ChatServiceStub(channel).Chat(metadata=metadata)
    try:
        for request in _requests(asked, prompt):
            await call.write(request)
        text: list[str] = []
        while (response := await call.read()) is not grpc.aio.EOF:
            kind = response.WhichOneof("event")
            if kind == "delta":
                text.append(response.delta.text)
            elif kind == "message_end":
                await _finish(call)
                return "".join(text), response.message_end
        raise Unavailable("Chat ended without an answer", reason=FAILED)
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error) from None
    except asyncio.InvalidStateError:
        raise Unavailable("Chat ended without an answer", reason=FAILED) from None
    finally:
        call.cancel()


def _requests(asked: Ask, prompt: Prompt) -> list[api.ChatRequest]:
    opening = api.Open(
        alias=asked.alias,
        language=asked.language,
        knowledge_base=asked.knowledge_base,
        parameters=api.Parameters(temperature=0.0, max_tokens=MOST_ANSWER_TOKENS),
        response_schema=prompt.schema,
        purpose=f"insight.{asked.type.value}",
        prompt_version=prompt.version,
        timeout=duration(asked.timeout_seconds),
        session_id=asked.session_id,
    )
    return [
        api.ChatRequest(open=opening),
        api.ChatRequest(message=api.Message(author=api.AUTHOR_SYSTEM, text=prompt.system)),
        api.ChatRequest(message=api.Message(author=api.AUTHOR_USER, text=prompt.data)),
    ]


async def _finish(call: Any) -> None:
    """End in good order, so that Chat's accounts are settled as usual; what it says after the answer is of no interest."""
    with contextlib.suppress(grpc.RpcError, asyncio.InvalidStateError, TimeoutError):
        async with asyncio.timeout(CLOSE_SECONDS):
            await call.write(api.ChatRequest(finish=api.Finish()))
            while await call.read() is not grpc.aio.EOF:
                pass
