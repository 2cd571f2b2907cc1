"""Trying a running server as its users would: is it well, does it answer, stream, hear, read and speak. What it does not have is said to be absent."""

import io
import ssl
import time
import wave
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import orjson

from malha.cli.output import counted
from malha.cli.smoke_picture import WORD, picture
from malha.runtime.errors import InvalidArgument, Unavailable
from malha.runtime.settings import MalhaSettings, RuntimeSettings

CHECK_SECONDS: Final = 120.0
"""The longest any answer may take; engines may still be loading."""
QUESTION: Final = "Bom dia. Qual é o horário de atendimento?"
SENTENCE: Final = "Good morning, I would like to cancel my contract."
_ABSENT_STATUSES: Final = frozenset({404, 405, 501})


class State(StrEnum):
    """How a check ended."""

    OK = "ok"
    ABSENT = "absent"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was tried."""

    name: str
    state: State
    detail: str
    milliseconds: float


class SmokeSettings(MalhaSettings):
    """Where the edge of this machine listens, as `malha up` is told."""

    edge_port: int = 8000


class _FailedError(Exception):
    """Something that is there does not work; the message says how."""


class _AbsentError(Exception):
    """The server does not have it."""


def default_url() -> str:
    """Of this machine's edge."""
    return f"http://127.0.0.1:{SmokeSettings().edge_port or 8000}"


async def checks(url: str, token: str, *, health_only: bool = False) -> AsyncIterator[Check]:
    """Each check as it ends. Raises InvalidArgument where ``url`` is no address, Unavailable if no server answers there."""
    ca = RuntimeSettings().tls_ca
    verify: ssl.SSLContext | bool = ssl.create_default_context(cafile=str(ca)) if ca is not None else True
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with httpx.AsyncClient(base_url=_address(url), headers=headers, timeout=CHECK_SECONDS, trust_env=False, verify=verify) as client:
        server = _Server(client)
        yield await server.check("health", server.health)
        if health_only:
            return
        yield await server.check("completion", server.complete, "chat")
        yield await server.check("stream", server.stream, "chat")
        yield await server.check("tts", server.speak, "synthesize")
        yield await server.check("asr", server.hear, "transcribe")
        yield await server.check("ocr", server.read, "ocr")


def _address(url: str) -> str:
    try:
        parts = urlsplit(url)
        known = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # brackets, or a port, that are none
        known = False
    if not known:
        raise InvalidArgument("--url takes the address of an edge, such as http://127.0.0.1:8000", reason="INVALID_URL")
    return url.rstrip("/")


class _Server:
    """Asks one server; remembers what it says it has, and what it spoke."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client
        self._statuses: dict[str, str] = {}
        self._speech = b""

    async def check(self, name: str, attempt: Callable[[], Awaitable[str]], capability: str = "") -> Check:
        """Try, unless the capability is absent."""
        begin = time.perf_counter()
        try:
            if capability and self._statuses.get(capability, "absent") == "absent":
                raise _AbsentError(f"this server has no {capability}")
            state, detail = State.OK, await attempt()
        except _AbsentError as error:
            state, detail = State.ABSENT, str(error)
        except httpx.RequestError as error:
            if not self._statuses:
                raise self._nobody(error) from error
            state, detail = State.FAILED, str(error) or type(error).__name__
        except _FailedError as error:
            if not self._statuses:
                raise Unavailable(f"{self._client.base_url} is {error}: name another with --url", reason="NO_SERVER") from error
            state, detail = State.FAILED, str(error)
        return Check(name, state, detail, round((time.perf_counter() - begin) * 1e3, 1))

    def _nobody(self, error: httpx.RequestError) -> Unavailable:
        why = f"{self._client.base_url} ({type(error).__name__})"
        return Unavailable(f"no server answers at {why}: start one with: malha up, or name another with --url", reason="NO_SERVER")

    async def health(self) -> str:
        """What serves; fails where something that is there does not."""
        response = await self._client.get("/api/v1/health")
        told = _json(response)
        capabilities = told.get("capabilities")
        if not isinstance(capabilities, dict):
            raise _FailedError("not an edge of Malha")
        self._statuses = {name: str(about["status"]) for name, about in capabilities.items()}
        groups = {
            status: [name for name, of in self._statuses.items() if of == status] for status in dict.fromkeys(self._statuses.values())
        }
        detail = "; ".join(f"{status}: {', '.join(names)}" for status, names in groups.items())
        if response.status_code != httpx.codes.OK or groups.keys() - {"serving", "absent"}:
            raise _FailedError(detail)
        return detail

    async def complete(self) -> str:
        """One answer, whole."""
        response = await self._client.post("/v1/chat/completions", json=_question())
        _see(response)
        text = str(_at(_json(response), "choices", 0, "message", "content") or "").strip()
        if not text:
            raise _FailedError("an answer without text")
        return f"{len(text)} characters by {_json(response).get('model')}"

    async def stream(self) -> str:
        """One answer as events, to ``[DONE]``."""
        pieces, last = 0, ""
        async with self._client.stream("POST", "/v1/chat/completions", json=_question() | {"stream": True}) as response:
            if not response.is_success:
                await response.aread()
            _see(response)
            async for line in response.aiter_lines():
                if line.startswith("data: "):
                    last = line.removeprefix("data: ")
                    pieces += self._is_text(last)
        if last != "[DONE]":
            raise _FailedError("the stream ended without [DONE]")
        if not pieces:
            raise _FailedError("a stream without text")
        return f"{counted(pieces, 'piece')}, then [DONE]"

    @staticmethod
    def _is_text(event: str) -> bool:
        if not event.startswith("{"):
            return False
        told = orjson.loads(event)
        if "error" in told:
            raise _FailedError(str(_at(told, "error", "message")))
        return bool(_at(told, "choices", 0, "delta", "content"))

    async def speak(self) -> str:
        """A sentence as WAV."""
        response = await self._client.post("/api/v1/tts", json={"text": SENTENCE, "language": "en", "format": "wav"})
        _see(response)
        try:
            with wave.open(io.BytesIO(_sized(response.content))) as speech:
                seconds = speech.getnframes() / speech.getframerate()
        except (wave.Error, EOFError) as error:
            raise _FailedError("what came is no WAV") from error
        if seconds < 1:
            raise _FailedError(f"{seconds:.1f} s for a whole sentence")
        self._speech = response.content
        return f"{seconds:.1f} s of speech"

    async def hear(self) -> str:
        """What was spoken just before, or a second of silence, as a multipart upload."""
        recording = self._speech or _silence()
        response = await self._client.post("/api/v1/asr", files={"file": ("smoke.wav", recording, "audio/wav")}, data={"language": "en"})
        _see(response)
        told = _json(response)
        words = len(str(told.get("text", "")).split())
        if self._speech and not words:
            raise _FailedError(f"engine {told.get('engine')!r} heard nothing")
        return f"{words} words by {told.get('engine')}" + ("" if self._speech else ", of silence: nothing could be spoken")

    async def read(self) -> str:
        """A picture of a word."""
        response = await self._client.post(
            "/api/v1/ocr", files={"file": ("smoke.png", picture(), "image/png")}, data={"languages": "pt,en"}
        )
        _see(response)
        text = str(_json(response).get("text", "")).strip()
        if WORD not in text.upper():
            raise _FailedError(f"{len(text)} characters were read, and not {WORD!r}")
        return f"{WORD!r} was read"


def _question() -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": QUESTION}], "max_tokens": 64}


def _see(response: httpx.Response) -> None:
    """Raise what a refusal means."""
    if response.is_success:
        return
    told = _json(response)
    message = _at(told, "error", "message") or told.get("message") or response.reason_phrase
    if response.status_code in _ABSENT_STATUSES:
        raise _AbsentError(f"{response.status_code}: {message}")
    raise _FailedError(f"{response.status_code}: {message}")


def _json(response: httpx.Response) -> dict[str, Any]:
    """The answer's object; empty where it is none."""
    try:
        told = orjson.loads(response.content)
    except orjson.JSONDecodeError:
        return {}
    return told if isinstance(told, dict) else {}


def _at(told: Any, *path: str | int) -> Any:
    """What lies there; None where nothing does."""
    for step in path:
        try:
            told = told[step]
        except (KeyError, IndexError, TypeError):
            return None
    return told


def _sized(streamed: bytes) -> bytes:
    """A WAV that was streamed before its length was known says so by its largest number; here it is known."""
    at = streamed.find(b"data", 12)
    return streamed if at < 0 else streamed[: at + 4] + (len(streamed) - at - 8).to_bytes(4, "little") + streamed[at + 8 :]


def _silence() -> bytes:
    """A second, as WAV."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as recording:
        recording.setnchannels(1)
        recording.setsampwidth(2)
        recording.setframerate(16_000)
        recording.writeframes(bytes(32_000))
    return buffer.getvalue()
