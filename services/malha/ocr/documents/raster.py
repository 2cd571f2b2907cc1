"""Pixels of a page on their way from the process that decodes to the one that recognises: in memory both map, through none between them."""

import os
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from malha.ocr.engine import PageImage

Pixels = npt.NDArray[np.uint8]
"""Shape (height, width, 3): blue, green, red."""
CHANNELS: Final = 3


class RasterFile:
    """An anonymous file in memory (memfd_create(2)): nothing lies on a disk, and it is gone with the process that holds it."""

    def __init__(self) -> None:
        self._descriptor = os.memfd_create("malha-page", os.MFD_CLOEXEC)

    @property
    def path(self) -> str:
        """Where processes of the same user open it."""
        return f"/proc/{os.getpid()}/fd/{self._descriptor}"

    def close(self) -> None:
        os.close(self._descriptor)


def write(path: str, pixels: Pixels) -> PageImage:
    """Fill a raster file."""
    with Path(path).open("wb") as file:
        file.write(np.ascontiguousarray(pixels).data)
    height, width = pixels.shape[:2]
    return PageImage(path, width, height)


def read(image: PageImage) -> Pixels:
    """The pixels, mapped: not to be changed."""
    return np.memmap(image.path, np.uint8, "r", shape=(image.height, image.width, CHANNELS))
