"""The faster-whisper engine from its public face: worker processes, batches, retries, crashes. Models are made here; the library is real."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio
from prometheus_client import REGISTRY

from malha.bench.whisper_weights import build_whisper
from malha.runtime.errors import FailedPrecondition, InvalidArgument, NotFound, Unavailable, UnsupportedLanguage
from malha.transcribe.engine import Hypothesis, RecognitionConfig
from malha.transcribe.engines.faster_whisper import Device, FasterWhisperEngine, FasterWhisperSettings

pytestmark = [pytest.mark.engine("faster-whisper"), pytest.mark.asyncio(loop_scope="module")]

SCRIPT = "quero cancelar minha assinatura, o preço subiu."


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def scripted(models: Path) -> Path:
    return build_whisper(models / "scripted", script=SCRIPT, language="es")


@asynccontextmanager
async def running(model_directory: Path, **settings: object) -> AsyncIterator[FasterWhisperEngine]:
    engine = FasterWhisperEngine(FasterWhisperSettings(model_directory, **settings))
    await engine.start()
    try:
        yield engine
    finally:
        await engine.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(scripted: Path) -> AsyncIterator[FasterWhisperEngine]:
    """One for the tests that change nothing about it; it waits for company long enough for a test's requests to meet."""
    async with running(scripted, model="whisper/tiny", max_wait_seconds=0.2, retry_seconds=60) as shared:
        yield shared


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def slow_engine(models: Path) -> AsyncIterator[FasterWhisperEngine]:
    """One that is busy for a second with 28 s of audio."""
    async with running(build_whisper(models / "slow", size="tiny", script=SCRIPT)) as shared:
        yield shared


def noise(seconds: float, seed: int = 0) -> bytes:
    return (np.random.default_rng(seed).standard_normal(int(seconds * 16_000)) * 3_000).astype("<i2").tobytes()


async def chunks(pcm: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(pcm), 3_200):
        yield pcm[start : start + 3_200]


async def recognise(
    engine: FasterWhisperEngine,
    pcm: bytes,
    *,
    tenant: str = "t",
    language: str = "pt",
    words: bool = False,
    prompt: str = "",
    background: bool = False,
) -> Hypothesis:
    config = RecognitionConfig(tenant=tenant, language=language, words=words, prompt=prompt, background=background)
    hypotheses = [hypothesis async for hypothesis in engine.recognise(config, chunks(pcm))]
    assert [hypothesis.final for hypothesis in hypotheses] == [True]
    return hypotheses[0]


def batches() -> tuple[float, float]:
    """How many batches there were, and how many items in them."""
    labels = {"batcher": "faster-whisper"}
    return REGISTRY.get_sample_value("malha_batch_items_count", labels) or 0, REGISTRY.get_sample_value(
        "malha_batch_items_sum", labels
    ) or 0


async def batch_after(count: float) -> None:
    """Wait until one more batch than ``count`` has begun."""
    async with asyncio.timeout(10):
        while batches()[0] == count:
            await asyncio.sleep(0.01)


async def test_says_what_the_model_says_with_word_times(engine: FasterWhisperEngine) -> None:
    found = await recognise(engine, noise(3.5), language="pt-BR", words=True)
    assert (found.text, found.language) == (SCRIPT, "pt-BR")
    assert found.confidence > 0.9
    assert " ".join(word.text for word in found.words) == SCRIPT
    times = [time for word in found.words for time in (word.start, word.end)]
    assert times == sorted(times)
    assert times[0] >= 0
    assert 0 < times[-1] <= 3.5
    assert all(word.confidence > 0.9 for word in found.words)


async def test_mixed_languages_and_prompts_share_a_batch_and_the_language_is_detected(engine: FasterWhisperEngine) -> None:
    count, items = batches()
    asked = [("pt", ""), ("en", "isto foi dito antes, há muito tempo e com muita calma"), ("", ""), ("fr-CA", "antes")]
    found = await asyncio.gather(
        *(
            recognise(engine, noise(3.1 + index / 10, index), language=language, prompt=prompt, tenant=str(index))
            for index, (language, prompt) in enumerate(asked)
        )
    )
    assert [(hypothesis.text, hypothesis.language) for hypothesis in found] == [
        (SCRIPT, "pt"),
        (SCRIPT, "en"),
        (SCRIPT, "es"),
        (SCRIPT, "fr-CA"),
    ]
    assert batches() == (count + 1, items + 4)


async def test_silence_and_nothing_are_empty_text(engine: FasterWhisperEngine) -> None:
    assert (await recognise(engine, bytes(64_000), words=True)).text == ""
    assert (await recognise(engine, b"")).text == ""


async def test_a_doubtful_utterance_is_tried_again_without_holding_up_its_batch(engine: FasterWhisperEngine) -> None:
    """The script is more than anyone can say in 0.5 s."""
    count, _ = batches()
    ends: list[str] = []

    async def follow(name: str, seconds: float) -> Hypothesis:
        found = await recognise(engine, noise(seconds))
        ends.append(name)
        return found

    impossible, sound = await asyncio.gather(follow("impossible", 0.5), follow("sound", 1.9))
    assert ends == ["sound", "impossible"]
    assert (impossible.text, sound.text) == ("", SCRIPT)
    assert batches()[0] == count + 6


async def test_unsure_text_is_kept_with_its_confidence_and_retries_end_in_time(models: Path) -> None:
    directory = build_whisper(models / "unsure", script=SCRIPT, certainty=0.2)
    async with running(directory, retry_seconds=0.0) as engine:
        count, _ = batches()
        found = await recognise(engine, noise(3.0))
        assert found.text == SCRIPT
        assert 0.1 < found.confidence < 0.3
        assert batches()[0] == count + 1


async def test_a_loop_is_said_once(models: Path) -> None:
    directory = build_whisper(models / "loop", script=SCRIPT, loop=True, certainty=0.999)
    async with running(directory) as engine:
        found = await recognise(engine, noise(3.0), words=True)
        assert found.text == SCRIPT
        assert " ".join(word.text for word in found.words) == SCRIPT


async def test_an_utterance_survives_the_death_of_its_worker(slow_engine: FasterWhisperEngine) -> None:
    (first,) = slow_engine.worker_pids
    count, _ = batches()
    task = asyncio.create_task(recognise(slow_engine, noise(28)))
    await batch_after(count)
    await asyncio.sleep(0.1)
    assert not task.done()
    os.kill(first, signal.SIGKILL)
    assert (await task).text == SCRIPT
    assert slow_engine.worker_pids != (first,)


async def test_a_cancelled_utterance_leaves_the_others_alone(slow_engine: FasterWhisperEngine) -> None:
    count, _ = batches()
    computing = asyncio.create_task(recognise(slow_engine, noise(28)))
    await batch_after(count)
    queued = asyncio.create_task(recognise(slow_engine, noise(3)))
    following = asyncio.create_task(recognise(slow_engine, noise(4)))
    await asyncio.sleep(0)
    for task in (computing, queued):
        task.cancel()
    await asyncio.gather(computing, queued, return_exceptions=True)
    assert computing.cancelled()
    assert queued.cancelled()
    assert (await following).text == SCRIPT
    assert batches()[0] == count + 2


async def test_a_live_utterance_goes_before_background_ones_that_came_first(slow_engine: FasterWhisperEngine) -> None:
    ended: list[str] = []

    async def timed(name: str, *, background: bool) -> None:
        assert (await recognise(slow_engine, noise(28 if background else 3), tenant=name, background=background)).text == SCRIPT
        ended.append(name)

    await recognise(slow_engine, noise(1))
    count, _ = batches()
    recordings = [asyncio.create_task(timed(f"recording {n}", background=True)) for n in range(4)]
    await batch_after(count)
    await timed("live", background=False)
    assert ended.index("live") <= 1, "it waits for a part of the recording under way"
    await asyncio.gather(*recordings)
    assert batches()[0] == count + 5, "beside live calls, recordings are decoded one by one"


async def test_audio_it_cannot_take_is_refused(engine: FasterWhisperEngine) -> None:
    with pytest.raises(InvalidArgument, match="at most 30 s"):
        await recognise(engine, bytes(2 * 16_000 * 31))
    with pytest.raises(InvalidArgument, match="even number"):
        await recognise(engine, bytes(3_201))
    assert (await recognise(engine, noise(30))).text == SCRIPT


async def test_tells_what_it_can(engine: FasterWhisperEngine) -> None:
    can = engine.capabilities
    assert (can.name, can.models, can.words, can.detects_language) == ("faster-whisper", ("whisper/tiny",), True, True)
    assert {"pt", "es", "en", "jv"} <= set(can.languages)
    assert "int8" in can.version
    for language in ("", "pt", "pt-BR", "nb", "jv"):
        engine.check(language, "")
    engine.check("pt", "whisper/tiny")
    with pytest.raises(NotFound, match="whisper/large-v3"):
        engine.check("pt", "whisper/large-v3")
    with pytest.raises(UnsupportedLanguage, match="'tlh'"):
        engine.check("tlh", "")


async def test_an_english_only_model_says_so(models: Path) -> None:
    directory = build_whisper(models / "english", script="i want to cancel", language="en", multilingual=False)
    async with running(directory) as engine:
        assert engine.capabilities.languages == ("en",)
        assert not engine.capabilities.detects_language
        with pytest.raises(FailedPrecondition, match="malha models pull whisper/small"):
            engine.check("pt", "")
        found = await recognise(engine, noise(2), language="", words=True)
        assert (found.text, found.language) == ("i want to cancel", "en")


@pytest.mark.parametrize("wrong", [{"devices": ()}, {"max_batch": 0}, {"idle_seconds": -1.0}])
async def test_settings_are_checked_when_made(tmp_path: Path, wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="at least"):
        FasterWhisperSettings(tmp_path, **wrong)
    settings = FasterWhisperSettings(tmp_path)
    assert settings.threads_of(settings.devices[0]) >= 1
    assert settings.threads_of(Device("cpu", threads=3)) == 3


@pytest.mark.parametrize("wrong", [{"device": "gpu"}, {"compute_type": "int8_bfloat16"}, {"replicas": 0}, {"threads": -1}])
async def test_a_device_is_checked_when_made(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Device(**{"device": "cpu", **wrong})


async def test_a_missing_model_or_package_names_the_command(tmp_path: Path, scripted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FailedPrecondition, match="`malha models pull whisper/small`"):
        FasterWhisperEngine(FasterWhisperSettings(tmp_path))
    monkeypatch.setitem(sys.modules, "ctranslate2", None)
    with pytest.raises(FailedPrecondition, match=r"engine 'faster-whisper' needs: pip install 'malha-services\[faster-whisper\]'"):
        FasterWhisperEngine(FasterWhisperSettings(scripted))


async def test_a_model_that_cannot_be_used_fails_the_start(models: Path) -> None:
    broken = build_whisper(models / "broken")
    (broken / "model.bin").write_bytes(b"no model")
    with pytest.raises(FailedPrecondition, match="cannot be loaded"):
        async with running(broken):
            pass
    odd = build_whisper(models / "odd")
    vocabulary = json.loads((odd / "vocabulary.json").read_text())
    (odd / "vocabulary.json").write_text(json.dumps([token or "unheard-of" for token in vocabulary]))
    with pytest.raises(FailedPrecondition, match="English-only"):
        async with running(odd):
            pass


async def test_the_event_loops_side_imports_nothing_heavy() -> None:
    heavy = "ctranslate2 tokenizers faster_whisper av onnxruntime numpy"
    code = f"import sys, malha.transcribe.engines.faster_whisper; print([name for name in {heavy.split()} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


async def test_a_model_that_is_not_loaded_yet_is_worth_another_try(scripted: Path) -> None:
    engine = FasterWhisperEngine(FasterWhisperSettings(model_directory=scripted, model="whisper/tiny"))
    with pytest.raises(Unavailable) as raised:
        engine.check("pt", "")
    assert raised.value.reason == "ENGINE_LOADING"
    await engine.close()
