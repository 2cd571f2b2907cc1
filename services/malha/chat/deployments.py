"""The deployments of ``models.toml`` as they run: an engine, a breaker and places each; read again on request."""

import asyncio
import signal
from pathlib import Path
from typing import Any, Final

from malha.chat import metrics
from malha.chat.calls import Outcome
from malha.chat.choose import make_engine, preload
from malha.chat.engine import ChatEngine
from malha.chat.models_file import EXTRACTIVE, Deployment, ModelsFile, load_models
from malha.chat.places import Places
from malha.chat.settings import ChatSettings
from malha.runtime import logs
from malha.runtime.breaker import Breaker, State
from malha.runtime.errors import FailedPrecondition, MalhaError
from malha.runtime.logs import Event

log = logs.get("chat.models")

RETIRE_SECONDS: Final = 600.0
"""How long calls of a deployment that left the file may go on."""
_NOT_ITS_FAULT: Final = frozenset({Outcome.BUDGET, Outcome.CUT, Outcome.REFUSED, Outcome.CANCELLED})
_LEVELS: Final = {State.CLOSED: 0, State.HALF_OPEN: 1, State.OPEN: 2}


class Deployed:
    """One deployment."""

    def __init__(self, name: str, settings: Deployment) -> None:
        self.name = name
        self.settings = settings
        self.engine: ChatEngine = make_engine(settings)
        gauge = metrics.BREAKER.labels(name)
        self.breaker = Breaker(settings.breaker, lambda state: gauge.set(_LEVELS[state]))
        self.places = Places(settings.max_concurrent, settings.max_waiting)

    def judge(self, outcome: Outcome, retry_seconds: float | None) -> None:
        """Tell the breaker what a call says of the server."""
        if outcome is Outcome.OK:
            self.breaker.succeeded()
        elif outcome in _NOT_ITS_FAULT:
            self.breaker.left()
        else:
            self.breaker.failed(retry_seconds)

    async def continues(self) -> bool:
        """Whether it goes on from the beginning of an answer. A server that cannot be asked does not."""
        if self.settings.continues is not None:
            return self.settings.continues
        try:
            return await self.engine.continues()
        except MalhaError:
            return False

    async def retire(self) -> None:
        """Close it once nobody uses it any more."""
        try:
            async with asyncio.timeout(RETIRE_SECONDS):
                await self.places.wait_idle()
        except TimeoutError:
            log.warning(Event.ENGINE_ITEM_FAILED, deployment=self.name, reason="RETIRED_IN_USE")
        await self.engine.close()


class Models:
    """The file in force and what runs for it. Raises FailedPrecondition when made with a file that is wrong."""

    def __init__(self, settings: ChatSettings, data_dir: Path) -> None:
        self._settings = settings
        self._data_dir = data_dir
        self._deployed: dict[str, Deployed] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._reloading = asyncio.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self.file = self._take(load_models(settings, data_dir))

    def start(self) -> None:
        """Read the file again at every SIGHUP; in a thread that is not the main one nobody can be told of signals."""
        try:
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._reload_soon)
        except (NotImplementedError, RuntimeError, ValueError):
            return
        self._loop = asyncio.get_running_loop()

    async def close(self) -> None:
        """Close every engine."""
        if self._loop is not None:
            self._loop.remove_signal_handler(signal.SIGHUP)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for deployed in self._deployed.values():
            await deployed.engine.close()

    async def reload(self) -> bool:
        """Take the file as it is now; whether that went well. A wrong one changes nothing."""
        async with self._reloading:
            try:  # a client that was never imported takes a second: calls do not wait for it
                await asyncio.to_thread(preload, self._settings, self._data_dir)
                self.file = self._take(load_models(self._settings, self._data_dir))
            except MalhaError as error:
                metrics.RELOADS.labels("refused").inc()
                log.error(Event.MODELS_REFUSED, cause=error)
                return False
        metrics.RELOADS.labels("taken").inc()
        log.info(Event.MODELS_RELOADED, alias=self.file.default)
        return True

    def _reload_soon(self) -> None:
        self._own(asyncio.get_running_loop().create_task(self.reload(), name="reload-models"))

    def _own(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def chain(self, start: str) -> list[Deployed]:
        """Whom to ask, in order."""
        return [self._deployed[name] for name in self.file.chain(start)]

    @property
    def last_resort(self) -> Deployed:
        """The extractive engine."""
        return self._deployed[EXTRACTIVE]

    @property
    def embedder(self) -> Deployed:
        """What makes vectors. Raises FailedPrecondition where there is nothing that does."""
        if self.file.embeddings is None:
            raise FailedPrecondition(
                "no model makes vectors here: set `embeddings` in models.toml to a deployment with `embeddings = true`",
                reason="EMBEDDINGS_NOT_CONFIGURED",
            )
        return self._deployed[self.file.embeddings]

    def deployed(self, name: str) -> Deployed:
        """By its name in the file."""
        return self._deployed[name]

    def _take(self, file: ModelsFile) -> ModelsFile:
        """Make what is new before anything that runs is touched; what has not changed goes on, with its connections and its breaker."""
        wanted = {EXTRACTIVE: Deployment(engine=EXTRACTIVE), **file.deployments}
        running = self._deployed
        kept = {name: running[name] for name, settings in wanted.items() if name in running and running[name].settings == settings}
        made = {name: Deployed(name, settings) for name, settings in wanted.items() if name not in kept}
        self._deployed = kept | made
        for name, deployed in running.items():
            if name not in kept:
                self._own(asyncio.get_running_loop().create_task(deployed.retire(), name="retire-deployment"))
        return file
