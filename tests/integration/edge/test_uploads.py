"""``POST /api/v1/asr``, before the real services and before one that can be told to misbehave."""

import asyncio
import io
import wave
from collections.abc import AsyncIterator

import grpc
import numpy as np
import pytest
from conftest import silence, voice
from integration.edge.conftest import EdgeFor, RunningEdge

from fakes.audio_server import FakeCall, FakeServer, error_info, serving
from malha.edge.upload_form import FORM_BYTES

pytestmark = pytest.mark.asyncio(loop_scope="module")

ASR = "/api/v1/asr"
BOUNDARY = "----edge-test"


def wav(samples: np.ndarray, channels: int = 1, rate: int = 16_000) -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.tobytes())
    return out.getvalue()


def call_wav() -> bytes:
    left, right = np.concatenate([voice(1.0), silence(2.0)]), np.concatenate([silence(1.5), voice(1.0), silence(0.5)])
    return wav(np.stack([left, right], axis=1).reshape(-1), channels=2)


def form(*parts: tuple[str, bytes], file_name: str = "call.wav") -> bytes:
    """A form whose parts stand in the order given, as curl sends them."""
    body = b""
    for name, value in parts:
        name_of_file = f'; filename="{file_name}"' if name == "file" else ""
        body += f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{name_of_file}\r\n\r\n'.encode() + value + b"\r\n"
    return body + f"--{BOUNDARY}--\r\n".encode()


FORM = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


async def test_a_recording_that_was_heard_is_left_with_its_status(edge_for: EdgeFor) -> None:
    ended: list[str] = []

    async def slow_to_end(call: FakeCall) -> None:
        await call.read()
        await call.opened()
        while (request := await call.read()) is not None and not request.HasField("finish"):
            pass
        await call.close()
        try:
            await asyncio.sleep(0.2)
            ended.append("OK")
        except asyncio.CancelledError:
            ended.append("CANCELLED")
            raise

    async with serving(slow_to_end) as fake, edge_for(fake.target) as edge, edge.client() as client:
        assert (await client.post(ASR, files={"file": ("c.wav", b"abc")})).status_code == 200
    assert ended == ["OK"]


async def test_a_recording_to_its_transcript(edge: RunningEdge) -> None:
    async with edge.client() as client:
        answer = await client.post(ASR, files={"file": ("call.wav", call_wav())})
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert told["engine"] == "null"
    assert told["duration_sec"] == pytest.approx(3.0, abs=0.1)
    assert [channel["channel"] for channel in told["channels"]] == [0, 1]
    assert all(channel["talk_sec"] > 0.5 for channel in told["channels"])
    assert {segment["channel"] for segment in told["segments"]} == {0, 1}
    assert [segment["start_sec"] for segment in told["segments"]] == sorted(segment["start_sec"] for segment in told["segments"])
    assert told["text"] == " ".join(segment["text"] for segment in told["segments"])
    assert {"id", "channel", "role", "start_sec", "end_sec", "text", "confidence", "speaker", "language", "words"} <= told["segments"][
        0
    ].keys()
    assert told["warnings"] == []


async def test_what_this_version_has_not_is_a_warning(edge: RunningEdge) -> None:
    async with edge.client() as client:
        fields = {"enable_alignment": "true", "enable_diarization": "true"}
        answer = await client.post(ASR, data=fields, files={"file": ("call.wav", wav(voice(1.0)))})
    assert answer.status_code == 200, answer.text
    assert [warning["reason"] for warning in answer.json()["warnings"]] == ["NOT_IN_THIS_VERSION", "ALIGNMENT_NOT_HERE"]


async def test_silence_is_an_empty_transcript(edge: RunningEdge) -> None:
    async with edge.client() as client:
        answer = await client.post(ASR, files={"file": ("call.wav", wav(silence(1.0)))})
    assert answer.status_code == 200
    assert answer.json()["text"] == ""
    assert answer.json()["segments"] == []


async def test_bad_recordings(edge: RunningEdge) -> None:
    async with edge.client() as client:
        for content, status, reason in (
            (b"", 400, "EMPTY_FILE"),
            (b"these words are no sound at all, whatever the name says" * 10, 415, "NOT_AUDIO"),
            (call_wav()[:20], 400, "CORRUPT_CONTAINER"),
        ):
            answer = await client.post(ASR, content=form(("file", content)), headers=FORM)
            error = answer.json()["error"]
            assert (answer.status_code, error["reason"]) == (status, reason), error
            assert error["message"]
            assert error["retryable"] is False


FORMS = {
    "no file": (form(("language", b"en")), FORM, 400, "MISSING_FILE"),
    "empty body": (b"", FORM, 400, "MALFORMED_FORM"),
    "not a form inside": (b"hello", FORM, 400, "MALFORMED_FORM"),
    "cut short": (form(("file", b"abc"))[:-8], FORM, 400, "MALFORMED_FORM"),
    "json": (b"{}", {"Content-Type": "application/json"}, 415, "UNSUPPORTED_MEDIA_TYPE"),
    "no boundary": (b"", {"Content-Type": "multipart/form-data"}, 415, "UNSUPPORTED_MEDIA_TYPE"),
    "unknown field": (form(("languge", b"en"), ("file", b"abc")), FORM, 400, "INVALID_FIELD"),
    "flag that is none": (form(("words", b"maybe"), ("file", b"abc")), FORM, 400, "INVALID_FIELD"),
    "unknown role": (form(("roles", b"boss"), ("file", b"abc")), FORM, 400, "INVALID_FIELD"),
    "a role left out": (form(("roles", b",customer"), ("file", b"abc")), FORM, 400, "INVALID_FIELD"),
    "two files": (form(("file", b"abc"), ("file", b"abc")), FORM, 400, "INVALID_FIELD"),
    "long field": (form(("language", b"e" * 5000), ("file", b"abc")), FORM, 400, "FIELD_TOO_LARGE"),
    "many fields": (form(*[("language", b"en")] * 40), FORM, 400, "TOO_MANY_FIELDS"),
    "a field twice": (form(("language", b"en"), ("language", b"pt"), ("file", b"abc")), FORM, 400, "INVALID_FIELD"),
    "field behind its file": (form(("language", b"en"), ("file", b"abc"), ("model", b"m")), FORM, 400, "FIELD_AFTER_FILE"),
}


async def test_bad_forms(fake: FakeServer, fake_edge: RunningEdge) -> None:
    told = {}
    async with fake_edge.client() as client:
        for name, (body, headers, _, _) in FORMS.items():
            answer = await client.post(ASR, content=body, headers=headers)
            told[name] = (body, headers, answer.status_code, answer.json()["error"]["reason"])
    assert told == FORMS


async def ask(edge: RunningEdge, *, token: str, length: int, expect: str = "") -> bytes:
    """The answer to a request whose body never comes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
    headers = [
        f"Authorization: Bearer {token}",
        f"Content-Type: {FORM['Content-Type']}",
        f"Content-Length: {length}",
        *([expect] if expect else []),
    ]
    writer.write("\r\n".join([f"POST {ASR} HTTP/1.1", "Host: x", *headers, "", ""]).encode())
    async with asyncio.timeout(5):
        head = await reader.readuntil(b"\r\n\r\n")
        size = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length"))
        answer = head + await reader.readexactly(size)
    writer.close()
    return answer


async def test_a_wrong_token_is_refused_before_the_body_is_read(fake: FakeServer, fake_edge: RunningEdge) -> None:
    for token in ("nobody", ""):
        answer = await ask(fake_edge, token=token, length=50_000_000)
        assert answer.startswith(b"HTTP/1.1 401 ")
        assert b"www-authenticate: Bearer" in answer.lower().replace(b"bearer", b"Bearer")
    async with fake_edge.client(token="nobody") as client:
        answer = await client.post(ASR, content=form(("file", bytes(20_000_000))), headers=FORM)
        assert answer.status_code == 401, "a client that sends it all before it listens is told too"
    assert not fake.calls


@pytest.mark.parametrize("order", ["fields first", "file first"])
async def test_fields_before_the_file_let_it_stream(fake: FakeServer, fake_edge: RunningEdge, order: str) -> None:
    """With the fields known the call is open before the file has come; otherwise the file waits for them."""
    first, second = form(("file", b"A" * 50_000 + b"B" * 50_000)).split(b"B", 1)
    head = form(("language", b"pt"))[: -len(f"--{BOUNDARY}--\r\n")] if order == "fields first" else b""
    seen_early: list[int] = []

    def seen() -> int:
        return sum(len(call.content) for call in fake.calls)

    async with fake_edge.client() as client:

        async def body() -> AsyncIterator[bytes]:
            yield head + first
            if order == "fields first":
                async with asyncio.timeout(10):
                    while seen() < 49_000:
                        await asyncio.sleep(0.01)
            else:
                await asyncio.sleep(0.3)
            seen_early.append(seen())
            yield b"B" + second

        answer = await client.post(ASR, content=body(), headers=FORM)
        assert answer.status_code == 200, answer.text
        assert fake.call.content == b"A" * 50_000 + b"B" * 50_000
        opened = fake.call.requests[0].open
        assert list(opened.languages) == (["pt"] if head else [])
        assert opened.words
        assert not opened.interim
        assert opened.pace == 2
        assert opened.format.encoding == 7
        assert (seen_early[0] >= 49_000) is (order == "fields first")
        assert answer.json()["text"] == "the end"


async def test_over_the_limit_by_its_length_it_is_not_read(edge_for: EdgeFor) -> None:
    async with serving() as fake, edge_for(fake.target, max_upload_bytes=100_000) as edge:
        for expect in ("", "Expect: 100-continue"):
            answer = await ask(edge, token=edge.token, length=100_000 + FORM_BYTES + 1, expect=expect)
            assert answer.startswith(b"HTTP/1.1 413 "), "not even asked to continue"
            assert b"BODY_TOO_LARGE" in answer
        async with edge.client() as client:
            answer = await client.post(ASR, content=form(("file", bytes(99_000))), headers=FORM)
            assert answer.status_code == 200
            answer = await client.post(ASR, content=form(("file", bytes(100_001))), headers=FORM)
            assert answer.status_code == 413


@pytest.mark.parametrize("fields_first", [False, True])
async def test_over_the_limit_without_a_length_it_is_refused_on_the_way(edge_for: EdgeFor, *, fields_first: bool) -> None:
    sent = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal sent
        parts = [("language", b"en")] if fields_first else []
        yield form(*parts, ("file", b"")).removesuffix(f"\r\n--{BOUNDARY}--\r\n".encode())
        for _ in range(40):
            yield bytes(50_000)
            sent += 50_000

    async with serving() as fake, edge_for(fake.target, max_upload_bytes=1_000_000) as edge, edge.client() as client:
        answer = await client.post(ASR, content=body(), headers=FORM)
        assert answer.status_code == 413
        assert answer.json()["error"]["reason"] == "BODY_TOO_LARGE"
        assert len(fake.calls) == fields_first
        if fields_first:
            async with asyncio.timeout(10):
                await fake.call.lost.wait()


async def test_a_client_that_leaves_while_it_waits_cancels_the_call(fake: FakeServer, fake_edge: RunningEdge) -> None:
    heard = asyncio.Event()

    async def thinks(call: FakeCall) -> None:
        await call.read()
        await call.opened()
        while (request := await call.read()) is not None and not request.HasField("finish"):
            pass
        heard.set()
        try:
            await asyncio.sleep(60)
        finally:
            call.lost.set()

    fake.behaviour = thinks
    async with fake_edge.client() as client, asyncio.timeout(30):
        asking = asyncio.create_task(client.post(ASR, content=form(("file", b"abc")), headers=FORM))
        await heard.wait()
        asking.cancel()
        await fake.call.lost.wait()


async def test_a_client_that_leaves_while_it_sends_cancels_the_call(fake: FakeServer, fake_edge: RunningEdge) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", fake_edge.port)
    body = form(("language", b"en"), ("file", bytes(5000)))
    writer.write(
        f"POST {ASR} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {fake_edge.token}\r\nContent-Type: {FORM['Content-Type']}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n".encode()
        + body[:3000]
    )
    async with asyncio.timeout(10):
        await fake.arrived.wait()
        writer.transport.abort()
        await fake.call.lost.wait()


async def test_what_the_service_says_becomes_the_status(edge_for: EdgeFor) -> None:
    for code, reason, status in (
        (grpc.StatusCode.FAILED_PRECONDITION, "LANGUAGE_NEEDS_EXTRA", 400),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_STREAMS", 429),
        (grpc.StatusCode.INVALID_ARGUMENT, "UNSUPPORTED_FORMAT", 415),
        (grpc.StatusCode.UNAVAILABLE, "DRAINING", 503),
        (grpc.StatusCode.INTERNAL, "INTERNAL", 500),
    ):

        async def refuses(call: FakeCall, code: grpc.StatusCode = code, reason: str = reason) -> None:
            await call.read()
            await call.abort(code, "no", error_info(reason))

        async with serving(refuses) as fake, edge_for(fake.target) as edge, edge.client() as client:
            answer = await client.post(ASR, data={"language": "en"}, files={"file": ("c.wav", b"abc")})
            assert (answer.status_code, answer.json()["error"]["reason"]) == (status, reason)
            assert answer.json()["error"]["code"] == code.name


async def test_a_service_that_dies_in_the_middle(edge_for: EdgeFor) -> None:
    async def dies(call: FakeCall) -> None:
        await call.read()
        await call.opened()
        await call.read()

    async with serving(dies) as fake, edge_for(fake.target) as edge, edge.client() as client:
        answer = await client.post(ASR, data={"language": "en"}, files={"file": ("c.wav", bytes(300_000))})
        assert (answer.status_code, answer.json()["error"]["reason"]) == (503, "SERVICE_AWAY")
    async with edge_for("127.0.0.1:1") as edge, edge.client() as client:
        answer = await client.post(ASR, files={"file": ("c.wav", b"abc")})
        assert (answer.status_code, answer.json()["error"]["reason"]) == (503, "SERVICE_AWAY")
        assert int(answer.headers["retry-after"]) >= 1


async def test_a_body_that_stands_still(edge_for: EdgeFor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("malha.edge.upload_form.BODY_SECONDS", 0.3)
    monkeypatch.setattr("malha.edge.upload_door.LINGER_SECONDS", 0.2)
    async with serving() as fake, edge_for(fake.target) as edge:
        reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
        writer.write(
            f"POST {ASR} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {edge.token}\r\nContent-Type: {FORM['Content-Type']}\r\n"
            "Content-Length: 9000\r\n\r\n--".encode()
        )
        async with asyncio.timeout(5):
            assert (await reader.read()).startswith(b"HTTP/1.1 408 ")
        writer.close()


async def test_too_many_recordings_at_once(edge_for: EdgeFor) -> None:
    async with serving() as fake, edge_for(fake.target, max_uploads=1) as edge, edge.client() as client:
        release = asyncio.Event()

        async def body() -> AsyncIterator[bytes]:
            whole = form(("language", b"en"), ("file", bytes(5000)))
            yield whole[:3000]
            await release.wait()
            yield whole[3000:]

        first = asyncio.create_task(client.post(ASR, content=body(), headers=FORM))
        async with asyncio.timeout(10):
            await fake.arrived.wait()
        second = await client.post(ASR, content=form(("file", b"abc")), headers=FORM)
        assert (second.status_code, second.json()["error"]["reason"]) == (429, "TOO_MANY_UPLOADS")
        release.set()
        assert (await first).status_code == 200
