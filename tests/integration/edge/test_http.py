"""Speech, REST, health and the page, over real HTTP."""

import asyncio
import base64
import gzip
import io
import wave

import av
import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from integration.edge.conftest import START, EdgeFor, RunningEdge, talk
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from fakes.audio_server import FakeServer, serving
from malha.api.synthesize.v1 import synthesize_pb2
from malha.edge import contracts, health
from malha.edge.metrics import REQUESTS

pytestmark = pytest.mark.asyncio(loop_scope="module")

TTS = "/api/v1/tts"
ALIGN = "/api/v1/transcribe:align"


def reason(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["reason"]


async def test_text_to_a_wav_file(edge: RunningEdge) -> None:
    async with edge.client() as client:
        answer = await client.post(TTS, json={"text": "Good morning. How are you?", "language": "en"})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "audio/wav"
    with wave.open(io.BytesIO(answer.content)) as file:
        assert file.getnchannels() == 1
        assert file.getsampwidth() == 2
        heard = len(answer.content) / 2 / file.getframerate()
    assert 0.8 < heard < 10


@pytest.mark.parametrize(("kind", "media_type"), [("ogg", "audio/ogg; codecs=opus"), ("mp3", "audio/mpeg")])
async def test_compressed_speech(edge: RunningEdge, kind: str, media_type: str) -> None:
    async with edge.client() as client:
        answer = await client.post(
            TTS, json={"text": "Good morning. How are you?", "language": "en", "format": kind, "sample_rate": 16_000}
        )
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == media_type
    with av.open(io.BytesIO(answer.content), format=kind) as container:
        heard = sum(frame.samples / frame.sample_rate for frame in container.decode(audio=0))
    assert 0.8 < heard < 10


async def test_speech_comes_in_chunks_while_it_is_made(edge: RunningEdge) -> None:
    text = "Good morning, how can I help you today? " * 50
    async with edge.client() as client, client.stream("POST", TTS, json={"text": text, "language": "en", "format": "pcm"}) as answer:
        assert answer.headers["transfer-encoding"] == "chunked"
        assert "content-length" not in answer.headers
        sizes = [len(chunk) async for chunk in answer.aiter_raw()]
    assert len(sizes) > 20
    assert sizes[0] < sum(sizes) / 20


async def test_raw_speech_names_its_rate(edge: RunningEdge) -> None:
    async with edge.client() as client:
        for kind, media_type in (("pcm", "audio/pcm;rate=8000"), ("mulaw", "audio/PCMU;rate=8000"), ("alaw", "audio/PCMA;rate=8000")):
            answer = await client.post(TTS, json={"text": "One.", "language": "en", "format": kind, "sample_rate": 8000, "speed": 1.5})
            assert answer.status_code == 200, answer.text
            assert answer.headers["content-type"] == media_type
            assert len(answer.content) > 1000


async def test_a_text_that_is_too_long_is_not_spoken_in_part(edge: RunningEdge) -> None:
    async with edge.client() as client:
        answer = await client.post(TTS, json={"text": "Good morning. " * 8000, "language": "en"})
    assert reason(answer) == (413, "TEXT_TOO_LONG")
    assert answer.json()["error"]["retryable"] is False


async def test_bad_speech(edge: RunningEdge) -> None:
    async with edge.client() as client:
        for body, told in (
            ({}, (400, "INVALID_FIELD")),
            ({"text": "  ", "language": "en"}, (400, "INVALID_FIELD")),
            ({"text": "a", "language": "en", "format": "flac"}, (400, "INVALID_FIELD")),
            ({"text": "a", "language": "en", "format": "ogg", "sample_rate": 44_100}, (415, "UNSUPPORTED_FORMAT")),
            ({"text": "a", "language": "en", "speed": 9}, (400, "INVALID_FIELD")),
            ({"text": "a", "language": "en", "volume": 9}, (400, "INVALID_FIELD")),
            ({"text": "a", "language": "xx"}, (400, "UNSUPPORTED_LANGUAGE")),
        ):
            assert reason(await client.post(TTS, json=body)) == told, body
        assert reason(await client.post(TTS, content=b"text")) == (400, "NOT_JSON")
        assert reason(await client.post(TTS, json={"text": "a" * 1_100_000})) == (413, "BODY_TOO_LARGE")
        assert reason(await client.get(TTS)) == (405, "METHOD_NOT_ALLOWED")
    async with edge.client(token="nobody") as client:
        assert reason(await client.post(TTS, json={"text": "a", "language": "en"})) == (401, "TOKEN_UNKNOWN")
    async with edge.client(token="") as client:
        assert reason(await client.post(TTS, json={"text": "a", "language": "en"})) == (401, "TOKEN_MISSING")


async def test_a_wrong_field_is_named_as_it_was_sent(edge: RunningEdge) -> None:
    async with edge.client() as client:
        for body, field in (({"speed": 9}, "speed"), ({"sample_rate": 3}, "sample_rate")):
            told = (await client.post(TTS, json={"text": "a", "language": "en", **body})).json()["error"]
            assert list(told["violations"]) == [field]
            assert told["message"].startswith(f"{field}: must be ")
        answer = await client.post("/api/v1/asr", files={"file": b"RIFF"}, data={"language": "x"})
        assert list(answer.json()["error"]["violations"]) == ["languages"]
        async with talk(edge) as call:
            vad = {"threshold_multiplier": -1}
            await call.say(**START, token=edge.token, vad_settings=vad)
            events, _ = await call.rest()
            assert list(events[-1]["violations"]) == ["vad_settings.threshold_multiplier"]
        answer = await client.post("/api/v1/asr", files={"file": b"RIFF"}, data={"words": "maybe"})
        assert answer.json()["error"]["violations"] == {"words": "must be one of true, 1, yes, on, false, 0, no, off"}


async def test_a_recording_in_json_may_be_as_large_as_its_contract_says(edge: RunningEdge) -> None:
    def request(size: int) -> dict[str, object]:
        return {
            "format": {"encoding": "ENCODING_PCM16"},
            "content": base64.b64encode(bytes(size)).decode(),
            "text": "one",
            "language": "en",
        }

    async with edge.client() as client:
        assert reason(await client.post(ALIGN, json=request(3_900_000))) == (400, "NO_ALIGNER")
        assert reason(await client.post(ALIGN, json=request(4_000_002))) == (400, "INVALID_FIELD")
        assert reason(await client.post(ALIGN, json=request(8_000_000))) == (413, "BODY_TOO_LARGE")
        assert reason(await client.post(ALIGN, json={"text": "a" * 8_000_000})) == (413, "BODY_TOO_LARGE")
    async with edge.client(token="nobody") as client:
        assert reason(await client.post(ALIGN, json=request(3_000_000))) == (401, "TOKEN_UNKNOWN")


async def test_text_is_not_escaped_in_json(edge_for: EdgeFor, monkeypatch: pytest.MonkeyPatch) -> None:
    async def voices(*_: object) -> synthesize_pb2.ListVoicesResponse:
        return synthesize_pb2.ListVoicesResponse(voices=[synthesize_pb2.Voice(name="João")])

    monkeypatch.setattr(FakeServer, "ListVoices", voices)
    async with serving() as fake, edge_for(fake.target) as edge, edge.client() as client:
        answer = await client.get("/api/v1/voices")
    assert "João".encode() in answer.content, answer.text


async def test_long_text_goes_in_pieces(fake: FakeServer, fake_edge: RunningEdge) -> None:
    text = "palavra " * 2000
    async with fake_edge.client() as client:
        answer = await client.post(TTS, json={"text": text, "voice": "ana"})
        assert answer.status_code == 200
        assert len(answer.content) == 2 * len(text)
        pieces = [request.text.text for request in fake.spoken if request.HasField("text")]
        assert "".join(pieces) == text
        assert max(map(len, pieces)) <= 4000


async def test_a_listener_that_leaves_ends_the_speech(edge_for: EdgeFor, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = asyncio.Event()

    async def speaks_on(_self: FakeServer, _iterator, context) -> None:
        try:
            await context.write(synthesize_pb2.SynthesizeResponse(opened={}))
            while True:
                await context.write(synthesize_pb2.SynthesizeResponse(audio={"content": bytes(8000)}))
                await asyncio.sleep(0.01)
        finally:
            ended.set()

    monkeypatch.setattr(FakeServer, "Synthesize", speaks_on)
    async with serving() as fake, edge_for(fake.target) as edge, edge.client() as client:
        async with client.stream("POST", TTS, json={"text": "on and on", "language": "en"}) as answer:
            assert answer.status_code == 200
            async for _ in answer.aiter_bytes(8000):
                break
        async with asyncio.timeout(10):
            await ended.wait()


async def test_rest_by_the_contracts(edge: RunningEdge) -> None:
    async with edge.client() as client:
        voices = (await client.get("/api/v1/voices", params={"language": "pt-BR"})).json()["voices"]
        assert voices
        assert all("pt" in voice["languages"][0] for voice in voices)
        models = (await client.get("/api/v1/transcribe/models")).json()["models"]
        assert models[0]["engine"]["name"] == "null"


async def test_rest_of_what_is_not_in_this_version(edge: RunningEdge) -> None:
    async with edge.client() as client:
        for answer in (
            await client.get("/api/v1/conversations/c1"),
            await client.get("/api/v1/conversations:search", params={"query": "x"}),
            await client.delete("/api/v1/speakers/s1"),
            await client.put("/api/v1/conversations/c1/state/k", json={"value": {"a": 1}}),
        ):
            assert reason(answer) == (501, "NOT_IN_THIS_VERSION"), answer.request.url


async def test_rest_fields_come_from_path_query_and_body(edge_for: EdgeFor) -> None:
    """Each request arrives as the message that its binding describes."""
    seen: dict[str, object] = {}

    def handler(method):
        async def answer(request, _context):
            seen[method.full_name] = request
            return method.output_type._concrete_class()

        return grpc.unary_unary_rpc_method_handler(
            answer, method.input_type._concrete_class.FromString, lambda message: message.SerializeToString()
        )

    server = grpc.aio.server()
    for service in contracts.SERVICES.values():
        unary = {method.name: handler(method) for method in service.methods if not method.client_streaming}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service.full_name, unary),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with edge_for(f"127.0.0.1:{port}", grpc_port=port) as edge, edge.client() as client:
            assert (await client.get("/api/v1/voices", params={"language": "pt-BR"})).status_code == 200
            assert seen["malha.api.synthesize.v1.SynthesizeService.ListVoices"].language == "pt-BR"
            assert (await client.get("/api/v1/voices", params={"languages": "pt-BR"})).status_code == 400
            body = {"text": "olá", "language": "pt", "format": {"encoding": "ENCODING_PCM16", "sampleRateHertz": 8000}, "content": "AAA="}
            assert (await client.post("/api/v1/transcribe:align", json=body)).status_code == 200
            aligned = seen["malha.api.transcribe.v1.TranscribeService.Align"]
            assert aligned.format.sample_rate_hertz == 8000
            assert aligned.content == b"\0\0"
            for wrong in ({"text": 5}, {"txt": "a"}, {"content": 5}, {"format": "wav"}, {"format": {"channels": 1.5}}):
                assert reason(await client.post("/api/v1/transcribe:align", json=wrong)) == (400, "INVALID_FIELD"), wrong
            assert reason(await client.post("/api/v1/transcribe:align", params={"text": "a"}, json={})) == (400, "INVALID_FIELD")
            assert reason(await client.post("/api/v1/transcribe:align", content=b"[]")) == (400, "NOT_JSON")
    finally:
        await server.stop(None)


async def test_rest_needs_a_token_that_the_service_knows(edge: RunningEdge) -> None:
    async with edge.client(token="") as client:
        assert reason(await client.get("/api/v1/voices")) == (401, "TOKEN_MISSING")
    async with edge.client(token="nobody") as client:
        assert reason(await client.get("/api/v1/voices")) == (401, "TOKEN_UNKNOWN")


async def test_rest_of_a_service_that_is_away(edge_for: EdgeFor) -> None:
    async with edge_for("127.0.0.1:1") as edge, edge.client() as client:
        answer = await client.get("/api/v1/voices")
    assert reason(answer) == (503, "SERVICE_AWAY")
    assert "127.0.0.1" not in answer.text


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service of this busy process may take its time to tell its health."""
    monkeypatch.setattr(health, "ASK_SECONDS", 20.0)


@pytest.mark.usefixtures("patient")
async def test_health_of_each_capability(edge: RunningEdge, edge_for: EdgeFor) -> None:
    async with edge.client(token="") as client:
        answer = await client.get("/api/v1/health")
    told = answer.json()
    assert set(told["capabilities"]) == set(contracts.SERVICES)
    assert len(contracts.SERVICES) == 10
    statuses = {name: told["capabilities"][name]["status"] for name in ("audio", "transcribe", "synthesize")}
    assert (answer.status_code, statuses) == (200, dict.fromkeys(statuses, "serving"))
    engines = {name: told["capabilities"][name]["engine"] for name in statuses}
    assert engines == {"audio": "webrtcvad", "transcribe": "null", "synthesize": "espeak"}
    async with serving() as fake, edge_for(fake.target) as half, half.client(token="") as client:
        answer = await client.get("/api/v1/health")
        assert answer.status_code == 503, "Transcribe is there and does not serve"
        capabilities = answer.json()["capabilities"]
        assert [capabilities[name]["status"] for name in ("audio", "transcribe", "synthesize", "chat")] == [
            "serving",
            "not_serving",
            "absent",
            "unreachable",
        ]


@pytest.mark.usefixtures("patient")
async def test_health_names_the_engine_that_the_service_tells(edge_for: EdgeFor) -> None:
    class Telling(HealthServicer):
        async def Check(self, request, context):
            await context.send_initial_metadata((("malha-engine", "pocketsphinx"),))
            return await super().Check(request, context)

    servicer, server = Telling(), grpc.aio.server()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    for service in contracts.SERVICES.values():
        await servicer.set(service.full_name, health_pb2.HealthCheckResponse.SERVING)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with edge_for(f"127.0.0.1:{port}", grpc_port=port) as edge, edge.client(token="") as client:
            answer = await client.get("/api/v1/health")
        assert answer.status_code == 200
        assert answer.json()["capabilities"]["transcribe"] == {"status": "serving", "engine": "pocketsphinx"}
    finally:
        await server.stop(None)


async def test_the_page_and_what_is_not_there(edge: RunningEdge) -> None:
    async with edge.client(token="") as client:
        page = await client.get("/")
        assert page.status_code == 200
        assert "/api/v1/openapi.json" in page.text
        assert reason(await client.get("/nothing")) == (404, "NOT_FOUND")
        for path in ("/api/v1/asr/stream", "/ws"):
            plain = await client.get(path)
            assert (reason(plain), plain.headers.get("upgrade")) == ((426, "UPGRADE_REQUIRED"), "websocket")
    with pytest.raises(InvalidStatus) as refused:
        await connect(f"ws://127.0.0.1:{edge.port}/api/v1/asr/streams")
    assert refused.value.response.status_code == 404
    assert b"openapi.json" in (refused.value.response.body or b"")


async def test_the_api_description(edge: RunningEdge, edge_for: EdgeFor) -> None:
    async with edge.client(token="") as client:
        told = (await client.get("/api/v1/openapi.json")).json()
    assert told["openapi"].startswith("3.1")
    assert {"/api/v1/asr", "/api/v1/tts", "/api/v1/voices"} <= told["paths"].keys()


async def test_off_loopback_the_api_description_needs_a_token(edge_for: EdgeFor, tmp_path) -> None:
    async with serving() as fake, edge_for(fake.target, host="0.0.0.0", insecure=True) as edge:
        async with edge.client(token="") as client:
            assert reason(await client.get("/api/v1/openapi.json")) == (401, "TOKEN_MISSING")
        async with edge.client(token="nobody") as client:
            assert (await client.get("/api/v1/openapi.json")).status_code == 401
        async with edge.client() as client:
            assert (await client.get("/api/v1/openapi.json")).status_code == 200


async def test_requests_are_limited_by_token(edge_for: EdgeFor) -> None:
    async with serving() as fake, edge_for(fake.target, requests_per_minute=3) as edge:
        async with edge.client() as client:
            answers = [await client.get("/api/v1/voices") for _ in range(4)]
            assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
            assert reason(answers[-1]) == (429, "RATE_LIMITED")
            assert 1 <= int(answers[-1].headers["retry-after"]) <= 21
            assert (await client.get("/api/v1/health")).status_code == 503, "probes are not limited"
        async with edge.client(token="another") as client:
            assert (await client.get("/api/v1/voices")).status_code == 401


async def test_a_limit_is_told_also_who_sends_a_large_body(edge_for: EdgeFor) -> None:
    async with serving() as fake, edge_for(fake.target, requests_per_minute=1) as edge:
        for path, status in (("/api/v1/tts", 413), ("/api/v1/tts", 429), ("/api/v1/asr", 429)):
            async with edge.client() as client:
                assert (await client.post(path, content=bytes(40_000_000))).status_code == status


async def test_a_compressed_body_is_refused_as_that(edge: RunningEdge) -> None:
    async with edge.client() as client:
        for path, content in ((TTS, b'{"text": "a", "language": "en"}'), ("/api/v1/asr", b"--x--")):
            answer = await client.post(path, content=gzip.compress(content), headers={"Content-Encoding": "gzip"})
            assert reason(answer) == (415, "UNSUPPORTED_MEDIA_TYPE")
            assert "Content-Encoding" in answer.json()["error"]["message"]
        plain = await client.post(TTS, json={"text": "a", "language": "en"}, headers={"Content-Encoding": "Identity"})
        assert plain.status_code == 200


async def test_pages_of_allowed_origins_may_call(edge_for: EdgeFor) -> None:
    async with serving() as fake, edge_for(fake.target, allowed_origins=("https://desk.example",)) as edge, edge.client() as client:
        answer = await client.get("/api/v1/voices", headers={"Origin": "https://desk.example"})
        assert answer.headers["access-control-allow-origin"] == "https://desk.example"
        answer = await client.get("/api/v1/voices", headers={"Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in answer.headers
    async with serving() as fake, edge_for(fake.target) as edge, edge.client() as client:
        answer = await client.get("/api/v1/voices", headers={"Origin": "https://desk.example"})
        assert "access-control-allow-origin" not in answer.headers


async def test_pages_of_allowed_origins_send_what_openai_s_client_does_and_read_every_refusal(edge_for: EdgeFor) -> None:
    page = {"Origin": "https://desk.example"}
    settings = {"allowed_origins": ("https://desk.example",), "requests_per_minute": 1}
    async with serving() as fake, edge_for(fake.target, **settings) as edge, edge.client() as client:
        asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type,x-stainless-lang"}
        assert (await client.options("/v1/chat/completions", headers=page | asked)).status_code == 200
        answers = [await client.get(path, headers=page) for path in ("/api/v1/voices", "/api/v1/voices", "/nowhere")]
        assert [answer.status_code for answer in answers] == [200, 429, 429]
        assert {answer.headers.get("access-control-allow-origin") for answer in answers} == {"https://desk.example"}


async def test_another_method_is_told_all_that_the_address_takes(edge: RunningEdge) -> None:
    async with edge.client() as client:
        for path, methods in (
            ("/api/v1/conversations/c1", "DELETE, GET, HEAD, PATCH, PUT"),
            ("/api/v1/jobs", "GET, HEAD, POST"),
            ("/api/v1/tts", "POST"),
        ):
            answer = await client.options(path)
            assert (answer.status_code, answer.headers["allow"]) == (405, methods), path


PATHS = (TTS, "/v1/chat/completions", "/v1/embeddings", "/api/v1/feedback", "/api/v1/conversations/c1/continue", "/api/v1/jobs")


async def test_a_client_that_leaves_within_its_body_is_no_defect(edge: RunningEdge, caplog: pytest.LogCaptureFixture) -> None:
    def answers(status: str) -> float:
        return sum(sample.value for each in REQUESTS.collect() for sample in each.samples if sample.labels.get("status") == status)

    before = answers("499"), answers("500")
    for path in PATHS:
        _, writer = await asyncio.open_connection("127.0.0.1", edge.port)
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {edge.token}\r\nContent-Length: 100\r\n\r\n"
        writer.write(f'{head}{{"te'.encode())
        await writer.drain()
        writer.close()
    async with asyncio.timeout(10):
        while answers("499") + answers("500") < sum(before) + len(PATHS):
            await asyncio.sleep(0.01)
    assert answers("500") == before[1]
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
