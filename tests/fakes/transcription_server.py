"""A server with ``POST /v1/audio/transcriptions`` that misbehaves on demand, as `fakes.openai_server` does for chat."""

import asyncio
import contextlib
import io
import socket
import struct
import wave
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from fakes.openai_server import _config, _error, _Uvicorn
from fakes.openai_server_faults import WELL, Fault


@dataclass
class Heard:
    """A request as it came."""

    key: str
    fields: dict[str, list[str]]
    pcm: bytes
    rate: int
    at: float
    left: bool = False
    """The client went before it was answered."""

    @property
    def seconds(self) -> float:
        return len(self.pcm) / 2 / self.rate


def verbose(heard: Heard) -> dict[str, Any]:
    """Says how long it listened."""
    words = [{"word": "olá", "start": 0.1, "end": 0.4}, {"word": "mundo", "start": 0.5, "end": heard.seconds + 3}]
    told = {"task": "transcribe", "language": "portuguese", "duration": heard.seconds, "text": f"Olá mundo, {heard.seconds:.1f} segundos."}
    return {**told, "segments": [{"avg_logprob": -0.1}, {"avg_logprob": -0.3}], "words": words}


@dataclass
class FakeTranscriptions:
    """An async context manager. ``faults`` are of the requests to come, one each; then all goes as ``otherwise`` says."""

    reply: Callable[[Heard], dict[str, Any]] = verbose
    key: str = ""
    faults: deque[Fault] = field(default_factory=deque)
    otherwise: Fault = WELL
    requests: list[Heard] = field(default_factory=list)
    port: int = 0
    _connections: dict[tuple[str, int], asyncio.Transport] = field(default_factory=dict)
    _running: tuple[_Uvicorn, asyncio.Task[None]] | None = None

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def __aenter__(self) -> Self:
        listener = socket.create_server(("127.0.0.1", self.port))
        self.port = listener.getsockname()[1]
        app = Starlette(routes=[Route("/v1/audio/transcriptions", self._transcribe, methods=["POST"])])
        server = _Uvicorn(_config(app, self._connections))
        serving = asyncio.create_task(server.serve([listener]))
        while not server.started:
            assert not serving.done(), "the fake server did not start"
            await asyncio.sleep(0.002)
        self._running = server, serving
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._running is not None
        server, serving = self._running
        server.should_exit = True
        await asyncio.wait([serving], timeout=0.2)
        for transport in list(self._connections.values()):
            transport.abort()
        await serving

    async def _transcribe(self, request: Request) -> Response:
        heard = await self._hear(request)
        self.requests.append(heard)
        if self.key and heard.key != self.key:
            return _error(401, "Unauthorized")
        fault = self.faults.popleft() if self.faults else self.otherwise
        if fault.never or fault.before_headers_seconds:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._until_gone(request, heard), None if fault.never else fault.before_headers_seconds)
                return Response()
        if fault.reset_after is not None:
            assert request.client is not None
            transport = self._connections[(request.client.host, request.client.port)]
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()
        if fault.status != 200:
            return _error(fault.status, "as was asked", {"retry-after": fault.retry_after} if fault.retry_after else None)
        if fault.junk is not None:
            return Response(fault.junk, media_type="application/json")
        return JSONResponse(self.reply(heard))

    async def _hear(self, request: Request) -> Heard:
        async with request.form() as form:
            fields = {name: [str(value) for value in form.getlist(name)] for name in form if name != "file"}
            with wave.open(io.BytesIO(await form["file"].read())) as audio:
                assert (audio.getnchannels(), audio.getsampwidth()) == (1, 2)
                pcm, rate = audio.readframes(audio.getnframes()), audio.getframerate()
        key = request.headers.get("authorization", "").removeprefix("Bearer ")
        return Heard(key, fields, pcm, rate, asyncio.get_running_loop().time())

    @staticmethod
    async def _until_gone(request: Request, heard: Heard) -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        heard.left = True
