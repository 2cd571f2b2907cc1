"""Alignment by REST: what it takes is told to whoever sends something else, in the words of a JSON request."""

import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from conftest import TOKEN, RunningServer, voice
from integration.edge.conftest import running_edge

from fakes.wav import wav
from malha.runtime.settings import RuntimeSettings
from malha.synthesize.engine import SpeechConfig
from malha.synthesize.engines.espeak import EspeakEngine
from malha.synthesize.settings import SynthesizeSettings
from malha.transcribe.engines.null import NullEngine
from malha.transcribe.engines.pocketsphinx_aligner import PocketSphinxAligner
from malha.transcribe.settings import TranscribeSettings

PCM16 = {"encoding": "ENCODING_PCM16"}
ESPEAK_HERTZ = 22_050
SAMPLES = base64.b64encode(voice(2.0).tobytes()).decode()
FILE = base64.b64encode(wav(voice(2.0))).decode()
TAKEN = ("16-bit little-endian", "`content`", "base64", '"encoding": "ENCODING_PCM16"', '"sample_rate_hertz": 16000', "ffmpeg -i FILE")
FIELDS = "format, content (in base64), text, language"


@pytest.fixture
async def client(tmp_path: Path, settings: RuntimeSettings) -> AsyncIterator[httpx.AsyncClient]:
    engine = NullEngine(TranscribeSettings(_env_file=None))
    async with (
        RunningServer(settings, engine, aligner=PocketSphinxAligner()) as running,
        running_edge(tmp_path, running.target, TOKEN) as edge,
        edge.client() as shared,
    ):
        yield shared


async def speech(text: str) -> bytes:
    """espeak-ng's."""
    engine = EspeakEngine(SynthesizeSettings(_env_file=None))
    await engine.start()
    try:
        assert engine.capabilities.sample_rate_hertz == ESPEAK_HERTZ
        return b"".join([chunk.pcm async for chunk in engine.speak(SpeechConfig("t", "", "en"), text)])
    finally:
        await engine.close()


async def post(client: httpx.AsyncClient, **request: Any) -> tuple[int, dict[str, Any]]:
    answer = await client.post("/api/v1/transcribe:align", **request)
    return answer.status_code, answer.json()


@pytest.mark.engine("pocketsphinx")
async def test_what_it_takes(client: httpx.AsyncClient) -> None:
    spoken = await speech("hello there")
    broken = base64.encodebytes(spoken).decode()
    for content in (base64.b64encode(spoken).decode(), base64.urlsafe_b64encode(spoken).decode(), broken):
        code, told = await post(
            client, json={"text": "hello there", "content": content, "format": {**PCM16, "sample_rate_hertz": ESPEAK_HERTZ}}
        )
        assert (code, [word["text"] for word in told["words"]]) == (200, ["hello", "there"]), told


async def test_what_it_takes_is_told(client: httpx.AsyncClient) -> None:
    for reason, given in (
        ("UNSUPPORTED_FORMAT", {"content": FILE, "format": {"encoding": "ENCODING_WAV"}}),
        ("UNSUPPORTED_FORMAT", {"content": FILE, "format": PCM16}),
        ("UNSUPPORTED_FORMAT", {"content": SAMPLES, "format": {**PCM16, "channels": 2}}),
        ("PARTIAL_FRAME", {"content": "AAAA", "format": PCM16}),
        ("NO_AUDIO", {"format": PCM16}),
    ):
        code, told = await post(client, json={"text": "hello", **given})
        error = told["error"]
        assert (code, error["reason"]) == (415 if reason == "UNSUPPORTED_FORMAT" else 400, reason)
        assert all(words in error["message"] for words in TAKEN), error["message"]
        assert len(error["violations"]) == 1
        assert {"AudioStreamService", "open"}.isdisjoint(error["message"].replace(".", " ").split())


async def test_fields_keep_their_names(client: httpx.AsyncClient) -> None:
    for field, words, given in (
        ("format", "is required: encoding, sample_rate_hertz, channels", {"content": SAMPLES}),
        ("format", "must be a JSON object of encoding, sample_rate_hertz, channels", {"content": SAMPLES, "format": "wav"}),
        ("format.encoding", "must be one of ENCODING_PCM16, ", {"content": SAMPLES, "format": {}}),
        ("format.sample_rate_hertz", "greater than or equal to 8000", {"content": SAMPLES, "format": {**PCM16, "sample_rate_hertz": 4000}}),
        ("content", "must be bytes in base64", {"content": "call.wav", "format": PCM16}),
    ):
        code, told = await post(client, json={"text": "hello", **given})
        assert (code, told["error"]["reason"]) == (400, "INVALID_FIELD")
        assert list(told["error"]["violations"]) == [field]
        assert words in told["error"]["message"]


async def test_a_file_for_a_body(client: httpx.AsyncClient) -> None:
    for body in (
        {"files": {"file": wav(voice(1.0))}},
        {"content": wav(voice(1.0)), "headers": {"content-type": "audio/wav"}},
        {"content": "[]"},
    ):
        code, told = await post(client, **body)
        assert (code, told["error"]["reason"]) == (400, "NOT_JSON")
        assert told["error"]["message"] == f"the body must be a JSON object of {FIELDS}"
