"""Whisper's replicas: on several devices, unloaded when idle, loaded again without losing who speaks; placed by placement.toml."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest
from conftest import voice
from prometheus_client import REGISTRY

from malha.bench.whisper_weights import build_whisper
from malha.runtime.errors import FailedPrecondition, Unavailable
from malha.transcribe import choose
from malha.transcribe.choose import make_engine
from malha.transcribe.engine import Hypothesis, RecognitionConfig, TranscribeEngine
from malha.transcribe.engines.faster_whisper import Device, FasterWhisperEngine, FasterWhisperSettings
from malha.transcribe.guard import whole
from malha.transcribe.router import RoutedEngine
from malha.transcribe.settings import TranscribeSettings

pytestmark = pytest.mark.engine("faster-whisper")

SCRIPT = "quero cancelar minha assinatura"
WAIT_SECONDS = 30.0


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_whisper(tmp_path_factory.mktemp("models") / "tiny", script=SCRIPT)


@asynccontextmanager
async def running(model_directory: Path, **settings: object) -> AsyncIterator[FasterWhisperEngine]:
    engine = FasterWhisperEngine(FasterWhisperSettings(model_directory, "tiny", **settings))
    await engine.start()
    try:
        yield engine
    finally:
        await engine.close()


async def ask(engine: TranscribeEngine, seconds: float = 1.0, **given: object) -> Hypothesis:
    found = engine.recognise(RecognitionConfig("t", "pt", **given), whole(voice(seconds).tobytes()))
    return [hypothesis async for hypothesis in found][-1]


async def until_gone(pids: tuple[int, ...]) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while any(psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE for pid in pids):
            await asyncio.sleep(0.02)


async def until_unloaded(engine: str) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while loaded(engine) != 0:
            await asyncio.sleep(0.02)


def loaded(engine: str) -> float | None:
    return REGISTRY.get_sample_value("malha_transcribe_loaded", {"engine": engine})


async def test_devices_share_the_work(tiny: Path) -> None:
    devices = (Device("cpu", replicas=2), Device("auto", compute_type="float32"))
    async with running(tiny, devices=devices, max_batch=1, instance="shared") as engine:
        pids = engine.worker_pids
        assert len(pids) == 3
        before = [sum(psutil.Process(pid).cpu_times()[:2]) for pid in pids]
        found = await asyncio.gather(*(ask(engine, 4.0) for _ in range(48)))
        assert {hypothesis.text for hypothesis in found} == {SCRIPT}
        after = [sum(psutil.Process(pid).cpu_times()[:2]) for pid in pids]
        assert all(later > earlier for earlier, later in zip(before, after, strict=True))


async def test_an_idle_model_is_unloaded_and_comes_back_for_who_speaks(tiny: Path) -> None:
    async with running(tiny, idle_seconds=0.3, instance="idle") as engine:
        first = engine.worker_pids
        assert (await ask(engine)).text == SCRIPT
        assert loaded("idle") == 1
        await until_gone(first)
        await until_unloaded("idle")
        assert engine.worker_pids == ()
        assert engine.check("pt", "").models == ("tiny",)  # what it can do is still known
        found = await asyncio.gather(*(ask(engine) for _ in range(4)))
        assert [hypothesis.text for hypothesis in found] == [SCRIPT] * 4
        assert len(engine.worker_pids) == 1
        assert set(engine.worker_pids).isdisjoint(first)


async def test_a_model_is_not_unloaded_while_somebody_speaks(tiny: Path) -> None:
    async def slowly() -> AsyncIterator[bytes]:
        for _ in range(8):
            yield voice(0.25).tobytes()
            await asyncio.sleep(0.1)

    async with running(tiny, idle_seconds=0.2, instance="speaking") as engine:
        pids = engine.worker_pids
        found = [hypothesis async for hypothesis in engine.recognise(RecognitionConfig("t", "pt"), slowly())]
        assert found[-1].text == SCRIPT
        assert engine.worker_pids == pids


async def test_a_model_that_is_gone_when_it_is_needed_again_is_an_error_once(tiny: Path, tmp_path: Path) -> None:
    directory = build_whisper(tmp_path / "moved", script=SCRIPT)
    async with running(directory, idle_seconds=0.2, instance="moved") as engine:
        await until_gone(engine.worker_pids)
        weights = (directory / "model.bin").rename(tmp_path / "model.bin")
        with pytest.raises(FailedPrecondition, match="cannot be loaded"):
            await ask(engine)
        weights.rename(directory / "model.bin")
        assert (await ask(engine)).text == SCRIPT


async def test_who_is_cancelled_while_it_loads_takes_no_other_along(tiny: Path) -> None:
    async with running(tiny, idle_seconds=0.2, instance="loading") as engine:
        await until_gone(engine.worker_pids)
        first, second = asyncio.create_task(ask(engine)), asyncio.create_task(ask(engine))
        await asyncio.sleep(0.1)
        first.cancel()
        assert (await second).text == SCRIPT
        assert first.cancelled()


async def test_closing_while_it_loads_leaves_no_process(tiny: Path) -> None:
    engine = FasterWhisperEngine(FasterWhisperSettings(tiny, "tiny", idle_seconds=0.2, instance="closing"))
    await engine.start()
    await until_gone(engine.worker_pids)
    waiting = asyncio.create_task(ask(engine))
    await asyncio.sleep(0.1)
    await engine.close()
    (outcome,) = await asyncio.gather(waiting, return_exceptions=True)
    assert isinstance(outcome, Unavailable | asyncio.CancelledError)
    assert not [child for child in psutil.Process().children() if "faster_whisper_worker" in " ".join(child.cmdline())]


async def test_a_device_whose_worker_dies_is_back(tiny: Path) -> None:
    async with running(tiny, devices=(Device("cpu"), Device("auto")), instance="dying") as engine:
        os.kill(engine.worker_pids[0], signal.SIGKILL)
        found = await asyncio.gather(*(ask(engine) for _ in range(6)))
        assert {hypothesis.text for hypothesis in found} == {SCRIPT}


async def test_a_gpu_that_is_not_there_fails_the_start(tiny: Path) -> None:
    engine = FasterWhisperEngine(FasterWhisperSettings(tiny, "tiny", (Device("cpu"), Device("cuda:97")), instance="gpus"))
    with pytest.raises(FailedPrecondition, match="this machine has no GPU cuda:97") as raised:
        await engine.start()
    assert raised.value.reason == "GPU_NOT_THERE"
    await engine.close()
    assert not [child for child in psutil.Process().children() if "faster_whisper_worker" in " ".join(child.cmdline())]


async def test_placement_says_what_runs(tiny: Path, tmp_path: Path) -> None:
    second = build_whisper(tmp_path / "second", script="bom dia")
    file = tmp_path / "placement.toml"
    file.write_text(
        f'[[transcribe]]\nmodel = "{tiny}"\ndevices = ["cpu"]\nreplicas = 2\nthreads = 1\n'
        f'[[transcribe]]\nmodel = "{second}"\ndevices = ["cpu"]\ncompute_type = "float32"\n'
    )
    engine = make_engine(TranscribeSettings(_env_file=None, placement_file=file))
    assert isinstance(engine, RoutedEngine)
    await engine.start()
    try:
        assert engine.capabilities.models == (str(tiny), str(second))
        assert (await ask(engine)).text == SCRIPT
        assert (await ask(engine, model=str(second))).text == "bom dia"
        workers = [child for child in psutil.Process().children() if "faster_whisper_worker" in " ".join(child.cmdline())]
        assert len(workers) >= 3  # and the processes that stand by
    finally:
        await engine.close()


async def test_a_placement_is_not_passed_by_where_whisper_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choose, "find_spec", lambda _: None)
    for routing in (False, True):
        settings = TranscribeSettings(_env_file=None, placement_file=tmp_path / "none.toml", smart_routing_enabled=routing)
        with pytest.raises(FailedPrecondition, match=r"none\.toml"):
            make_engine(settings)


async def test_a_placed_model_that_is_not_here_names_the_command(tmp_path: Path) -> None:
    file = tmp_path / "placement.toml"
    file.write_text('[[transcribe]]\nmodel = "whisper/medium"\ndevices = ["cpu"]\n')
    with pytest.raises(FailedPrecondition, match="malha models pull whisper/medium"):
        make_engine(TranscribeSettings(_env_file=None, placement_file=file, models_dir=tmp_path))
    file.write_text('[[llm]]\ndevices = ["cuda:0"]\n')
    with pytest.raises(FailedPrecondition, match="places no model"):
        make_engine(TranscribeSettings(_env_file=None, placement_file=file, models_dir=tmp_path))
