"""An OpenAI-compatible server that misbehaves on demand: for what vLLM will not do when asked.

A real HTTP server of the test's own event loop, on a free port. It takes one `Fault` of its script for each request to an endpoint that answers
with text or vectors, and keeps what it received::

    async with FakeOpenAI(reply=lambda request: "Bom dia.") as server:
        server.faults += [TOO_MANY, RESET]          # the first request, the second; then all goes as `server.otherwise` says
        client = AsyncOpenAI(base_url=server.base_url, api_key="secret")
        ...
        assert "529.982.247-25" not in server.requests[0].prompt
"""

import asyncio
import contextlib
import itertools
import json
import socket
import struct
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any, Self

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from uvicorn.protocols.http.h11_impl import H11Protocol

from fakes.openai_server_answers import GOING_ON, SENTENCE, embedding, encoded, least, pieces
from fakes.openai_server_faults import WELL, Fault, Received

Reply = Callable[[Received], str]
_ERROR_TYPES = {401: "authentication_error", 404: "NotFoundError", 429: "rate_limit_error"}


def least_answer(request: Received) -> str:
    """`SENTENCE`, or the least that the request's schema allows."""
    return SENTENCE if request.schema is None else json.dumps(least(request.schema), ensure_ascii=False)


class FakeOpenAI:
    """Serves ``/v1/chat/completions`` (JSON and SSE), ``/v1/models``, ``/v1/embeddings`` and ``/health``; an async context manager."""

    def __init__(
        self,
        reply: Reply = least_answer,
        *,
        models: Sequence[str] = ("tiny",),
        key: str = "",
        owner: str = "malha",
        continues: bool = False,
    ) -> None:
        """``key``: the only one that is let in; empty: anybody. ``owner`` of its models: vLLM's are ``vllm``'s.

        ``continues``: it takes vLLM's ``continue_final_message``, and says what follows on that in its reply. Others answer anew, as they do.
        """
        self.reply = reply
        self.faults: deque[Fault] = deque()
        """Of the requests to come, one each."""
        self.otherwise = WELL
        """When the script is at its end."""
        self.requests: list[Received] = []
        self.port = 0
        self._models = models
        self._key = key
        self._owner = owner
        self._continues = continues
        self._numbers = itertools.count(1)
        self._connections: dict[tuple[str, int], asyncio.Transport] = {}
        self._serving: asyncio.Task[None] | None = None
        self._uvicorn: _Uvicorn | None = None

    @property
    def base_url(self) -> str:
        """As clients want it."""
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def last(self) -> Received:
        """The newest request."""
        return self.requests[-1]

    async def __aenter__(self) -> Self:
        app = Starlette(
            routes=[
                Route("/v1/chat/completions", self._scripted(self._chat), methods=["POST"]),
                Route("/v1/embeddings", self._scripted(self._embed), methods=["POST"]),
                Route("/v1/models", self._list_models),
                Route("/health", lambda _: Response()),
            ]
        )
        listener = socket.create_server(("127.0.0.1", 0))
        self.port = listener.getsockname()[1]
        self._uvicorn = _Uvicorn(_config(app, self._connections))
        self._serving = asyncio.create_task(self._uvicorn.serve([listener]))
        while not self._uvicorn.started:  # uvicorn tells it by this flag alone
            assert not self._serving.done(), "the fake server did not start"
            await asyncio.sleep(0.002)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._uvicorn is not None
        assert self._serving is not None
        self._uvicorn.should_exit = True
        await asyncio.wait([self._serving], timeout=0.2)
        for transport in list(self._connections.values()):  # clients that keep theirs open, and answers that never end
            transport.abort()
        await self._serving

    def _scripted(self, answer: Callable[[Received, Fault], Coroutine[Any, Any, Response]]) -> Callable[[Request], Any]:
        """An endpoint that obeys the script until its headers would be sent; ``answer`` makes what goes well, or wrong after that."""

        async def endpoint(request: Request) -> Response:
            received = await self._receive(request)
            if (refusal := self._refusal(received)) is not None:
                return refusal
            fault = self.faults.popleft() if self.faults else self.otherwise
            if fault.never:
                await self._until_gone(request, received)
                return Response()
            if fault.before_headers_seconds:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._until_gone(request, received), fault.before_headers_seconds)
                    return Response()
            if fault.reset_after == 0:
                self._reset(received)
            if fault.status != 200:
                return _error(
                    fault.status, "this was asked of the fake server", {"retry-after": fault.retry_after} if fault.retry_after else None
                )
            return await answer(received, fault)

        return endpoint

    async def _receive(self, request: Request) -> Received:
        assert request.client is not None
        received = Received(
            path=request.url.path,
            headers=dict(request.headers),
            body=await request.json(),
            at=asyncio.get_running_loop().time(),
            client=(request.client.host, request.client.port),
        )
        self.requests.append(received)
        return received

    def _refusal(self, received: Received) -> Response | None:
        if self._key and received.key != self._key:
            return _error(401, "Unauthorized")
        if received.body.get("model") not in self._models:
            return _error(404, "The model does not exist.")
        return None

    @staticmethod
    async def _until_gone(request: Request, received: Received) -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        received.left = True

    def _reset(self, received: Received) -> None:
        """End the connection by RST: with SO_LINGER of zero seconds nothing that was written need arrive either."""
        transport = self._connections[received.client]
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()

    async def _chat(self, received: Received, fault: Fault) -> Response:
        text, finish_reason = fault.answer(self.reply(received)), fault.finish_reason
        if self._continues and (begun := received.begun) is not None:
            text = text[len(begun) :] if text.startswith(begun) else GOING_ON
        parts = pieces(text)
        if received.most_tokens is not None and len(parts) > received.most_tokens:
            parts, finish_reason = parts[: received.most_tokens], "length"
        usage = _usage(received, len(parts))
        frame = {"id": f"chatcmpl-{next(self._numbers)}", "created": 1, "model": received.body["model"]}
        if received.stream:
            chunks = self._chunks(received, fault, frame, parts, finish_reason, usage)
            return StreamingResponse(chunks, media_type="text/event-stream")
        message = {"role": "assistant", "content": "".join(parts)}
        choice = {"index": 0, "message": message, "finish_reason": finish_reason}
        received.told = parts
        return self._json({**frame, "object": "chat.completion", "choices": [choice], "usage": usage}, received, fault)

    async def _chunks(
        self, received: Received, fault: Fault, frame: dict[str, Any], parts: list[str], finish_reason: str, usage: dict[str, int]
    ) -> AsyncIterator[bytes]:
        """The stream of an answer: role, pieces of text, why it ended, usage where asked for, ``[DONE]``."""

        def chunk(delta: dict[str, str] | None, reason: str | None = None, **fields: Any) -> bytes:
            choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": reason}]
            return b"data: " + json.dumps({**frame, "object": "chat.completion.chunk", "choices": choices, **fields}).encode() + b"\n\n"

        complete = False
        try:
            if fault.junk is not None:
                yield b"data: " + fault.junk + b"\n\n"
                complete = True
                return
            yield chunk({"role": "assistant", "content": ""})
            await asyncio.sleep(fault.before_first_token_seconds)
            for number, part in enumerate(parts):
                if number and fault.between_tokens_seconds:
                    await asyncio.sleep(fault.between_tokens_seconds)
                if number in (fault.reset_after, fault.end_after):
                    if number == fault.reset_after:
                        self._reset(received)
                    complete = True
                    return
                yield chunk({"content": part})
                received.told.append(part)
            yield chunk({}, finish_reason)
            if (received.body.get("stream_options") or {}).get("include_usage"):
                yield chunk(None, usage=usage)
            yield b"data: [DONE]\n\n"
            complete = True
        finally:
            received.left = not complete

    async def _embed(self, received: Received, fault: Fault) -> Response:
        texts = received.body["input"]
        texts = [texts] if isinstance(texts, str) else texts
        encoding = received.body.get("encoding_format", "float")
        data = [
            {"object": "embedding", "index": number, "embedding": encoded(embedding(text), encoding)} for number, text in enumerate(texts)
        ]
        count = sum(len(pieces(text)) for text in texts)
        usage = {"prompt_tokens": count, "total_tokens": count}
        return self._json({"object": "list", "data": data, "model": received.body["model"], "usage": usage}, received, fault)

    def _json(self, answer: dict[str, Any], received: Received, fault: Fault) -> Response:
        body = fault.junk if fault.junk is not None else json.dumps(answer, ensure_ascii=False).encode()[: fault.cut_body]
        if fault.reset_after is None:
            return Response(body, media_type="application/json")

        async def half() -> AsyncIterator[bytes]:
            yield body[: len(body) // 2]
            self._reset(received)

        return StreamingResponse(half(), media_type="application/json", headers={"content-length": str(len(body))})

    async def _list_models(self, request: Request) -> Response:
        if self._key and request.headers.get("authorization") != f"Bearer {self._key}":
            return _error(401, "Unauthorized")
        return JSONResponse(
            {"object": "list", "data": [{"id": name, "object": "model", "created": 1, "owned_by": self._owner} for name in self._models]}
        )


class _Uvicorn(uvicorn.Server):
    """Leaves the process's signals alone."""

    @contextlib.contextmanager
    def capture_signals(self):
        yield


def _config(app: Starlette, connections: dict[tuple[str, int], asyncio.Transport]) -> uvicorn.Config:
    """Connections are kept by the client's address, so that a request's own can be reset."""

    class Protocol(H11Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:
            super().connection_made(transport)
            self._peer = transport.get_extra_info("peername")
            connections[self._peer] = transport

        def connection_lost(self, exc: Exception | None) -> None:
            connections.pop(self._peer, None)
            super().connection_lost(exc)

    return uvicorn.Config(app, http=Protocol, ws="none", lifespan="off", log_config=None, log_level="critical", access_log=False)


def _usage(received: Received, completion: int) -> dict[str, int]:
    prompt = len(pieces(received.prompt))
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def _error(status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    kind = _ERROR_TYPES.get(status, "server_error")
    return JSONResponse({"error": {"message": message, "type": kind, "code": status, "param": None}}, status, headers=headers)
