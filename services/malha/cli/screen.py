"""A part of the terminal that changes in place, under lines that stay; elsewhere than on a terminal nothing changes in place."""

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Final, Self

from rich.console import Console, RenderableType
from rich.live import Live

REFRESHES_PER_SECOND: Final = 8


class Screen(ABC):
    """Shown while its block runs."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(self, console=console, refresh_per_second=REFRESHES_PER_SECOND, transient=True)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._live.stop()

    @abstractmethod
    def __rich__(self) -> RenderableType:
        """The part that changes."""


def printable(text: str) -> str:
    """Text that cannot steer the terminal."""
    return "".join(character if character.isprintable() else " " for character in text)
