"""The shape of a page: strips are not read."""

from typing import Final

from malha.ocr.errors import PageTooLarge

MOST_LONG: Final = 200
"""Times as long as wide. Lines are looked for in a page made smaller by its longer side, where nothing is left of a strip; and what is found all the same is
made as high as letters are: 5,000 pixels by 1 became 240,000 by 48, and took 10 GB."""


def check_shape(width: float, height: float) -> None:
    """Raises PageTooLarge for a strip."""
    if max(width, height) > MOST_LONG * min(width, height):
        raise PageTooLarge(f"the page is more than {MOST_LONG} times as long as it is wide: send it in parts")
