"""An Ocr engine that reads nothing, at once: where the rules of streams are tested, and not what is read."""

from malha.ocr.engine import Capabilities, PageImage, Reading


class NullOcrEngine:
    """The real interface."""

    name = "null"
    capabilities = Capabilities("null", "1", "none", ("en", "es", "pt"))

    async def start(self) -> None:
        pass

    async def close(self) -> None:
        pass

    async def read(self, image: PageImage) -> Reading:
        return Reading(())
