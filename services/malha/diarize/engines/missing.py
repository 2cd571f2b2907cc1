"""Stands where an engine is not installed: the other capabilities of the process serve, and whoever asks for this one is told what it needs."""

from collections.abc import AsyncIterator
from typing import NoReturn

from malha.diarize.engine import Capabilities, DiarizationConfig, Turn, VoicePrint, Voices
from malha.runtime import logs
from malha.runtime.errors import FailedPrecondition
from malha.runtime.logs import Event

log = logs.get("diarize")


class MissingEngine:
    """Refuses everything, for the same reason; see `malha.diarize.engine.DiarizeEngine`."""

    def __init__(self, name: str, why: FailedPrecondition) -> None:
        self.capabilities = Capabilities(f"{name} (not installed)", "", "", online=False)
        self._name = name
        self._why = why

    async def start(self) -> None:
        log.warning(Event.ENGINE_MISSING, engine=self._name)

    async def close(self) -> None:
        """Nothing to give back."""

    def check(self) -> NoReturn:
        raise FailedPrecondition(self._why.message, reason=self._why.reason)

    def diarize(self, config: DiarizationConfig, audio: AsyncIterator[bytes]) -> AsyncIterator[Turn | VoicePrint]:
        del config, audio
        self.check()

    async def listen(self, pcm: bytes) -> Voices:
        del pcm
        self.check()
