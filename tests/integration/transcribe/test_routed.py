"""Several recognisers as one: PocketSphinx, a tiny Whisper and a remote server, all of them real but for what the server says."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import numpy as np
import pytest
from conftest import AUTHORIZED, TOKEN, RunningServer, silence, voice

from fakes.openai_server_faults import BROKEN, NEVER
from fakes.talkers import wav
from fakes.transcription_server import FakeTranscriptions
from malha.api.common.v1 import media_pb2
from malha.api.transcribe.v1 import transcribe_pb2 as api
from malha.api.transcribe.v1 import transcribe_pb2_grpc
from malha.bench.whisper_weights import build_whisper
from malha.runtime.errors import FailedPrecondition, NotFound, UnsupportedLanguage
from malha.runtime.settings import RuntimeSettings
from malha.sdk import Malha
from malha.transcribe.choose import make_engine
from malha.transcribe.engine import Hypothesis, RecognitionConfig
from malha.transcribe.engines.faster_whisper import Device, FasterWhisperEngine, FasterWhisperSettings
from malha.transcribe.errors import RemoteUnavailable
from malha.transcribe.guard import GuardedEngine, GuardLimits, whole
from malha.transcribe.router import RoutedEngine
from malha.transcribe.routing import parse_rules
from malha.transcribe.settings import TranscribeSettings

pytestmark = [pytest.mark.engine("pocketsphinx"), pytest.mark.engine("faster-whisper"), pytest.mark.engine("openai")]

SCRIPT = "quero cancelar minha assinatura"
RULES = "en<2: pocketsphinx, tiny; en: tiny, pocketsphinx; pt: tiny, openai; *: openai, tiny"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_whisper(tmp_path_factory.mktemp("models") / "tiny", script=SCRIPT)


@asynccontextmanager
async def routed(tiny: Path, server: FakeTranscriptions, **given: object) -> AsyncIterator[RoutedEngine]:
    """As settings make it."""
    chosen = {"smart_routing_rules": RULES, "remote_transcribe_tries": 1, "transcribe_workers": 1, **given}
    settings = TranscribeSettings(
        _env_file=None, smart_routing_enabled=True, whisper_model=str(tiny), remote_transcribe_url=server.base_url, **chosen
    )
    engine = make_engine(settings)
    assert isinstance(engine, RoutedEngine)
    await engine.start()
    try:
        yield engine
    finally:
        await engine.close()


async def ask(engine: RoutedEngine, language: str, seconds: float = 1.0, **given: object) -> Hypothesis:
    pcm = voice(seconds).tobytes()
    found = [found async for found in engine.recognise(RecognitionConfig("t", language, **given), whole(pcm))]
    assert len(found) == 1
    return found[0]


async def who(engine: RoutedEngine, language: str, seconds: float = 1.0, **given: object) -> str:
    found = (await ask(engine, language, seconds, **given)).recogniser
    assert found is not None
    return found.name


async def test_each_utterance_goes_where_the_rules_say(tiny: Path) -> None:
    async with FakeTranscriptions() as server, routed(tiny, server) as engine:
        assert [await who(engine, "en", seconds) for seconds in (1.0, 2.5)] == ["pocketsphinx", "faster-whisper"]
        assert [await who(engine, language) for language in ("pt-BR", "fr", "")] == ["faster-whisper", "openai", "openai"]
        assert len(server.requests) == 2
        assert (await ask(engine, "pt")).text == SCRIPT
        # what the first can do is what is told before anything is heard
        assert [engine.check(language, "").name for language in ("en", "pt", "fr")] == ["pocketsphinx", "faster-whisper", "openai"]
        assert set(engine.capabilities.models) == {"tiny", "en-us-calls", "whisper-1"}
        assert not engine.check("en", "").incremental


async def test_a_caller_may_name_the_model_or_the_recogniser(tiny: Path) -> None:
    async with FakeTranscriptions() as server, routed(tiny, server) as engine:
        assert await who(engine, "pt", model="whisper-1") == "openai"
        assert await who(engine, "en", model="tiny") == "faster-whisper"
        assert await who(engine, "en", model="pocketsphinx") == "pocketsphinx"
        with pytest.raises(NotFound, match="tiny"):
            engine.check("pt", "whisper/large-v3")


async def test_where_one_is_down_the_next_is_asked_and_soon_at_once(tiny: Path) -> None:
    whisper = FasterWhisperEngine(FasterWhisperSettings(tiny, "tiny", (Device("cpu"),), instance="whisper down"))
    async with FakeTranscriptions() as server:
        remote = make_engine(TranscribeSettings(_env_file=None, transcribe_engine="openai", remote_transcribe_url=server.base_url))
        assert isinstance(remote, GuardedEngine)
        local = GuardedEngine("tiny", whisper, GuardLimits(failures=2, open_seconds=60))
        engine = RoutedEngine({"tiny": local, "openai": remote}, parse_rules("*: tiny, openai", ("tiny", "openai")), 20)
        await engine.start()
        try:
            assert await who(engine, "pt") == "faster-whisper"
            await whisper.close()
            for _ in range(2):
                assert await who(engine, "pt") == "openai"
            assert local.left_alone
            assert await who(engine, "pt") == "openai"
        finally:
            await engine.close()


async def test_who_is_slow_is_overtaken(tiny: Path) -> None:
    async with FakeTranscriptions(otherwise=NEVER) as server, routed(tiny, server, smart_routing_seconds=2) as engine:
        assert await who(engine, "fr") == "faster-whisper"
    assert len(server.requests) == 1


async def test_nobody_can_is_what_the_last_said(tiny: Path) -> None:
    async with FakeTranscriptions(otherwise=BROKEN) as server, routed(tiny, server, smart_routing_rules="fr: openai") as engine:
        with pytest.raises(RemoteUnavailable):
            await ask(engine, "fr")
        with pytest.raises(UnsupportedLanguage):
            engine.check("pt", "")


async def test_too_dear_is_not_asked(tiny: Path) -> None:
    async with FakeTranscriptions() as server, routed(tiny, server, smart_routing_max_cost_per_minute=0.001) as engine:
        assert await who(engine, "fr") == "faster-whisper"
        assert "whisper-1" not in engine.capabilities.models
    assert not server.requests
    with pytest.raises(FailedPrecondition, match="leaves no recogniser"):
        async with routed(tiny, server, smart_routing_rules="*: openai", smart_routing_max_cost_per_minute=0):
            pass


async def test_without_rules_the_cheapest_goes_first(tiny: Path) -> None:
    async with FakeTranscriptions() as server, routed(tiny, server, smart_routing_rules="") as engine:
        assert [await who(engine, language) for language in ("en", "pt")] == ["faster-whisper"] * 2
        assert not server.requests


async def test_one_that_cannot_load_takes_no_other_along(tiny: Path, tmp_path: Path) -> None:
    broken = build_whisper(tmp_path / "broken")
    (broken / "model.bin").write_bytes(b"no model")
    async with FakeTranscriptions() as server, routed(broken, server, smart_routing_rules="*: broken, openai") as engine:
        assert await who(engine, "pt") == "openai"
    with pytest.raises(FailedPrecondition, match="cannot be loaded"):
        async with routed(broken, server, smart_routing_rules="*: broken"):
            pass


async def test_a_stream_tells_who_would_and_each_final_who_did(tiny: Path, settings: RuntimeSettings) -> None:
    async with FakeTranscriptions() as server:
        chosen = TranscribeSettings(
            _env_file=None,
            smart_routing_enabled=True,
            smart_routing_rules="pt<2: tiny; pt: openai",
            whisper_model=str(tiny),
            remote_transcribe_url=server.base_url,
        )
        async with RunningServer(settings, make_engine(chosen)) as running, grpc.aio.insecure_channel(running.target) as channel:
            stub = transcribe_pb2_grpc.TranscribeServiceStub(channel)
            call = stub.Transcribe(metadata=AUTHORIZED)
            audio = media_pb2.AudioFormat(encoding=media_pb2.ENCODING_PCM16)
            await call.write(api.TranscribeRequest(open=api.Open(format=audio, languages=["pt"], words=True)))
            for seconds in (1.0, 3.0):
                await call.write(api.TranscribeRequest(audio=api.Audio(content=voice(seconds).tobytes())))
                await call.write(api.TranscribeRequest(flush=api.Flush()))
            await call.write(api.TranscribeRequest(finish=api.Finish()))
            told = [response async for response in call]
            models = (await stub.ListModels(api.ListModelsRequest(), metadata=AUTHORIZED)).models
    opened, finals = told[0].opened, {event.final.utterance: event.final for event in told if event.HasField("final")}
    assert (opened.engine.name, opened.engine.model, opened.incremental) == ("faster-whisper", "tiny", False)
    assert [finals[number].engine.name for number in (1, 2)] == ["faster-whisper", "openai"]
    assert finals[2].engine.model == "whisper-1"
    assert {model.name: model.engine.name for model in models} == {"tiny": "faster-whisper", "whisper-1": "openai"}


async def test_so_does_each_segment_of_a_call(tiny: Path, settings: RuntimeSettings) -> None:
    spoken = np.concatenate([voice(1.0), silence(1.5), voice(3.0), silence(1.0)])
    async with FakeTranscriptions() as server:
        chosen = TranscribeSettings(
            _env_file=None,
            smart_routing_enabled=True,
            smart_routing_rules="pt<2.5: tiny; pt: openai",
            whisper_model=str(tiny),
            remote_transcribe_url=server.base_url,
        )
        async with RunningServer(settings, make_engine(chosen)) as running, Malha(running.target, TOKEN) as malha:
            told = await malha.transcribe(wav(spoken), language="pt")
    assert [segment.engine and (segment.engine.name, segment.engine.model) for segment in told.segments] == [
        ("faster-whisper", "tiny"),
        ("openai", "whisper-1"),
    ]
    assert told.engine.name == "faster-whisper"


async def test_many_at_once_are_each_told_their_own(tiny: Path) -> None:
    async with FakeTranscriptions() as server, routed(tiny, server) as engine:
        found = await asyncio.gather(*(ask(engine, "fr", 1 + number / 10) for number in range(8)))
    assert [hypothesis.text for hypothesis in found] == [f"Olá mundo, {1 + number / 10:.1f} segundos." for number in range(8)]
