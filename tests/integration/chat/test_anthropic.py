"""The anthropic engine against a real HTTP server that speaks Anthropic's protocol."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from malha.chat.choose import make_engine
from malha.chat.deployments import Deployed
from malha.chat.engine import Ask, Delta, Ended, Role, Sampling, Turn
from malha.chat.errors import ModelAnswerInvalid, ModelRateLimited, ModelRefused, ModelUnavailable
from malha.chat.models_file import Deployment
from malha.runtime.errors import FailedPrecondition


@dataclass
class Server:
    """Says "Bom dia." piece by piece; ``status``, ``events`` and ``stop_reason`` change that."""

    url: str = ""
    status: int = 200
    stop_reason: str | None = "end_turn"
    junk: bool = False
    requests: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)

    async def messages(self, request: Request) -> Response:
        self.requests.append(await request.json())
        self.keys.append(request.headers.get("authorization", ""))
        if self.status != 200:
            error = {"type": "error", "error": {"type": "rate_limit_error", "message": "secret text"}}
            return JSONResponse(error, self.status, headers={"retry-after": "7"})
        return StreamingResponse(self._events(), media_type="text/event-stream")

    async def _events(self) -> AsyncIterator[bytes]:
        if self.junk:
            yield b"event: message_start\ndata: <html>\n\n"
            return
        usage = {"input_tokens": 11, "output_tokens": 1}
        message = {"id": "m", "type": "message", "role": "assistant", "content": [], "model": "claude", "stop_reason": None, "usage": usage}
        yield _event("message_start", message=message)
        yield _event("content_block_start", index=0, content_block={"type": "text", "text": ""})
        yield _event("ping")
        for text in ("Bom", " dia."):
            yield _event("content_block_delta", index=0, delta={"type": "text_delta", "text": text})
        yield _event("content_block_stop", index=0)
        if self.stop_reason is not None:
            yield _event("message_delta", delta={"stop_reason": self.stop_reason}, usage={"output_tokens": 5})
            yield _event("message_stop")


def _event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


class _Uvicorn(uvicorn.Server):
    @asynccontextmanager
    async def running(self, listener: socket.socket) -> AsyncIterator[None]:
        serving = asyncio.create_task(self._serve([listener]))
        try:
            while not self.started:
                assert not serving.done()
                await asyncio.sleep(0.002)
            yield
        finally:
            self.should_exit = True
            await serving


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server()
    app = Starlette(routes=[Route("/v1/messages", made.messages, methods=["POST"])])
    listener = socket.create_server(("127.0.0.1", 0))
    made.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    config = uvicorn.Config(app, ws="none", lifespan="off", log_config=None, access_log=False, timeout_graceful_shutdown=1)
    async with _Uvicorn(config).running(listener):
        yield made


@pytest.fixture
def key(tmp_path: Path) -> Path:
    file = tmp_path / "key"
    file.touch(mode=0o600)
    file.write_text("sk-ant")
    return file


async def pieces(server: Server, key: Path, ask: Ask) -> list[Delta | Ended]:
    engine = make_engine(Deployment(engine="anthropic", base_url=server.url, model="claude", key_file=key))
    try:
        return [piece async for piece in engine.stream(ask)]
    finally:
        await engine.close()


async def test_it_streams_and_tells_what_it_used(server: Server, key: Path) -> None:
    ask = Ask("Oi", history=(Turn(Role.USER, "a"), Turn(Role.ASSISTANT, "b")), sampling=Sampling(temperature=0.5, stop=("FIM",)), schema={})
    assert await pieces(server, key, ask) == [Delta("Bom"), Delta(" dia."), Ended("stop", 11, 5, "claude")]
    [sent] = server.requests
    assert server.keys == ["Bearer sk-ant"]
    assert [message["role"] for message in sent["messages"]] == ["user", "assistant", "user"]
    assert (sent["stop_sequences"], sent["max_tokens"], sent["output_config"]["format"]) == (
        ["FIM"],
        1024,
        {"type": "json_schema", "schema": {}},
    )
    assert "temperature" not in sent


async def test_it_goes_on_from_a_beginning_where_it_is_set_to(server: Server, key: Path) -> None:
    await pieces(server, key, Ask("Oi", begun="Bom dia"))
    [sent] = server.requests
    assert sent["messages"] == [{"role": "user", "content": "Oi"}, {"role": "assistant", "content": "Bom dia"}]
    for continues in (None, False, True):
        settings = Deployment(engine="anthropic", base_url=server.url, model="claude", key_file=key, continues=continues)
        assert await Deployed("claude", settings).continues() is bool(continues)


@pytest.mark.parametrize(("stop_reason", "reason"), [("max_tokens", "length"), ("refusal", "filter"), ("stop_sequence", "stop")])
async def test_why_it_ended(server: Server, key: Path, stop_reason: str, reason: str) -> None:
    server.stop_reason = stop_reason
    assert (await pieces(server, key, Ask("Oi")))[-1] == Ended(reason, 11, 5, "claude")


@pytest.mark.parametrize(
    ("status", "kind"),
    [(429, ModelRateLimited), (529, ModelUnavailable), (500, ModelUnavailable), (401, ModelRefused), (400, ModelRefused)],
)
async def test_errors_are_told_without_their_text(server: Server, key: Path, status: int, kind: type[Exception]) -> None:
    server.status = status
    with pytest.raises(kind) as failed:
        await pieces(server, key, Ask("Oi"))
    assert "secret" not in str(failed.value)
    if status == 429:
        assert failed.value.retry_seconds == 7
    assert len(server.requests) == 1


async def test_a_cut_or_senseless_stream_is_no_answer(server: Server, key: Path) -> None:
    server.stop_reason = None
    with pytest.raises(ModelUnavailable) as failed:
        await pieces(server, key, Ask("Oi"))
    assert failed.value.reason == "MODEL_STREAM_CUT"
    server.junk = True
    with pytest.raises(ModelAnswerInvalid):
        await pieces(server, key, Ask("Oi"))


async def test_nobody_there(key: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ModelUnavailable):
        await pieces(Server(url=f"http://127.0.0.1:{port}"), key, Ask("Oi"))


async def test_it_has_no_vectors(server: Server, key: Path) -> None:
    engine = make_engine(Deployment(engine="anthropic", base_url=server.url, model="claude", key_file=key))
    with pytest.raises(FailedPrecondition):
        await engine.embed(["Oi"])
    await engine.close()
