"""``POST /v1/audio/transcriptions`` where the recogniser is another server, and that one is away."""

import socket

import numpy as np
import pytest
from conftest import TOKEN, RunningServer, silence, voice
from integration.edge.conftest import EdgeFor
from integration.edge.test_uploads import wav

from fakes.openai_server_faults import Fault
from fakes.transcription_server import FakeTranscriptions
from malha.audio import recogniser
from malha.runtime.settings import RuntimeSettings
from malha.transcribe.choose import make_engine
from malha.transcribe.engine import TranscribeEngine
from malha.transcribe.settings import TranscribeSettings

pytestmark = pytest.mark.engine("openai")

URL = "/v1/audio/transcriptions"
TWICE = wav(np.concatenate([voice(1.0), silence(1.5), voice(1.0), silence(0.5)]))


def remote(url: str) -> TranscribeEngine:
    return make_engine(TranscribeSettings(_env_file=None, transcribe_engine="openai", remote_transcribe_url=url))


async def test_a_recogniser_that_is_away_is_told_while_the_client_waits(
    settings: RuntimeSettings, edge_for: EdgeFor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recogniser, "AWAY_SECONDS", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    async with (
        RunningServer(settings, remote(f"http://127.0.0.1:{port}/v1")) as services,
        edge_for(services.target, TOKEN, grpc_port=services.port) as edge,
        edge.client() as asking,
    ):
        answer = await asking.post(URL, files={"file": ("call.wav", TWICE)})
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "REMOTE_UNAVAILABLE")


async def test_a_recogniser_that_comes_back_has_missed_nothing(settings: RuntimeSettings, edge_for: EdgeFor) -> None:
    async with FakeTranscriptions(reply=lambda _: {"text": "Bom dia."}) as server:
        server.faults.extend([Fault(status=503)] * 4)
        async with (
            RunningServer(settings, remote(server.base_url)) as services,
            edge_for(services.target, TOKEN, grpc_port=services.port) as edge,
            edge.client() as asking,
        ):
            answer = await asking.post(URL, files={"file": ("call.wav", TWICE)})
    assert (answer.status_code, answer.json()) == (200, {"text": "Bom dia. Bom dia."})
    assert "malha-lost" not in answer.headers
