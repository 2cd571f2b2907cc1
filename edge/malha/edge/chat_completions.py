"""``POST /v1/chat/completions`` and ``GET /v1/models`` as OpenAI has them, so that its clients work unchanged; the same below ``/api``.

The model is an alias. What OpenAI has no field for (who answered, what it quotes) stands in ``malha``, which its clients read over. An answer that
fails before its first token is an error with its status; in the midst of a stream it is an event, and ``[DONE]`` follows all the same.
"""

import secrets
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from typing import Any, Final

import grpc
from starlette.requests import Request
from starlette.responses import Response

from malha.api.chat.v1 import chat_pb2 as api
from malha.edge.bodies import json_body
from malha.edge.calls import Metadata, bearer, failure, metadata
from malha.edge.chat_errors import compatible, failed, openai_fields
from malha.edge.chat_request import Completion, completion_of
from malha.edge.chat_stream import DONE, KEEP_ALIVE, Asking, Events, chat_channel, data
from malha.edge.replies import json_response
from malha.edge.settings import EdgeSettings
from malha.runtime.errors import MalhaError, NotFound
from malha.runtime.mesh import Mesh

LIST_MODELS: Final = "/malha.api.chat.v1.ChatService/ListModels"
LIST_SECONDS: Final = 10.0
_FINISH: Final = {"stop": "stop", "length": "length", "cancelled": "stop"}


class Completions:
    """OpenAI's doors."""

    def __init__(self, settings: EdgeSettings, mesh: Mesh) -> None:
        self._settings = settings
        self._mesh = mesh

    @compatible
    async def complete(self, request: Request) -> Response:
        """``POST /v1/chat/completions``."""
        identity = _identity(request)
        asked = completion_of(await json_body(request, self._settings.max_body_bytes))
        async with AsyncExitStack() as stack:
            asking = await stack.enter_async_context(Asking(request, chat_channel(self._settings, self._mesh), identity, asked.requests))
            if not asked.stream:
                return json_response(_completion(asking, *await asking.whole()))
            first = await asking.event()
            if first is not None and first.HasField("message_end") and (error := failed(first.message_end)) is not None:
                raise error
            return Events(_chunks(asking, first, asked), stack.pop_all())

    @compatible
    async def models(self, request: Request) -> Response:
        """``GET /v1/models``."""
        return json_response({"object": "list", "data": [_model(model) for model in await self._list(_identity(request))]})

    @compatible
    async def model(self, request: Request) -> Response:
        """``GET /v1/models/{alias}``."""
        alias = request.path_params["alias"]
        for model in await self._list(_identity(request)):
            if model.alias == alias:
                return json_response(_model(model))
        raise NotFound("there is no model of this name; GET /v1/models lists them", reason="MODEL_NOT_FOUND")

    async def _list(self, identity: Metadata) -> list[api.Model]:
        method = self._mesh.channel("chat").unary_unary(
            LIST_MODELS, request_serializer=api.ListModelsRequest.SerializeToString, response_deserializer=api.ListModelsResponse.FromString
        )
        try:
            answer: api.ListModelsResponse = await method(api.ListModelsRequest(), metadata=identity, timeout=LIST_SECONDS)
        except grpc.aio.AioRpcError as error:
            raise failure(error) from None
        return list(answer.models)


def _identity(request: Request) -> Metadata:
    return metadata(bearer(request.headers.get("authorization", "")))


def _completion(asking: Asking, text: str, end: api.MessageEnd) -> dict[str, Any]:
    """A whole answer. Raises the error of one that is not whole."""
    if (error := failed(end)) is not None:
        raise error
    message = {"role": "assistant", "content": text, "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _finish_reason(end)}
    return {**_head(asking, "chat.completion"), "choices": [choice], "usage": usage_of(end), "malha": told_of(end)}


async def _chunks(asking: Asking, first: api.ChatResponse | None, asked: Completion) -> AsyncGenerator[bytes]:
    """The events of a stream, the first of which has come, or lets itself be waited for. What is there at the same time goes in one piece."""
    head, event = _head(asking, "chat.completion.chunk"), first
    before = _chunk(head, {"role": "assistant", "content": ""})
    try:
        while event is None or not event.HasField("message_end"):
            yield before + (KEEP_ALIVE if event is None else _chunk(head, {"content": event.delta.text}))
            before = b""
            event = await asking.event()
        end = event.message_end
        if (error := failed(end)) is not None:
            raise error
        usage = data({**head, "choices": [], "usage": usage_of(end)}) if asked.include_usage else b""
        yield before + _chunk(head, {}, _finish_reason(end), malha=told_of(end)) + usage + DONE
    except MalhaError as error:
        yield before + data(openai_fields(error)) + DONE


def _head(asking: Asking, kind: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{secrets.token_hex(12)}", "object": kind, "created": int(time.time()), "model": asking.opened.alias}


def _chunk(head: dict[str, Any], delta: dict[str, str], finish_reason: str | None = None, **fields: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
    return data({**head, "choices": [choice], **fields})


def _finish_reason(end: api.MessageEnd) -> str:
    return "content_filter" if end.reason == "CONTENT_FILTERED" else _FINISH.get(end.finish_reason, "stop")


def usage_of(end: api.MessageEnd) -> dict[str, int]:
    """Tokens, as OpenAI counts them."""
    total = end.prompt_tokens + end.completion_tokens
    return {"prompt_tokens": end.prompt_tokens, "completion_tokens": end.completion_tokens, "total_tokens": total}


def told_of(end: api.MessageEnd) -> dict[str, Any]:
    """What only Malha tells of an answer. Durations in seconds."""
    return {
        "model": end.model,
        "engine": end.engine,
        "degraded": end.degraded,
        "cached": end.cached,
        "reason": end.reason,
        "message_id": end.message_id,
        "first_token_sec": end.first_token.ToNanoseconds() / 1e9,
        "total_sec": end.total.ToNanoseconds() / 1e9,
        "citations": [
            {"document_id": cited.document_id, "title": cited.title, "quote": cited.quote, "score": cited.score} for cited in end.citations
        ],
    }


def _model(model: api.Model) -> dict[str, Any]:
    told = {"model": model.model, "engine": model.engine, "fallbacks": list(model.fallbacks), "breaker": model.breaker}
    return {"id": model.alias, "object": "model", "created": 0, "owned_by": "malha", "malha": told}
