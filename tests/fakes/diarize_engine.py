"""A diarizer that hears one speaker in everything, at once: for tests of what is around an engine."""

from collections.abc import AsyncIterator

import numpy as np

from malha.diarize.engine import SAMPLE_RATE_HERTZ, Capabilities, DiarizationConfig, Turn, VoicePrint, Voices

PRINT = np.array([1.0, 0.0, 0.0, 0.0], np.float32)
"""Everybody's."""


class NullDiarizeEngine:
    """Tells one turn for each piece of audio, and the same voice print of everybody."""

    capabilities = Capabilities(name="null", version="1", print_model="null", online=True)

    async def start(self) -> None:
        """Nothing to load."""

    async def close(self) -> None:
        """Nothing to give back."""

    def check(self) -> None:
        """It can."""

    async def diarize(self, config: DiarizationConfig, audio: AsyncIterator[bytes]) -> AsyncIterator[Turn | VoicePrint]:
        number, at = 0, 0.0
        async for pcm in audio:
            number, start = number + 1, at
            at += len(pcm) / 2 / SAMPLE_RATE_HERTZ
            yield Turn(number, 1, 1, start, at)
        if config.prints and number:
            yield VoicePrint(1, PRINT, at)

    async def listen(self, pcm: bytes) -> Voices:
        return Voices(len(pcm) / 2 / SAMPLE_RATE_HERTZ, PRINT, 1)
