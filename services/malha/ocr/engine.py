"""What a recogniser of text on images is. Images are of upright or turned pages, one each; boxes are in pixels from the top left corner.

The standard library only: workers of engines in environments of their own import this.
"""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle."""

    left: float
    top: float
    width: float
    height: float

    @property
    def right(self) -> float:
        return self.left + self.width

    @property
    def bottom(self) -> float:
        return self.top + self.height

    @property
    def middle(self) -> float:
        """Of its height."""
        return self.top + self.height / 2


@dataclass(frozen=True, slots=True)
class Line:
    """A line of text, and how sure the engine is of it, 0 to 1."""

    text: str
    confidence: float
    box: Box


@dataclass(frozen=True, slots=True)
class PageImage:
    """A page as pixels, in a file: ``height`` rows of ``width`` pixels of three bytes, blue, green, red."""

    path: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Reading:
    """What stands on an image, in any order. Boxes are those of the image after it was turned by ``rotation``."""

    lines: tuple[Line, ...]
    rotation: int = 0
    """Degrees clockwise by which the image had to be turned to stand upright: 0, 90, 180 or 270."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an engine can do, told to the client in ``opened``."""

    name: str
    """As chosen by setting: ``rapidocr``, ``paddleocr``."""
    version: str
    """Of the library."""
    model: str
    languages: tuple[str, ...]
    """BCP 47 primary tags: languages all of whose letters the model knows."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What an engine's worker tells about itself."""

    version: str
    model: str
    characters: tuple[str, ...]
    """All the model can write."""


class OcrEngine(Protocol):
    """A recogniser, made by its entry point in ``malha.ocr.engines`` and used by one event loop."""

    name: str

    async def start(self) -> None:
        """Load the models."""

    async def close(self) -> None:
        """Give back workers and memory. Pages under way end with an error."""

    @property
    def capabilities(self) -> Capabilities:
        """Raises Unavailable until the engine is started."""

    async def read(self, image: PageImage) -> Reading:
        """Read one page. Cancelling it gives the page up. Raises EngineCrashed where the page killed two workers."""
