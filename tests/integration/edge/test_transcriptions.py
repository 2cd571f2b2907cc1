"""``POST /v1/audio/transcriptions``: by OpenAI's own client, by another Malha's engine, and by whoever sends what it should not."""

from pathlib import Path

import numpy as np
import openai
import pytest
from conftest import TOKEN, RunningServer, silence, voice
from integration.edge.conftest import EdgeFor, RunningEdge
from integration.edge.test_uploads import wav

from malha.runtime.settings import RuntimeSettings
from malha.transcribe.choose import make_engine
from malha.transcribe.engine import RecognitionConfig
from malha.transcribe.engines.pocketsphinx import PocketSphinxEngine
from malha.transcribe.engines.pocketsphinx_aligner import PocketSphinxAligner
from malha.transcribe.guard import whole
from malha.transcribe.settings import TranscribeSettings

pytestmark = pytest.mark.asyncio(loop_scope="module")

URL = "/v1/audio/transcriptions"
TWICE = wav(np.concatenate([voice(1.0), silence(1.5), voice(1.0), silence(0.5)]))


def client(edge: RunningEdge) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{edge.url}/v1", api_key=edge.token, max_retries=0, timeout=20)


async def test_openais_client_works_unchanged(edge: RunningEdge) -> None:
    async with client(edge) as asking:
        create = asking.audio.transcriptions.create
        plain = await create(file=("call.wav", TWICE), model="whisper-1", language="en", prompt="bom dia", temperature=0)
        text = await create(file=("call.wav", TWICE), model="whisper-1", response_format="text")
        verbose = await create(
            file=("call.wav", TWICE), model="whisper-1", response_format="verbose_json", timestamp_granularities=["word", "segment"]
        )
    assert plain.text.endswith("s of speech")
    assert text.strip() == plain.text
    assert verbose.text == plain.text
    assert verbose.duration == pytest.approx(4.0, abs=0.1)
    assert verbose.segments is not None
    assert [segment.id for segment in verbose.segments] == [0, 1]
    assert verbose.segments[1].start == pytest.approx(2.5, abs=0.3)
    assert verbose.words == []


async def test_the_same_below_api(edge: RunningEdge) -> None:
    async with edge.client() as asking:
        answer = await asking.post(f"/api{URL}", files={"file": ("call.wav", TWICE)})
    assert answer.status_code == 200
    assert set(answer.json()) == {"text"}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"response_format": "srt"}, "response_format"),
        ({"timestamp_granularities[]": "letter"}, "timestamp_granularities[]"),
        ({"stream": "true"}, "stream"),
        ({"diarise": "true"}, "diarise"),
    ],
)
async def test_what_is_not_known_is_an_error_in_openais_form(edge: RunningEdge, fields: dict[str, str], param: str) -> None:
    async with edge.client() as asking:
        answer = await asking.post(URL, data=fields, files={"file": ("call.wav", TWICE)})
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["type"], error["param"]) == ("invalid_request_error", param)


async def test_the_form_of_the_answer_is_judged_before_the_audio_is_heard(edge: RunningEdge) -> None:
    async with edge.client() as asking:
        answer = await asking.post(URL, data={"response_format": "srt"}, files={"file": ("call.wav", b"no audio at all")})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "response_format")


async def test_no_file_no_audio_no_token(edge: RunningEdge) -> None:
    async with edge.client() as asking, edge.client(token="wrong") as stranger:
        none = await asking.post(URL, data={"model": "whisper-1"}, files={})
        junk = await asking.post(URL, files={"file": ("call.wav", b"no audio at all")})
        refused = await stranger.post(URL, files={"file": ("call.wav", TWICE)})
    assert none.status_code in {400, 415}
    assert "error" in none.json()
    assert (junk.status_code, junk.json()["error"]["type"]) == (415, "invalid_request_error")
    assert (refused.status_code, refused.json()["error"]["type"]) == (401, "authentication_error")


@pytest.mark.engine("openai")
@pytest.mark.asyncio(loop_scope="function")
async def test_another_malhas_engine_is_served(settings: RuntimeSettings, edge_for: EdgeFor, tmp_path: Path, shared_data: Path) -> None:
    """Real speech, through the remote engine, an edge, Audio and PocketSphinx, and its words back."""
    from malha.bench.speech import decode

    key = tmp_path / "key"
    key.write_text(TOKEN)
    key.chmod(0o600)
    here = PocketSphinxEngine(TranscribeSettings(_env_file=None, transcribe_workers=1))
    async with RunningServer(settings, here) as services, edge_for(services.target, TOKEN, grpc_port=services.port) as edge:
        given = TranscribeSettings(
            _env_file=None,
            transcribe_engine="openai",
            remote_transcribe_url=f"{edge.url}/v1",
            remote_transcribe_key_file=key,
            remote_transcribe_seconds=300,
            remote_transcribe_total_seconds=300,
        )
        remote = make_engine(given)
        await remote.start()
        pcm = decode(shared_data / "speech" / "jfk.flac").tobytes()
        (found,) = [found async for found in remote.recognise(RecognitionConfig("t", "en", words=True), whole(pcm))]
        await remote.close()
    assert "can do for you" in found.text, "a broadcast of 1961: of all that is said in it these words are clearest"
    assert found.language == "en"
    assert 0 < found.confidence <= 1
    assert [word.text for word in found.words] == found.text.split()
    times = [word.start for word in found.words]
    assert times == sorted(times)
    assert 5 < times[-1] < 11


@pytest.mark.engine("pocketsphinx")
@pytest.mark.asyncio(loop_scope="function")
async def test_an_upload_with_alignment(settings: RuntimeSettings, edge_for: EdgeFor, shared_data: Path) -> None:
    from malha.bench.speech import decode

    here = PocketSphinxEngine(TranscribeSettings(_env_file=None, transcribe_workers=1))
    recording = wav(decode(shared_data / "speech" / "jfk.flac"))
    async with (
        RunningServer(settings, here, aligner=PocketSphinxAligner()) as services,
        edge_for(services.target, TOKEN, grpc_port=services.port) as edge,
        edge.client() as asking,
    ):
        asking.timeout = 300
        plain, aligned = [
            (await asking.post("/api/v1/asr", data={"language": "en", **fields}, files={"file": ("jfk.wav", recording)})).json()
            for fields in ({}, {"enable_alignment": "true"})
        ]
    assert aligned["warnings"] == []
    words = [[word for segment in told["segments"] for word in segment["words"]] for told in (plain, aligned)]
    assert [word["word"] for word in words[1]] == aligned["text"].split()
    starts = [[word["start_sec"] for word in each] for each in words]
    assert starts[1] == sorted(starts[1])
    assert starts[0] != starts[1]
    assert abs(starts[0][3] - starts[1][3]) < 0.3
