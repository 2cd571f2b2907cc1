"""Several recognisers as one: each utterance goes to the first that suits it, and to the next where that one fails, is slow or is left alone.

Utterances are taken whole, for their length decides too, and a second recogniser must hear them from the start.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from prometheus_client import Counter

from malha.runtime import logs
from malha.runtime.errors import FailedPrecondition, MalhaError, NotFound, UnsupportedLanguage
from malha.runtime.logs import Event
from malha.transcribe.engine import SAMPLE_RATE_HERTZ, Capabilities, Hypothesis, RecognitionConfig
from malha.transcribe.guard import GuardedEngine, gather
from malha.transcribe.routing import Rule, candidates

log = logs.get("transcribe.router")

FALLBACKS: Final = Counter("malha_transcribe_fallbacks_total", "Utterances that went on to the next recogniser.", ("recogniser", "reason"))
NAME: Final = "routed"
_SAMPLE_BYTES: Final = 2


class RoutedEngine:
    """See `malha.transcribe.engine.TranscribeEngine`. ``engines`` by the names that rules use; ``seconds``: what a live utterance may take of one."""

    def __init__(self, engines: Mapping[str, GuardedEngine], rules: Sequence[Rule], seconds: float) -> None:
        self._engines = dict(engines)
        self._rules = rules
        self._seconds = seconds
        self._started: dict[str, GuardedEngine] = {}

    async def start(self) -> None:
        """Load what can be loaded. Raises what the first failed with where all of them fail."""
        outcomes = await asyncio.gather(*(engine.start() for engine in self._engines.values()), return_exceptions=True)
        failed = [outcome for outcome in outcomes if outcome is not None]
        started = zip(self._engines.items(), outcomes, strict=True)
        self._started = {name: engine for (name, engine), outcome in started if outcome is None}
        defects = [error for error in failed if not isinstance(error, MalhaError)]
        if defects or not self._started:
            await self.close()
            raise (defects or failed)[0]
        for error in failed:
            log.error(Event.SERVICE_FAILED, cause=error, service="transcribe")

    async def close(self) -> None:
        await asyncio.gather(*(engine.close() for engine in self._engines.values()))

    @property
    def capabilities(self) -> Capabilities:
        """Of all together."""
        each = [engine.capabilities for engine in self._started.values()]
        return Capabilities(
            name=NAME,
            version=", ".join(dict.fromkeys(can.version for can in each)),
            models=tuple(dict.fromkeys(model for can in each for model in can.models)),
            languages=tuple(dict.fromkeys(language for can in each for language in can.languages)),
            incremental=False,
            interim=False,
            words=any(can.words for can in each),
            detects_language=any(can.detects_language for can in each),
            parts=tuple(each),
        )

    def check(self, language: str, model: str) -> Capabilities:
        """What the first does that would be asked; an utterance's length may still decide for another."""
        able, refused = self._able(candidates(self._rules, language, None), language, model)
        if able:
            can = self._started[able[0]].check(language, _model_of(able[0], model, self._started[able[0]]))
            return replace(can, words=any(self._started[name].capabilities.words for name in able))
        if refused:
            raise refused[0]
        raise UnsupportedLanguage(f"no recogniser here is meant for language {language!r}: SMART_ROUTING_RULES name none that is there")

    async def recognise(self, config: RecognitionConfig, audio: AsyncIterator[bytes]) -> AsyncIterator[Hypothesis]:
        """One hypothesis, that names who made it. Raises what the last recogniser raised that was asked."""
        pcm = await gather(audio)
        seconds = len(pcm) / _SAMPLE_BYTES / SAMPLE_RATE_HERTZ
        names, refused = self._able(candidates(self._rules, config.language, seconds), config.language, config.model)
        if not names and refused:
            raise refused[0]
        if not names:
            raise FailedPrecondition(
                f"no recogniser here is meant for {seconds:.1f} s of speech: see SMART_ROUTING_RULES", reason="NO_ROUTE"
            )
        names.sort(key=lambda name: self._started[name].left_alone)  # in the order of the rule, those last that fail
        for name in names[:-1]:
            try:
                yield await self._ask(name, config, pcm, None if config.background else self._seconds)
                return
            except MalhaError as error:
                FALLBACKS.labels(name, error.reason).inc()
                log.warning(Event.ENGINE_ITEM_FAILED, engine=name, reason=error.reason)
        yield await self._ask(names[-1], config, pcm, None)

    async def _ask(self, name: str, config: RecognitionConfig, pcm: bytes, seconds: float | None) -> Hypothesis:
        engine = self._started[name]
        return await engine.recognise_whole(replace(config, model=_model_of(name, config.model, engine)), pcm, seconds)

    def _able(self, names: Sequence[str], language: str, model: str) -> tuple[list[str], list[MalhaError]]:
        """Those of the names that are there and can do a language and a model, and why others cannot."""
        able: list[str] = []
        refused: list[MalhaError] = []
        for name in names:
            if name not in self._started:
                continue
            engine = self._started[name]
            try:
                engine.check(language, _model_of(name, model, engine))
                able.append(name)
            except MalhaError as error:
                refused.append(error)
        if model and not able and all(isinstance(error, NotFound) for error in refused):
            there = ", ".join(self.capabilities.models)
            return [], [NotFound(f"model {model!r} is not one of {there}", reason="MODEL_NOT_LOADED")]
        return able, refused


def _model_of(name: str, model: str, engine: GuardedEngine) -> str:
    """What a recogniser is asked for where the caller names a model, or the recogniser itself."""
    return engine.capabilities.models[0] if model == name and engine.capabilities.models else model
