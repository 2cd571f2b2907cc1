"""What all tests share: where real recordings lie, servers on free ports, and which engines were really exercised."""

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from hypothesis import settings as hypothesis_settings

from fakes.postgres import Postgres, postgres_server
from fakes.vllm import RunningVllm, running_vllm
from malha.audio.call_store import CallStore
from malha.audio.service import AudioStreamService
from malha.audio.settings import AudioSettings
from malha.runtime.auth import Authenticator
from malha.runtime.contracts import SERVICES, load_contracts
from malha.runtime.mesh import Mesh
from malha.runtime.rpc import Service
from malha.runtime.server import Server
from malha.runtime.settings import RuntimeSettings
from malha.runtime.stream import StreamLimits
from malha.store.database import Database
from malha.store.settings import StoreSettings
from malha.store.tokens import Tokens
from malha.synthesize.engines.espeak import EspeakEngine
from malha.synthesize.service import SynthesizeService
from malha.synthesize.settings import SynthesizeSettings
from malha.transcribe.aligner import Aligner
from malha.transcribe.engine import TranscribeEngine
from malha.transcribe.engines.null import NullEngine
from malha.transcribe.service import TranscribeService
from malha.transcribe.settings import TranscribeSettings

TOKEN = "test-token"
OTHER_TOKEN = "other-token"
AUTHORIZED = (("authorization", f"Bearer {TOKEN}"),)
REPOSITORY = Path(__file__).resolve().parents[1]

PRODUCTION_ENGINES = ("coqui", "faster-whisper", "openai", "paddleocr", "pyannote", "resemblyzer-torch", "vllm", "wav2vec2")
"""Named at the run's end, exercised or not."""

hypothesis_settings.register_profile("anew", deadline=None)  # pytest --hypothesis-profile anew: other examples in each run
hypothesis_settings.register_profile("malha", hypothesis_settings.get_profile("anew"), derandomize=True)
"""No deadline, for the machine may be busy: what must be quick is measured, not guessed from one example. The same examples in each run."""
hypothesis_settings.load_profile("malha")

_exercised: Counter[str] = Counter()
_skipped: dict[str, str] = {}
_failed: set[str] = set()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real recordings; the test skips without it."""
    folder = Path(os.environ.get("MALHA_TEST_DATA") or REPOSITORY.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no real recordings: {folder} is absent (MALHA_TEST_DATA names another place)")
    return folder


@pytest.fixture
def settings(tmp_path: Path) -> RuntimeSettings:
    return RuntimeSettings(
        _env_file=None,
        data_dir=tmp_path,
        grpc_port=0,
        admin_port=0,
        api_tokens=(f"default:{TOKEN}", f"other:{OTHER_TOKEN}"),
        drain_seconds=2,
    )


class RunningServer:
    """A real server of this process with Audio, Transcribe, Synthesize where asked for, and the absent contracts, on a free port."""

    def __init__(
        self,
        settings: RuntimeSettings,
        engine: TranscribeEngine,
        limits: StreamLimits | None = None,
        audio: AudioSettings | None = None,
        *,
        speech: bool = False,
        in_process: bool = False,
        store: tuple[Database, StoreSettings] | None = None,
        aligner: Aligner | None = None,
        diarize: Service | None = None,
    ) -> None:
        """``store``: calls are kept there, and can be resumed. ``diarize``: who tells their speakers apart."""
        load_contracts()
        self.port = 0
        self.engine = engine
        self._mesh = Mesh(settings, lambda: f"127.0.0.1:{self.port}")
        kept = CallStore(*store) if store is not None else None
        services: list[Service] = [
            AudioStreamService(
                audio or AudioSettings(_env_file=None),
                lambda: self._mesh.channel("transcribe"),
                kept,
                diarize=(lambda: self._mesh.channel("diarize")) if diarize is not None else None,
            ),
            TranscribeService(engine, aligner),
            *([diarize] if diarize is not None else []),
        ]
        if speech:
            synthesize = SynthesizeSettings(_env_file=None)
            services.append(SynthesizeService(EspeakEngine(synthesize), synthesize))
        absent = [name for name in SERVICES if name not in {service.name for service in services}]
        tokens = Tokens(store[0]) if store is not None else None
        authenticator = Authenticator.from_settings(settings.api_tokens, settings.data_dir, tokens)
        self.server = Server(services, absent, settings, authenticator, limits)
        if in_process:
            self._mesh.serve("transcribe", self.server.in_process)

    async def __aenter__(self) -> "RunningServer":
        self.port = await self.server.start()
        await self.server.wait_serving()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.server.stop()
        await self._mesh.close()

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"


@pytest.fixture
async def server(settings: RuntimeSettings) -> AsyncIterator[RunningServer]:
    """Served by the null engine."""
    async with RunningServer(settings, NullEngine(TranscribeSettings(_env_file=None))) as running:
        yield running


@pytest.fixture
async def channel(server: RunningServer) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(server.target) as channel:
        yield channel


def voice(seconds: float, rate: int = 16_000, loudness: float = 8_000.0, seed: int = 1) -> np.ndarray:
    """Something a voice detector takes for speech: a glottal pulse train through formants, in syllables. int16, mono."""
    random = np.random.default_rng(seed)
    time = np.arange(int(seconds * rate)) / rate
    pitch = 120 + 20 * np.sin(2 * np.pi * 0.7 * time)
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    source = sum(
        np.sin(harmonic * phase) / harmonic * (1 + 2 * np.exp(-(((harmonic * 120 - 700) / 300) ** 2))) for harmonic in range(1, 24)
    )
    syllables = 0.6 + 0.4 * np.sin(2 * np.pi * 4 * time)
    sound = source * syllables + 0.05 * random.standard_normal(time.size)
    return (sound / np.abs(sound).max() * loudness).astype(np.int16)


def silence(seconds: float, rate: int = 16_000, noise: float = 8.0, seed: int = 2) -> np.ndarray:
    """A quiet line. int16, mono."""
    return (np.random.default_rng(seed).standard_normal(int(seconds * rate)) * noise).astype(np.int16)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A real PostgreSQL, started when the first test asks for it. Its thousand files are gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="malha-test-") as directory, postgres_server(Path(directory)) as server:
        yield server


@pytest.fixture
async def store(postgres: Postgres) -> AsyncIterator[StoreSettings]:
    """A database of the test's own, migrated and empty."""
    async with postgres.fresh() as settings:
        yield settings


@pytest.fixture
async def database(store: StoreSettings) -> AsyncIterator[Database]:
    """Connected to the test's own database as services are."""
    async with await Database.connect(store) as connected:
        yield connected


@pytest.fixture(scope="session")
def vllm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningVllm]:
    """A real vLLM with the tests' tiny model, started once, by the first test that asks for it; skips where it is not set up."""
    with running_vllm(tmp_path_factory.mktemp("vllm"), key="test-key") as running:
        yield running


BROWSER_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
)


@contextmanager
def empty_page() -> Iterator[Any]:
    """An empty page of a real, headless Chromium; skips where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium on PATH")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=BROWSER_FLAGS, timeout=60_000)
        try:
            yield browser.new_page()
        finally:
            browser.close()


@pytest.fixture(scope="module")
def page() -> Iterator[Any]:
    """One for the tests of a module."""
    with empty_page() as page:
        yield page


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Several processes share the tests file by file, so that a file's servers are started once; those of vLLM stay together, as there is one."""
    if not config.pluginmanager.hasplugin("xdist"):
        return
    for item in items:
        group = "vllm" if item.get_closest_marker("vllm") else item.nodeid.partition("::")[0]
        item.add_marker(pytest.mark.xdist_group(group))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    engines = [value for key, value in report.user_properties if key == "engine"]
    if report.when == "call" and report.passed:
        _exercised.update(engines)
    elif report.skipped and isinstance(report.longrepr, tuple):
        for name in engines:
            _skipped.setdefault(name, report.longrepr[2].removeprefix("Skipped: "))
    elif report.failed:
        _failed.update(engines)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers("engine"):
        item.user_properties.extend(("engine", name) for name in marker.args)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    terminalreporter.section("engines really exercised")
    terminalreporter.line(", ".join(f"{name} ({count})" for name, count in sorted(_exercised.items())) or "none")
    for name in sorted({*PRODUCTION_ENGINES, *_skipped, *_failed} - _exercised.keys()):
        why = "its tests failed" if name in _failed else _skipped.get(name, "none of its tests was asked for")
        terminalreporter.line(f"not exercised: {name}: {why}")
