"""What engines have in common: they compute in worker processes, one page at a time each, and a page has only so long."""

from collections.abc import Mapping
from typing import cast

from malha.ocr.engine import Capabilities, Loaded, PageImage, Reading
from malha.ocr.errors import PageTimeout
from malha.ocr.languages import languages_of
from malha.ocr.settings import OcrSettings
from malha.ocr.turns import Turns
from malha.runtime.errors import DeadlineExceeded, Internal, Unavailable
from malha.runtime.host import EngineHost, HostOptions

START_SECONDS = 120.0
"""TensorRT builds its engines when they are first loaded."""


class HostedEngine:
    """An engine whose workers are made by ``factory``, with ``options``. Each input of a worker is a `PageImage`, each output a `Reading`."""

    def __init__(
        self,
        name: str,
        factory: str,
        options: object,
        settings: OcrSettings,
        *,
        python: str = "",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """``python``: the interpreter of the environment the engine is installed in; empty: this one."""
        self.name = name
        self._page_seconds = settings.ocr_page_seconds
        self._capabilities: Capabilities | None = None
        self._host = EngineHost(
            name,
            factory,
            options,
            host=HostOptions(
                workers=settings.ocr_workers,
                max_open=settings.ocr_workers,
                max_waiting=2 * settings.ocr_max_documents,
                start_seconds=START_SECONDS,
                item_seconds=settings.ocr_page_seconds,
                environment=environment or {},
                outputs_ahead=2,
                python=python,
            ),
        )
        self._turns = Turns(self._host, settings.ocr_workers, settings.ocr_page_seconds)

    async def start(self) -> None:
        """Load the models in all workers."""
        loaded = await self._host.start()
        if not isinstance(loaded, Loaded):
            raise Internal(f"the {self.name} worker told nothing about itself")
        self._capabilities = Capabilities(self.name, loaded.version, loaded.model, languages_of(loaded.characters))

    async def close(self) -> None:
        """End the workers."""
        await self._turns.close()
        await self._host.close()

    @property
    def capabilities(self) -> Capabilities:
        """Raises Unavailable until the engine is started."""
        if self._capabilities is None:
            raise Unavailable("the engine is still loading", retry_seconds=0.5)
        return self._capabilities

    @property
    def worker_pids(self) -> tuple[int, ...]:
        """Process ids of the workers."""
        return self._host.worker_pids

    async def read(self, image: PageImage) -> Reading:
        """Read a page, its time counted from when a worker is free. A worker that dies is replaced, and the page repeated once.

        Raises PageTimeout and EngineCrashed.
        """
        try:
            return cast("Reading", await self._turns.call(image))
        except DeadlineExceeded:
            raise PageTimeout.over(self._page_seconds, "recognise") from None
