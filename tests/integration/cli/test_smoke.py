"""``malha smoke-test`` against a real server, and against edges that are not what they should be."""

import asyncio
import io
import json
import socket
import wave
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from integration.cli.program import run_malha
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from malha.bench.private_server import Running, private_server
from malha.cli.smoke_checks import Check, State, checks
from malha.runtime.errors import Unavailable

NAMES = ["health", "completion", "stream", "tts", "asr", "ocr"]


def test_a_running_server_passes(server: Running, tmp_path: Path) -> None:
    done = run_malha(tmp_path, "smoke-test", "--url", server.url, "--json", MALHA_TOKEN=server.token)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert (told["url"], told["ok"]) == (server.url, True)
    states = {check["name"]: check["state"] for check in told["checks"]}
    assert list(states) == NAMES
    assert states == dict.fromkeys(NAMES, "ok") | ({} if find_spec("rapidocr") else {"ocr": "absent"})
    text = run_malha(tmp_path, "smoke-test", "--url", server.url, "--health")
    assert (text.returncode, len(text.stdout.splitlines())) == (0, 1)
    assert "serving: audio, transcribe" in text.stdout


def test_no_server_and_no_token_are_one_line(tmp_path: Path) -> None:
    nobody = run_malha(tmp_path, "smoke-test", "--url", "http://127.0.0.1:1", "--health")
    assert nobody.returncode == 1
    assert nobody.stderr.startswith("malha: no server answers at http://127.0.0.1:1")
    keyless = run_malha(tmp_path, "smoke-test", "--url", "http://127.0.0.1:1")
    assert keyless.stderr.strip() == "malha: there is no token for that server: set MALHA_TOKEN, or start one with: malha up"


@pytest.mark.parametrize(
    "url", ["nonsense", "127.0.0.1:8000", "ftp://127.0.0.1", "http://", "http://[", "http://127.0.0.1:99999", "http://here:there"]
)
def test_what_is_no_address_is_told_so(url: str, tmp_path: Path) -> None:
    refused = run_malha(tmp_path, "smoke-test", "--url", url, "--health")
    assert refused.returncode
    assert refused.stderr == "malha: --url takes the address of an edge, such as http://127.0.0.1:8000\n"


def test_core_serves_calls_and_leaves_the_rest_out(tmp_path: Path) -> None:
    with private_server({"MALHA_TRANSCRIBE_ENGINE": "null", "MALHA_MODE": "core"}) as running:
        capabilities = httpx.get(f"{running.url}/api/v1/health", timeout=30, trust_env=False).json()["capabilities"]
        serving_now = {name for name, told in capabilities.items() if told["status"] == "serving"}
        assert serving_now == {"audio", "transcribe", "insight", "chat", "conversation", "synthesize"}
        assert {capabilities[name]["status"] for name in ("jobs", "ocr")} == {"absent"}
        done = run_malha(tmp_path, "smoke-test", "--url", running.url, MALHA_TOKEN=running.token)
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.splitlines()[-1].split()[:2] == ["ocr", "absent"]
        (tmp_path / "call.wav").write_bytes(_speech())
        left_out = run_malha(tmp_path, "diarize", str(tmp_path / "call.wav"), "--target", running.grpc, MALHA_TOKEN=running.token)
        assert "is not served here: its mode leaves it out" in left_out.stderr


def _speech() -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as speech:
        speech.setparams((1, 2, 16_000, 0, "NONE", ""))
        speech.writeframes(bytes(64_000))
    return buffer.getvalue()


def _stream(*events: str) -> PlainTextResponse:
    return PlainTextResponse("".join(f"data: {event}\n\n" for event in events), media_type="text/event-stream")


TEXT = json.dumps({"choices": [{"delta": {"content": "Bom dia"}}]})
ANSWERS: dict[str, Callable[[], Response]] = {
    "health": lambda: JSONResponse({"capabilities": {name: {"status": "serving"} for name in ("chat", "synthesize", "transcribe", "ocr")}}),
    "completion": lambda: JSONResponse({"model": "m", "choices": [{"message": {"content": "Bom dia"}}]}),
    "stream": lambda: _stream(TEXT, "[DONE]"),
    "tts": lambda: Response(_speech(), media_type="audio/wav"),
    "asr": lambda: JSONResponse({"text": "good morning", "engine": "e"}),
    "ocr": lambda: JSONResponse({"text": "Malha"}),
}
"""Of an edge that works."""


@asynccontextmanager
async def _edge(**instead: Callable[[], Response]) -> AsyncIterator[str]:
    answers = ANSWERS | instead

    async def chat(request: Request) -> Response:
        return answers["stream" if (await request.json()).get("stream") else "completion"]()

    def plain(name: str) -> Callable[[Request], Any]:
        async def answer(request: Request) -> Response:
            await request.body()
            return answers[name]()

        return answer

    routes = [
        Route("/api/v1/health", plain("health")),
        Route("/v1/chat/completions", chat, methods=["POST"]),
        *(Route(f"/api/v1/{name}", plain(name), methods=["POST"]) for name in ("tts", "asr", "ocr")),
    ]
    config = uvicorn.Config(Starlette(routes=routes), ws="none", lifespan="off", log_config=None, access_log=False)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server._serve([listener]))  # `serve` takes the test run's signals
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await serving


async def _tried(url: str) -> dict[str, Check]:
    return {check.name: check async for check in checks(url, "t")}


async def test_an_edge_that_works_passes() -> None:
    async with _edge() as url:
        told = await _tried(url)
    assert {name: check.state for name, check in told.items()} == dict.fromkeys(NAMES, State.OK)


@pytest.mark.parametrize(
    ("name", "answer", "said"),
    [
        ("health", lambda: JSONResponse({"capabilities": {"chat": {"status": "unreachable"}}}, 503), "unreachable: chat"),
        ("completion", lambda: JSONResponse({"error": {"message": "the model is away"}}, 503), "503: the model is away"),
        ("completion", lambda: JSONResponse({"choices": []}), "without text"),
        ("stream", lambda: _stream(TEXT), "without [DONE]"),
        ("stream", lambda: _stream("[DONE]"), "without text"),
        ("stream", lambda: _stream(json.dumps({"error": {"message": "broke"}}), "[DONE]"), "broke"),
        ("stream", lambda: PlainTextResponse("no", 500), "500: Internal Server Error"),
        ("tts", lambda: PlainTextResponse("RIFF"), "no WAV"),
        ("tts", lambda: Response(_speech()[:100]), "0.0 s for a whole sentence"),
        ("asr", lambda: JSONResponse({"text": " ", "engine": "e"}), "'e' heard nothing"),
        ("ocr", lambda: JSONResponse({"text": "Masha"}), "not 'MALHA'"),
    ],
)
async def test_what_is_there_and_does_not_work_fails(name: str, answer: Callable[[], Response], said: str) -> None:
    async with _edge(**{name: answer}) as url:
        told = await _tried(url)
    assert told[name].state is State.FAILED
    assert said in told[name].detail
    if name != "health":
        assert {check.name for check in told.values() if check.state is not State.OK} == {name}


@pytest.mark.parametrize("status", [404, 501])
async def test_what_is_not_there_is_absent_and_no_failure(status: int) -> None:
    async with _edge(tts=lambda: JSONResponse({"message": "not in this version"}, status)) as url:
        told = await _tried(url)
    assert told["tts"].state is State.ABSENT
    assert told["asr"].state is State.OK
    assert told["asr"].detail.endswith("nothing could be spoken")
    async with _edge(health=lambda: JSONResponse({"capabilities": {"chat": {"status": "absent"}}})) as url:
        told = await _tried(url)
    assert {check.state for name, check in told.items() if name != "health"} == {State.ABSENT}


async def test_something_else_on_that_port_is_no_malha() -> None:
    async with _edge(health=lambda: JSONResponse({"hello": "world"})) as url:
        with pytest.raises(Unavailable, match="is not an edge of Malha"):
            await _tried(url)
