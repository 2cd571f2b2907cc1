"""The null recogniser: it measures speech and understands nothing. For benchmarks and tests of what is around a recogniser."""

from collections.abc import AsyncIterator

from malha.transcribe.engine import SAMPLE_RATE_HERTZ, Capabilities, Hypothesis, RecognitionConfig
from malha.transcribe.settings import TranscribeSettings

SAMPLE_BYTES = 2


class NullEngine:
    """Answers each utterance with its length."""

    capabilities = Capabilities(name="null", version="1", models=("null",), languages=("*",), incremental=False, interim=False, words=False)

    def __init__(self, settings: TranscribeSettings) -> None:
        del settings

    async def start(self) -> None:
        """Nothing to load."""

    async def close(self) -> None:
        """Nothing to give back."""

    def check(self, language: str, model: str) -> Capabilities:
        """Any will do."""
        del language, model
        return self.capabilities

    async def recognise(self, config: RecognitionConfig, audio: AsyncIterator[bytes]) -> AsyncIterator[Hypothesis]:
        """One final hypothesis, such as ``2.34 s of speech``."""
        size = 0
        async for piece in audio:
            size += len(piece)
        yield Hypothesis(f"{size / SAMPLE_BYTES / SAMPLE_RATE_HERTZ:.2f} s of speech", final=True, confidence=1.0, language=config.language)
