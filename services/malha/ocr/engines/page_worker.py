"""The worker side that engines share: a page's pixels in, its lines out, read upright whichever way it was scanned.

Runs in environments of engines' own: the standard library, numpy and `malha.ocr.engine` only.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from malha.ocr.documents.raster import Pixels, read
from malha.ocr.engine import Box, Line, Loaded, PageImage, Reading
from malha.ocr.engines.tidy import tidy
from malha.runtime.worker import PAUSE, WorkerStream

SURE: Final = 0.88
"""Mean confidence, by characters, of a page that stands as it should: lines upside down are read, as something else, with less."""
TALL: Final = 1.5
"""Times as tall as wide a line is that runs up or down."""
TURNS: Final = {False: (180,), True: (90, 270)}
"""Degrees clockwise to try, where lines lie and where they stand."""


@dataclass(frozen=True, slots=True)
class Found:
    """A line, and its four corners: shape (4, 2), in pixels."""

    text: str
    confidence: float
    corners: npt.NDArray[np.float64]


class TextReader(Protocol):
    """A loaded library."""

    info: Loaded

    def read(self, pixels: Pixels) -> Sequence[Found]:
        """All lines of an image, in any order."""


class PageWorker:
    """What the engine host runs."""

    def __init__(self, reader: TextReader) -> None:
        self.info = reader.info
        self._reader = reader

    def open(self, arguments: object) -> WorkerStream:
        del arguments
        return _PageStream(self._reader)


class _PageStream:
    """Each input is a `PageImage`, each output a `Reading`."""

    def __init__(self, reader: TextReader) -> None:
        self._reader = reader

    def feed(self, item: object) -> Iterator[object]:
        assert isinstance(item, PageImage)
        pixels = read(item)
        found, rotation = self._reader.read(pixels), 0
        stands = _stands(found)
        if found and (stands or _sureness(found) < SURE):
            for degrees in TURNS[stands]:
                yield PAUSE
                turned = self._reader.read(_turned(pixels, degrees))
                if _score(turned) > _score(found) or (stands and rotation == 0 and not _stands(turned)):
                    found, rotation = turned, degrees
                if _sureness(found) >= SURE:
                    break
        yield Reading(tuple(_line(one) for one in found), rotation)

    def finish(self) -> Iterator[object]:
        return iter(())

    def close(self) -> None:
        pass


def _turned(pixels: Pixels, degrees: int) -> Pixels:
    """Clockwise."""
    return np.ascontiguousarray(np.rot90(pixels, -degrees // 90))


def _stands(found: Sequence[Found]) -> bool:
    """Whether most of the text, by its length on the page, runs up or down."""
    lying = standing = 0.0
    for one in found:
        width, height = np.ptp(one.corners, axis=0)
        if height > TALL * width:
            standing += float(height)
        else:
            lying += float(width)
    return standing > lying


def _score(found: Sequence[Found]) -> float:
    """How much was read, and how surely."""
    return sum(one.confidence**2 * len(one.text) for one in found)


def _sureness(found: Sequence[Found]) -> float:
    """Mean confidence by characters."""
    characters = sum(len(one.text) for one in found)
    return sum(one.confidence * len(one.text) for one in found) / characters if characters else 0.0


def _line(found: Found) -> Line:
    left, top = (float(place) for place in found.corners.min(axis=0))
    right, bottom = (float(place) for place in found.corners.max(axis=0))
    return Line(tidy(found.text), float(found.confidence), Box(left, top, right - left, bottom - top))
