"""The remote recogniser: OpenAI's own client and the guard around it, against a server that fails as it is told to."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from fakes.openai_server_faults import BROKEN, JUNK, NEVER, OVERLOADED, TOO_MANY, Fault
from fakes.transcription_server import FakeTranscriptions, Heard
from malha.runtime.errors import EngineBusy, FailedPrecondition, MalhaError, NotFound
from malha.transcribe.engine import Hypothesis, RecognitionConfig
from malha.transcribe.engines.openai import create
from malha.transcribe.errors import RecogniserOpen, RemoteAnswerInvalid, RemoteRateLimited, RemoteRefused, RemoteTimeout, RemoteUnavailable
from malha.transcribe.guard import GuardedEngine, whole
from malha.transcribe.settings import TranscribeSettings

pytestmark = pytest.mark.engine("openai")

SECOND = b"\x01\x02" * 16_000
SOON = Fault(status=429, retry_after="0.05")


@asynccontextmanager
async def asking(server: FakeTranscriptions, **given: object) -> AsyncIterator[GuardedEngine]:
    """The engine as settings make it, with little patience."""
    chosen = {"remote_transcribe_seconds": 5, "smart_routing_failures": 100, **given}
    engine = create(TranscribeSettings(_env_file=None, remote_transcribe_url=server.base_url, **chosen))
    await engine.start()
    try:
        yield engine
    finally:
        await engine.close()


async def ask(engine: GuardedEngine, pcm: bytes = SECOND, **given: object) -> Hypothesis:
    found = [found async for found in engine.recognise(RecognitionConfig(**{"tenant": "t", "language": "pt-BR", **given}), whole(pcm))]
    assert len(found) == 1
    return found[0]


async def test_an_utterance_becomes_a_wav_and_its_answer_a_hypothesis() -> None:
    async with FakeTranscriptions() as server, asking(server, remote_transcribe_model="whisper-large") as engine:
        found = await ask(engine, words=True, prompt="bom dia")
    heard = server.requests[0]
    assert (heard.pcm, heard.rate) == (SECOND, 16_000)
    assert heard.fields == {
        "model": ["whisper-large"],
        "language": ["pt"],
        "prompt": ["bom dia"],
        "response_format": ["verbose_json"],
        "timestamp_granularities[]": ["word", "segment"],
    }
    assert (found.text, found.final, found.language) == ("Olá mundo, 1.0 segundos.", True, "pt-BR")
    assert found.confidence == pytest.approx(0.819, abs=0.001)  # e to the mean of -0.1 and -0.3
    assert [(word.text, word.start, word.end) for word in found.words] == [("olá", 0.1, 0.4), ("mundo", 0.5, 1.0)]
    assert found.recogniser is not None
    assert (found.recogniser.name, found.recogniser.model) == ("openai", "whisper-large")


async def test_a_language_that_is_not_said_is_what_the_server_heard() -> None:
    async with FakeTranscriptions() as server, asking(server, remote_transcribe_format="json") as engine:
        assert (await ask(engine, language="", words=True)).language == "pt"
        assert "language" not in server.requests[0].fields
        assert server.requests[0].fields["response_format"] == ["json"]
        assert "timestamp_granularities[]" not in server.requests[0].fields
        assert not engine.capabilities.words


async def test_what_is_over_soon_is_tried_again() -> None:
    async with FakeTranscriptions() as server, asking(server) as engine:
        server.faults += [SOON, OVERLOADED]
        assert (await ask(engine)).text
    assert len(server.requests) == 3


async def test_a_server_that_says_when_is_asked_no_sooner() -> None:
    async with FakeTranscriptions() as server, asking(server) as engine:
        server.faults += [TOO_MANY]  # Retry-After: 1
        await ask(engine)
    first, second = (heard.at for heard in server.requests)
    assert second - first >= 0.99


async def test_a_pause_beyond_the_deadline_is_not_waited_for() -> None:
    async with FakeTranscriptions() as server, asking(server, remote_transcribe_total_seconds=60) as engine:
        server.faults += [Fault(status=429, retry_after="600")]
        began = time.monotonic()
        with pytest.raises(RemoteRateLimited) as raised:
            await ask(engine)
        assert time.monotonic() - began < 30
        assert raised.value.retry_seconds == 600
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("fault", "error", "asked"),
    [
        (BROKEN, RemoteUnavailable, 3),
        (Fault(reset_after=0), RemoteUnavailable, 3),
        (JUNK, RemoteAnswerInvalid, 3),
        (Fault(junk=b'{"text": 7}'), RemoteAnswerInvalid, 3),
        (Fault(junk=b'{"text": "x", "segments": [1]}'), RemoteAnswerInvalid, 3),
        (Fault(status=400), RemoteRefused, 1),
        (Fault(status=404), RemoteRefused, 1),
        (NEVER, RemoteTimeout, 3),
    ],
)
async def test_what_stays_wrong_is_an_error_that_quotes_nothing(fault: Fault, error: type[MalhaError], asked: int) -> None:
    patience = 1 if fault is NEVER else 30
    async with FakeTranscriptions(otherwise=fault) as server, asking(server, remote_transcribe_seconds=patience) as engine:
        with pytest.raises(error) as raised:
            await ask(engine)
        assert len(server.requests) == asked
    assert "as was asked" not in raised.value.message


async def test_a_server_that_is_away_is_an_error_and_then_left_alone() -> None:
    server = FakeTranscriptions()
    async with server:
        pass
    async with asking(server, smart_routing_failures=2, smart_routing_open_seconds=3, remote_transcribe_tries=1) as engine:
        for _ in range(2):
            with pytest.raises(RemoteUnavailable):
                await ask(engine)
        assert engine.left_alone
        with pytest.raises(RecogniserOpen) as raised:
            await ask(engine)
        assert raised.value.retry_seconds
        async with server:
            async with asyncio.timeout(30):
                while engine.left_alone:
                    await asyncio.sleep(0.05)
            assert (await ask(engine)).text  # the one call that tries closes the breaker
            assert not engine.left_alone
            assert (await ask(engine)).text


async def test_who_does_not_wait_any_more_leaves_the_server() -> None:
    async with FakeTranscriptions(otherwise=NEVER) as server, asking(server) as engine:
        waiting = asyncio.create_task(ask(engine))
        while not server.requests:
            await asyncio.sleep(0.01)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        async with asyncio.timeout(30):
            while not server.requests[0].left:
                await asyncio.sleep(0.02)


async def test_places_are_bounded() -> None:
    async with (
        FakeTranscriptions(otherwise=Fault(before_headers_seconds=0.3)) as server,
        asking(server, remote_transcribe_concurrency=1) as engine,
    ):
        outcomes = await asyncio.gather(*(ask(engine) for _ in range(7)), return_exceptions=True)
    assert sum(isinstance(outcome, EngineBusy) for outcome in outcomes) == 2  # one is asked for, four wait
    assert sum(isinstance(outcome, Hypothesis) for outcome in outcomes) == 5


async def test_the_key_comes_from_a_file_or_a_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "key"
    file.write_text("secret\n")
    file.chmod(0o600)
    monkeypatch.setenv("ASR_KEY", "secret")
    async with FakeTranscriptions(key="secret") as server:
        for given in ({"remote_transcribe_key_file": file}, {"remote_transcribe_key_env": "ASR_KEY"}):
            async with asking(server, **given) as engine:
                assert (await ask(engine)).text
        async with asking(server) as engine:
            with pytest.raises(RemoteRefused):
                await ask(engine)
    file.chmod(0o644)
    with pytest.raises(FailedPrecondition, match="chmod 600"):
        create(TranscribeSettings(_env_file=None, remote_transcribe_url=server.base_url, remote_transcribe_key_file=file))
    with pytest.raises(FailedPrecondition, match="ELSEWHERE holds no key"):
        create(TranscribeSettings(_env_file=None, remote_transcribe_url=server.base_url, remote_transcribe_key_env="ELSEWHERE"))


def test_without_a_server_it_says_what_to_set() -> None:
    with pytest.raises(FailedPrecondition, match="MALHA_REMOTE_TRANSCRIBE_URL"):
        create(TranscribeSettings(_env_file=None))


@pytest.mark.parametrize("url", ["ftp://host/v1", "host/v1", "https://user:key@host/v1", "https://host/v1?key=1"])
def test_a_wrong_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="must"):
        TranscribeSettings(_env_file=None, remote_transcribe_url=url)


async def test_another_model_is_not_asked_for() -> None:
    async with FakeTranscriptions() as server, asking(server) as engine:
        assert engine.check("xx", "").models == ("whisper-1",)
        with pytest.raises(NotFound):
            engine.check("pt", "whisper/small")


async def test_silence_needs_no_request() -> None:
    def never(_: Heard) -> dict[str, object]:
        raise AssertionError("asked")

    async with FakeTranscriptions(reply=never) as server, asking(server) as engine:
        assert not (await ask(engine, b"")).text
    assert not server.requests
