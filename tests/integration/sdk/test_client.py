"""Recordings, speech, and the calls with one answer."""

import asyncio
import io
import os
import shutil
import subprocess
import sys
import time
import wave
from pathlib import Path

import grpc
import pytest

from fakes.audio_server import TOKEN, error_info, serving
from fakes.wire import Wire
from malha.sdk import (
    ChatAnswer,
    ChatDelta,
    DeadlineExceeded,
    Engine,
    FailedPrecondition,
    InvalidRequest,
    Malha,
    Mark,
    Model,
    SessionLost,
    Unavailable,
    Voice,
)

ENGINE = Engine("fake", "1", "tiny")
RECORDING = b"RIFF" + bytes(range(256)) * 4_000


async def test_a_recording_from_each_kind_of_source(tmp_path):
    path = tmp_path / "call.mp3"
    path.write_bytes(RECORDING)
    async with serving() as server, Malha(server.target, TOKEN) as malha:
        for source in (path, str(path), RECORDING, io.BytesIO(RECORDING), [RECORDING[:5], RECORDING[5:]]):
            result = await malha.transcribe(source, language="en", words=True, roles=["agent", "customer"])
            assert (result.text, result.language, result.duration_seconds, result.engine) == ("the end", "en", 2.0, ENGINE)
            assert result.summary.segments == 1
            assert [(channel.role, channel.talk_seconds) for channel in result.channels] == [("agent", 1.0)]
            assert server.call.content == RECORDING
    opened = server.call.requests[0].open
    assert (opened.format.encoding, opened.pace, list(opened.languages), opened.words) == (7, 2, ["en"], True)
    assert [channel.role for channel in opened.channels] == [1, 2]
    assert not opened.format.HasField("sample_rate_hertz")
    assert not opened.format.HasField("channels")  # the file says
    assert max(len(piece.content) for piece in server.calls[0].pieces) == 262_144


async def test_progress_is_what_was_sent(tmp_path):
    path = tmp_path / "call.wav"
    path.write_bytes(RECORDING)
    seen = []
    async with serving() as server, Malha(server.target, TOKEN) as malha:
        await malha.transcribe(path, progress=lambda *told: seen.append(told))
    assert [sent for sent, _ in seen] == [262_144, 524_288, 786_432, len(RECORDING)]
    assert {size for _, size in seen} == {len(RECORDING)}


async def test_an_error_of_the_progress_callback_ends_the_call():
    async with serving() as server, Malha(server.target, TOKEN) as malha:
        with pytest.raises(ZeroDivisionError):
            await malha.transcribe(RECORDING, progress=lambda *_: 1 / 0)


async def test_a_recording_that_is_not_there_reaches_no_server(tmp_path):
    async with serving() as server, Malha(server.target, TOKEN) as malha:
        with pytest.raises(FileNotFoundError):
            await malha.transcribe(tmp_path / "none.wav")
        with pytest.raises(IsADirectoryError):
            await malha.transcribe(tmp_path)
    assert not server.calls


async def test_a_language_that_cannot_be_served():
    async def refuse(call):
        await call.read()
        await call.abort(
            grpc.StatusCode.FAILED_PRECONDITION,
            "run `malha models pull whisper/small`",
            error_info("ENGINE_MISSING", extra="faster-whisper"),
        )

    async with serving(refuse) as server, Malha(server.target, TOKEN) as malha:
        with pytest.raises(FailedPrecondition, match="models pull") as caught:
            await malha.transcribe(RECORDING, language="pt-BR")
    assert caught.value.metadata == {"extra": "faster-whisper"}


async def test_a_recording_whose_upload_breaks():
    async def breaks(call):
        await call.read()
        await call.opened(clock_rate=0)
        await call.read()
        await call.abort(grpc.StatusCode.UNAVAILABLE, "gone")

    async with serving(breaks) as server, Malha(server.target, TOKEN) as malha:
        with pytest.raises(SessionLost) as caught:
            await malha.transcribe(RECORDING)
    unsaved = caught.value.unsaved
    assert (unsaved.content, unsaved.header, unsaved.complete) == (b"", RECORDING[:65_536], False)  # the caller has the file


async def test_speech_as_it_is_made():
    async def pieces():
        yield "Bom "
        yield "dia"

    async with serving() as server, Malha(server.target, TOKEN) as malha:
        for text in ("Bom dia", pieces(), ["Bom ", "dia"], iter(["Bom ", "dia"])):
            server.spoken.clear()
            chunks = [chunk async for chunk in malha.say(text, language="pt-BR", voice="bob", speed=1.5)]
            assert b"".join(chunk.audio for chunk in chunks) == bytes(14)
            assert [mark.word for chunk in chunks for mark in chunk.marks] == ["Bom", "dia"]
            assert {chunk.sample_rate for chunk in chunks} == {22_050}
            opened = server.spoken[0].open
            assert (opened.language, opened.voice, opened.speed, opened.HasField("format")) == ("pt-BR", "bob", 1.5, False)
            assert "".join(request.text.text for request in server.spoken) == "Bom dia"
            assert server.spoken[-1].HasField("finish")


async def test_speech_in_another_encoding():
    async with serving() as server, Malha(server.target, TOKEN) as malha:
        chunks = [chunk async for chunk in malha.say("hello", language="en", encoding="mulaw")]
        wanted = server.spoken[0].open.format
        assert (wanted.encoding, wanted.sample_rate_hertz, wanted.channels) == (2, 8_000, 1)
        assert chunks[0].sample_rate == 8_000


async def test_speech_compressed_and_cloned():
    async with serving() as server, Malha(server.target, TOKEN) as malha:
        for encoding, number in (("ogg", 6), ("mp3", 8)):
            server.spoken.clear()
            stream = malha.say("hola", language="es", encoding=encoding, reference_audio=b"RIFF", consent_id="c-1")
            assert [chunk async for chunk in stream]
            opened = server.spoken[0].open
            assert (opened.format.encoding, opened.format.HasField("sample_rate_hertz")) == (number, False)
            assert (opened.reference_audio, opened.consent_id) == (b"RIFF", "c-1")
        with pytest.raises(InvalidRequest, match="ogg, mp3"):
            malha.say("hola", language="es", encoding="webm")


async def test_a_models_answer_is_spoken_as_it_comes_and_its_pauses_flush():
    async def answer():
        yield ChatDelta("Bom ")
        yield ChatDelta("dia")
        await asyncio.sleep(0.5)
        yield ChatDelta("!")
        yield ChatAnswer("Bom dia!", "alias", "model", "openai", "stop")

    async with serving() as server, Malha(server.target, TOKEN) as malha:
        chunks = [chunk async for chunk in malha.speak(answer(), language="pt", pause_seconds=0.1)]
        kinds = [request.WhichOneof("request") for request in server.spoken]
        assert kinds[:3] == ["open", "text", "text"]
        assert kinds.count("flush") == 1
        assert kinds.index("flush") == 3
        assert kinds[-1] == "finish"
        assert "".join(request.text.text for request in server.spoken) == "Bom dia!"
        assert chunks

        server.spoken.clear()
        await malha.synthesize([ChatAnswer("Tudo certo.", "alias", "model", "openai", "stop")], language="pt")
        assert "".join(request.text.text for request in server.spoken) == "Tudo certo."


async def test_speaking_ends_where_the_listener_leaves():
    left = asyncio.Event()

    async def answer():
        try:
            while True:
                yield "palavra "
                await asyncio.sleep(0.01)
        finally:
            left.set()

    async with serving() as server, Malha(server.target, TOKEN) as malha:
        async for _ in malha.speak(answer(), language="pt", pause_seconds=5):
            break
        await asyncio.wait_for(left.wait(), 5)


async def test_a_long_text_is_sent_in_parts():
    async with serving() as server, Malha(server.target, TOKEN) as malha:
        await malha.synthesize("a" * 9_000, language="en")
    assert [len(request.text.text) for request in server.spoken if request.HasField("text")] == [4_000, 4_000, 1_000]


async def test_a_whole_text_spoken():
    async with serving() as server, Malha(server.target, TOKEN) as malha:
        speech = await malha.synthesize("Bom dia", language="pt-BR", sample_rate=16_000)
    assert speech.pcm == bytes(14)
    assert (speech.sample_rate, speech.engine, speech.voice) == (16_000, ENGINE, "ana")
    assert speech.marks == (Mark("Bom", 0, 0.0), Mark("dia", 0, 0.0))
    assert speech.duration_seconds == 7 / 16_000
    with wave.open(io.BytesIO(speech.wav())) as file:
        assert (file.getframerate(), file.getnchannels(), file.readframes(100)) == (16_000, 1, bytes(14))


async def test_leaving_speech_early_stops_it():
    async def endless():
        while True:
            yield "word "
            await asyncio.sleep(0.01)

    async with serving() as server, Malha(server.target, TOKEN) as malha:
        async for _ in malha.say(endless(), language="en"):
            break
        async with asyncio.timeout(20):
            while server.speaking:
                await asyncio.sleep(0.01)
        spoken = len(server.spoken)
        await asyncio.sleep(0.1)
    assert len(server.spoken) == spoken


async def test_an_error_of_the_text_comes_back():
    async def broken():
        yield "one"
        raise RuntimeError("no more words")

    async with serving() as server, Malha(server.target, TOKEN) as malha:
        with pytest.raises(RuntimeError, match="no more words"):
            await malha.synthesize(broken(), language="en")


@pytest.mark.parametrize("piece", [b"bytes", 5, None])
async def test_text_of_the_wrong_type_comes_back_as_a_type_error(piece):
    """None too, which chunks of OpenAI's client hold: it does not end the text."""
    async with serving() as server, Malha(server.target, TOKEN) as malha:
        with pytest.raises(TypeError, match=f"not as {type(piece).__name__}"):
            await malha.synthesize(iter(["Bom dia. ", piece, "E mais."]), language="pt")


async def test_text_that_cannot_be_sent_is_refused_without_showing_it():
    """As Python makes it of an argument or a file that is not UTF-8."""
    text = b"caf\xe9 secreto".decode("utf-8", "surrogateescape")
    async with serving() as server, Malha(server.target, TOKEN) as malha:
        for asked in (malha.synthesize(text, language="pt"), malha.complete(text), malha.voices(text)):
            with pytest.raises(InvalidRequest, match="not UTF-8") as refused:
                await asked
            assert refused.value.reason == "TEXT_MALFORMED"
            assert refused.value.__suppress_context__
            assert "secreto" not in str(refused.value)


async def test_what_a_server_has():
    async with serving() as server, Malha(server.target, TOKEN) as malha:
        assert await malha.models() == (Model("tiny", ENGINE, ("en",)),)
        assert await malha.voices() == (Voice("ana", ("pt-BR",), "female"), Voice("bob", ("en",)))
        assert await malha.voices("en") == (Voice("bob", ("en",)),)
        health = await malha.health()
    assert health.serving
    assert health.services == {"audio": True, "transcribe": False}


async def test_unary_calls_are_retried_while_the_server_is_unavailable():
    async with serving() as server, Malha(server.target, TOKEN) as malha:
        server.unavailable = 3
        start = time.monotonic()
        assert await malha.models()
        assert time.monotonic() - start >= 0.35
        assert server.unary_calls == 4


async def test_and_given_up_after_three_times():
    async with serving() as server, Malha(server.target, TOKEN) as malha:
        server.unavailable = 100
        with pytest.raises(Unavailable, match="not yet"):
            await malha.models()
        assert server.unary_calls == 4


async def test_a_server_that_is_slow_to_connect_to_is_reached():
    async with serving() as server, Wire(server.port).laid() as wire, Malha(wire.target, TOKEN) as malha:
        wire.delay_seconds = 1.0
        assert await malha.models()
    assert server.unary_calls == 1


async def test_unary_calls_have_a_deadline():
    async def accept(_, writer):
        await closing.wait()
        writer.close()

    closing = asyncio.Event()
    mute = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        port = mute.sockets[0].getsockname()[1]
        async with Malha(f"127.0.0.1:{port}", TOKEN, timeout_seconds=0.3) as malha:
            start = time.monotonic()
            with pytest.raises((DeadlineExceeded, Unavailable)):
                await malha.models()
            assert time.monotonic() - start < 5
    finally:
        closing.set()
        mute.close()
        await mute.wait_closed()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes a certificate with openssl")
async def test_tls(tmp_path):
    key, certificate = tmp_path / "key.pem", tmp_path / "ca.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1"]
    command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", certificate]
    subprocess.run(command, check=True, capture_output=True, timeout=30)
    credentials = grpc.ssl_server_credentials([(key.read_bytes(), certificate.read_bytes())])
    async with serving(credentials=credentials) as server:
        target = f"localhost:{server.port}"
        async with Malha(target, TOKEN, ca=certificate) as malha:
            assert await malha.models()
            assert (await malha.transcribe(RECORDING)).text == "the end"
        async with Malha(target, TOKEN, tls=True) as malha:
            with pytest.raises(Unavailable):
                await malha.models()


async def test_the_environment_says_where_and_who(tmp_path):
    """In a process of its own: what `malha up` leaves behind is enough."""
    (tmp_path / "token").write_text(TOKEN + "\n")
    async with serving() as server:
        environment = {"MALHA_TARGET": server.target, "MALHA_DATA_DIR": str(tmp_path), "PATH": os.environ["PATH"], "HOME": str(Path.home())}
        environment |= {"http_proxy": "http://127.0.0.1:9", "grpc_proxy": "http://127.0.0.1:9"}  # not for this machine
        program = (
            "import asyncio\nfrom malha.sdk import Malha\n"
            "async def main():\n    async with Malha() as malha:\n        print(await malha.models())\nasyncio.run(main())"
        )
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        async with asyncio.timeout(30):
            output, errors = await process.communicate()
    assert (process.returncode, errors) == (0, b"")
    assert b"tiny" in output
