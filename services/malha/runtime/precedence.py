"""Live before background: who goes first wherever work waits for an engine.

A live item always goes before a background one, but for one turn in `LIVE_TURNS` + 1: where live work alone is more than can be done,
background work slows down and never stops.

Imported by every worker: the standard library only.
"""

from typing import Final

LIVE_TURNS: Final = 15
"""Turns in a row that live work gets while background work waits."""


class Precedence:
    """Counts the turns of one queue."""

    def __init__(self) -> None:
        self._overtaken = 0  # turns of live work since background work had one, or began to wait

    @property
    def overdue(self) -> bool:
        """Whether background work that waits is the next."""
        return self._overtaken >= LIVE_TURNS

    def background_next(self, *, live: bool, background: bool) -> bool:
        """Whose turn it is, counted as taken: that of background work? ``live``, ``background``: whether there is any that could have it."""
        chosen = background and (not live or self.overdue)
        self.count(background=chosen, waits=background)
        return chosen

    def count(self, *, background: bool, waits: bool) -> None:
        """A turn was taken, by ``background`` work or live work. ``waits``: whether background work wanted it."""
        self._overtaken = self._overtaken + 1 if waits and not background else 0
