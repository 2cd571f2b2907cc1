"""How well, how fast and in how much memory documents are read; beside it, in the same run, rapidocr by itself.

Ocr is served by this very process, over a socket, and asked by the SDK; what decodes and recognises are its child processes. Each file is read by
Ocr and by rapidocr alone in turns. A file's text is ``NAME.txt`` beside ``NAME.png``.
"""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, Final, Self

import psutil

from malha import sdk
from malha.bench.cer import accent_recall, character_error_rate
from malha.bench.usage import MEGABYTE, machine
from malha.ocr.service import OcrService
from malha.ocr.settings import OcrSettings
from malha.runtime import engines
from malha.runtime.auth import Authenticator
from malha.runtime.contracts import load_contracts
from malha.runtime.host import EngineHost, HostOptions
from malha.runtime.server import Server
from malha.runtime.settings import RuntimeSettings

BARE: Final = "malha.bench.ocr_bare:load"
BARE_SECONDS: Final = 300.0
SAMPLE_SECONDS: Final = 0.05
IMAGES: Final = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff"})
"""What rapidocr reads by itself."""
TOKEN: Final = "bench"  # noqa: S105 - of a server that lives as long as the run


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says."""

    files: Sequence[Path]
    engines: Sequence[str]
    languages: tuple[str, ...]
    repeat: int
    text_layer: bool
    """Whether the text that PDF pages carry will do; else all pages are recognised."""


def run_ocr(options: Options, progress: Callable[[str], None]) -> dict[str, Any]:
    """The report: of the first engine at its top, of further ones under ``engines``."""
    return asyncio.run(_run(options, progress))


async def _run(options: Options, progress: Callable[[str], None]) -> dict[str, Any]:
    load_contracts()
    reports = {}
    for name in options.engines:
        progress(f"{name}: loading")
        reports[name] = await _measure(name, options, progress)
    first, *others = options.engines
    return {"engine": first, **reports[first], "engines": {name: reports[name] for name in others}, "machine": machine()}


async def _measure(name: str, options: Options, progress: Callable[[str], None]) -> dict[str, Any]:
    settings = OcrSettings(ocr_engine=name, ocr_page_seconds=BARE_SECONDS)
    async with _serving(settings) as malha, _bare(settings) as bare, _Memory() as memory:
        began = perf_counter()
        await _read(malha, options.files[0], options)
        cold = perf_counter() - began
        peak = memory.peak_mb
        pages, times, bare_times = [], [], []
        for file in options.files:
            progress(f"{name}: {file.name}")
            ours, alone = [], []
            for _ in range(options.repeat):
                began = perf_counter()
                document, first_page = await _read(malha, file, options)
                ours.append((perf_counter() - began, first_page))
                if bare is not None and file.suffix.lower() in IMAGES:
                    began = perf_counter()
                    await bare.call(None, str(file), timeout_seconds=BARE_SECONDS)
                    alone.append(perf_counter() - began)
            pages += _pages(file, document, median(first for _, first in ours))
            if alone:
                times.append(median(seconds for seconds, _ in ours))
                bare_times.append(median(alone))
        return {
            "pages": pages,
            "first_page_s": round(max(page["first_page_s"] for page in pages), 3),
            "first_page_cold_s": round(cold, 3),
            "rss_mb": round(max(peak, memory.peak_mb), 1),
            "against_bare": round(sum(bare_times) / sum(times), 3) if times else None,
            "threads": settings.ocr_threads,
        }


async def _read(malha: sdk.Malha, file: Path, options: Options) -> tuple[sdk.DocumentText, float]:
    """A document, and how soon its first page came."""
    began, first = perf_counter(), 0.0
    stream = malha.read(file, languages=options.languages, ignore_text_layer=not options.text_layer, scrub=False)
    pages = []
    async for page in stream:
        first = first or perf_counter() - began
        pages.append(page)
    return sdk.DocumentText(tuple(pages), stream.media_type, stream.page_count, stream.engine, stream.scrubbed), first


def _pages(file: Path, document: sdk.DocumentText, first_page: float) -> list[dict[str, Any]]:
    """A row for each page; error rates, where the file's text is there, are of the whole file."""
    reference = file.with_suffix(".txt")
    rates: dict[str, Any] = {"cer": None, "accent_recall": None}
    if reference.is_file():
        told = reference.read_text()
        recall = accent_recall(told, document.text)
        rates = {
            "cer": round(character_error_rate(told, document.text), 5),
            "accent_recall": None if recall is None else round(recall, 4),
        }
    return [
        {
            "file": str(file),
            "number": page.number,
            **rates,
            "origin": page.origin,
            "confidence": round(page.confidence, 4),
            "failure": page.failure.reason if page.failure is not None else None,
            "first_page_s": round(first_page, 3),
        }
        for page in document.pages
    ]


@contextlib.asynccontextmanager
async def _serving(settings: OcrSettings) -> AsyncIterator[sdk.Malha]:
    """Ocr alone, on a free port, and a client of it."""
    with tempfile.TemporaryDirectory(prefix="malha-") as directory:
        runtime = RuntimeSettings(data_dir=Path(directory), grpc_port=0, admin_port=0, api_tokens=(f"default:{TOKEN}",), drain_seconds=0)
        service = OcrService(engines.load("ocr", settings.ocr_engine)(settings), settings)
        server = Server([service], [], runtime, Authenticator.from_settings(runtime.api_tokens, runtime.data_dir))
        port = await server.start()
        try:
            await server.wait_serving()
            async with sdk.Malha(f"127.0.0.1:{port}", TOKEN) as malha:
                yield malha
        finally:
            await server.stop()


@contextlib.asynccontextmanager
async def _bare(settings: OcrSettings) -> AsyncIterator[EngineHost | None]:
    """Rapidocr alone, with as many threads and at the same priority; only beside the engine that is rapidocr."""
    if settings.ocr_engine != "rapidocr":
        yield None
        return
    host = EngineHost("bare", BARE, settings.ocr_threads, host=HostOptions(item_seconds=BARE_SECONDS))
    await host.start()
    try:
        yield host
    finally:
        await host.close()


class _Memory:
    """The most that the child processes there are, those of the bare engine apart, have taken together."""

    def __init__(self) -> None:
        self.peak_mb = 0.0
        self._others = {child.pid for child in psutil.Process().children(recursive=True)}
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._sample(), name="bench-memory")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _sample(self) -> None:
        while True:
            taken = 0
            for child in psutil.Process().children(recursive=True):
                if child.pid not in self._others:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        taken += child.memory_info().rss
            self.peak_mb = max(self.peak_mb, taken / MEGABYTE)
            await asyncio.sleep(SAMPLE_SECONDS)
