"""The coqui engine: the real coqui-tts on tiny models of random weights, served as in production, from an environment of its own."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from conftest import voice

from fakes import coqui
from fakes.coqui import RunningCoqui
from fakes.postgres import Postgres
from fakes.wav import wav
from malha.api.common.v1 import media_pb2
from malha.api.synthesize.v1 import synthesize_pb2 as api
from malha.api.synthesize.v1.synthesize_pb2_grpc import SynthesizeServiceStub
from malha.runtime.errors import MalhaError
from malha.runtime.status import from_rpc_error
from malha.store.database import Database
from malha.store.settings import StoreSettings
from malha.store.tokens import Tokens

pytestmark = [pytest.mark.engine("coqui"), pytest.mark.slow]

TOKEN = "coqui-token"
AUTHORIZED = (("authorization", f"Bearer {TOKEN}"),)
DEADLINE = 240.0
"""The machine may be busy, and a worker that died loads torch again."""
TEXT = "Olá, não recebi a fatura do cartão."
SPEECH = voice(7.0)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("models")
    coqui.make_models(directory)
    return directory


@pytest.fixture(scope="module")
def kept(postgres: Postgres) -> Iterator[StoreSettings]:
    """A database for the module's server."""
    stack = contextlib.AsyncExitStack()
    with asyncio.Runner() as runner:
        settings = runner.run(stack.enter_async_context(postgres.fresh()))
        try:
            yield settings
        finally:
            runner.run(stack.aclose())


@pytest.fixture(scope="module")
def xtts(models: Path, kept: StoreSettings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCoqui]:
    settings = {"MALHA_COQUI_MODEL": str(models / "tiny-xtts"), "MALHA_DATABASE_URL": kept.url, "MALHA_API_TOKENS": TOKEN}
    with coqui.running_coqui(tmp_path_factory.mktemp("xtts"), settings) as running:
        yield running


@pytest.fixture(scope="module")
def vits(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCoqui]:
    settings = {"MALHA_COQUI_MODEL": str(models / "tiny-vits"), "MALHA_COQUI_LANGUAGE": "pt-br", "MALHA_API_TOKENS": TOKEN}
    with coqui.running_coqui(tmp_path_factory.mktemp("vits"), settings) as running:
        yield running


class Said:
    """What a stream gave."""

    def __init__(self, responses: list[api.SynthesizeResponse]) -> None:
        self.opened = responses[0].opened
        self.chunks = [response.audio.content for response in responses if response.HasField("audio")]
        self.samples = np.frombuffer(b"".join(self.chunks), np.int16)
        self.closed = responses[-1].closed


@contextlib.asynccontextmanager
async def calling(running: RunningCoqui) -> AsyncIterator[grpc.aio.StreamStreamCall]:
    async with grpc.aio.insecure_channel(running.target) as channel:
        call = SynthesizeServiceStub(channel).Synthesize(metadata=AUTHORIZED, timeout=DEADLINE)
        yield call
        call.cancel()


async def say(running: RunningCoqui, *texts: str, kill_after: int = -1, **opening: Any) -> Said:
    """Speak; kill the workers with -9 behind a chunk. Raises MalhaError."""
    async with calling(running) as call:
        try:
            await call.write(api.SynthesizeRequest(open=api.Open(**opening)))
            responses = [await call.read()]
            if responses[0] is grpc.aio.EOF:
                await call  # raises its status
            for text in texts:
                await call.write(api.SynthesizeRequest(text=api.Text(text=text)))
            await call.write(api.SynthesizeRequest(finish=api.Finish()))
            heard = 0
            while (response := await call.read()) is not grpc.aio.EOF:
                responses.append(response)
                heard += response.HasField("audio")
                if heard == kill_after:
                    kill_after = -1
                    for worker in running.workers:
                        worker.kill()
            return Said(responses)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from None


async def test_xtts_speaks_and_says_who_does(xtts: RunningCoqui) -> None:
    said = await say(xtts, TEXT, " Obrigado", language="pt-BR")
    assert (said.opened.engine.name, said.opened.engine.model) == ("coqui", "tiny-xtts")
    assert said.opened.engine.version.startswith("coqui-tts 0.")
    assert said.opened.licence == "CPML-1.0 (non-commercial)"
    assert said.opened.voice.name == "Ana Florence"
    assert "pt" in said.opened.voice.languages
    assert said.opened.format.sample_rate_hertz == 24_000
    assert len(said.chunks) > 2, "two sentences, and the first of them in pieces"
    assert said.samples.size > 12_000
    assert np.abs(said.samples.astype(int)).max() > 10
    assert said.closed.characters == len(TEXT) + len("Obrigado")
    (told,) = [line for line in xtts.logged("engine_started") if "licence" in line]
    assert told["licence"] == "CPML-1.0 (non-commercial)"
    assert "fatura" not in xtts.log.read_text()


async def test_a_worker_that_dies_mid_sentence_is_not_heard(xtts: RunningCoqui) -> None:
    """Nothing is missing and nothing comes twice: sampling is seeded by the sentence."""
    undisturbed = await say(xtts, TEXT, language="pt")
    disturbed = await say(xtts, TEXT, language="pt", kill_after=1)
    assert len(disturbed.chunks) == len(undisturbed.chunks) >= 2
    assert np.array_equal(disturbed.samples, undisturbed.samples)
    assert any(line.get("engine") == "coqui" for line in xtts.logged("engine_worker_lost"))


async def test_voices_and_speeds_differ(xtts: RunningCoqui) -> None:
    usual, other, fast = [
        await say(xtts, TEXT, language="pt", **opening)
        for opening in ({}, {"voice": "luís moray"}, {"speed": 2.0, "voice": "Ana Florence"})
    ]
    assert other.opened.voice.name == "Luís Moray"
    assert not np.array_equal(usual.samples, other.samples)
    assert fast.samples.size < 0.7 * usual.samples.size


async def test_a_text_of_numbers_is_longer_than_it_looks(xtts: RunningCoqui) -> None:
    """Its words are more tokens than the model takes at once: it is spoken in parts."""
    said = await say(xtts, "987 654 321 098", language="pt")
    assert said.closed.characters == 15
    assert len(said.chunks) >= 2


async def test_a_voice_is_cloned_with_consent(xtts: RunningCoqui, kept: StoreSettings) -> None:
    reference = {"reference_audio": wav(SPEECH), "consent_id": "consent-1"}
    usual, cloned = await say(xtts, TEXT, language="pt"), await say(xtts, TEXT, language="pt", **reference)
    assert cloned.opened.voice.name == "clone"
    assert not np.array_equal(usual.samples, cloned.samples)
    again, another = [
        await say(xtts, TEXT, language="pt", reference_audio=audio, consent_id="consent-2")
        for audio in (wav(SPEECH), wav(voice(7.0, seed=5)))
    ]
    assert np.array_equal(again.samples, cloned.samples)
    assert not np.array_equal(another.samples, cloned.samples)
    async with await Database.connect(kept) as database:
        tenant = (await Tokens(database).ensure_tenants({"default"}))["default"]
        async with database.tenant_tx(tenant) as connection:
            lines = await connection.fetch("SELECT object_id, details FROM audit WHERE action = 'voice.clone' ORDER BY id")
    assert [line["object_id"] for line in lines] == ["consent-1", "consent-2", "consent-2"]
    assert lines[0]["details"]["model"] == "tiny-xtts"


@pytest.mark.parametrize(
    ("opening", "reason", "told"),
    {
        "a language it does not speak": ({"language": "sw"}, "UNSUPPORTED_LANGUAGE", "pt"),
        "a voice it does not have": ({"language": "pt", "voice": "hal"}, "VOICE_NOT_FOUND", "Ana Florence, Luís Moray"),
        "no language": ({"voice": "Ana Florence"}, "LANGUAGE_MISSING", "zh-cn"),
        "a short reference": (
            {"language": "pt", "reference_audio": wav(voice(3.0)), "consent_id": "c"},
            "REFERENCE_TOO_SHORT",
            "6 to 30 s",
        ),
        "no consent": ({"language": "pt", "reference_audio": wav(SPEECH)}, "CONSENT_MISSING", "consent_id"),
        "a clone in no language": ({"reference_audio": wav(SPEECH), "consent_id": "c"}, "LANGUAGE_MISSING", "pt"),
    }.values(),
)
async def test_what_xtts_cannot_do_says_what_it_can(xtts: RunningCoqui, opening: dict[str, Any], reason: str, told: str) -> None:
    with pytest.raises(MalhaError, match=told) as refused:
        await say(xtts, TEXT, **opening)
    assert refused.value.reason == reason


async def test_vits_speaks_at_the_speed_asked_for(vits: RunningCoqui) -> None:
    usual, fast = [await say(vits, TEXT, language="pt", speed=speed) for speed in (1.0, 2.0)]
    assert (usual.opened.engine.model, usual.opened.licence) == ("tiny-vits", "")
    assert (usual.opened.voice.name, list(usual.opened.voice.languages)) == ("tiny-vits", ["pt-br"])
    assert fast.samples.size < 0.7 * usual.samples.size
    assert np.array_equal(usual.samples, (await say(vits, TEXT, language="pt-BR")).samples)
    compressed = await say(vits, TEXT, format=media_pb2.AudioFormat(encoding=media_pb2.ENCODING_OGG))
    assert compressed.chunks[0].startswith(b"OggS")


async def test_what_vits_cannot_speak_is_silent_and_the_stream_goes_on(vits: RunningCoqui) -> None:
    said = await say(vits, "*** --- ***\n", "Bom dia.", language="pt")
    assert said.closed.characters > 0
    assert "***" not in vits.log.read_text(), "coqui-tts would log what its model has no letter for"
    assert np.array_equal(said.samples, (await say(vits, "Bom dia.", language="pt")).samples)


async def test_vits_clones_nobody(vits: RunningCoqui) -> None:
    with pytest.raises(MalhaError, match="cannot clone") as refused:
        await say(vits, TEXT, language="pt", reference_audio=wav(SPEECH), consent_id="c")
    assert refused.value.reason == "CLONING_UNAVAILABLE"


async def test_one_who_does_not_read_holds_up_nobody(vits: RunningCoqui) -> None:
    async with calling(vits) as deaf:
        await deaf.write(api.SynthesizeRequest(open=api.Open(language="pt")))
        assert (await deaf.read()).HasField("opened")
        await deaf.write(api.SynthesizeRequest(text=api.Text(text=(TEXT + " ") * 50)))
        said = await asyncio.wait_for(say(vits, "Bom dia.", language="pt"), DEADLINE / 2)
        assert said.samples.size


@pytest.mark.parametrize(
    ("settings", "told"),
    {
        "no such model": ({"MALHA_COQUI_MODEL": "/nowhere"}, "malha models pull xtts/v2"),
        "an incomplete one": ({"MALHA_COQUI_MODEL": "."}, "config.json"),
    }.values(),
)
def test_a_missing_model_names_what_brings_it(tmp_path: Path, settings: dict[str, str], told: str) -> None:
    ended = coqui.serve(tmp_path, settings | {"MALHA_API_TOKENS": TOKEN, "MALHA_SYNTHESIZE_ENGINE": "coqui"})
    assert ended.returncode == 78
    last = ended.stderr.splitlines()[-1]
    assert last.startswith("malha: ")
    assert told in last
