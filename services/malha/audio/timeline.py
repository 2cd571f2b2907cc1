"""Positions of a client's audio: what is new, what came before, what is missing (ARCHITECTURE.md, stream rule 7)."""

from dataclasses import dataclass

from malha.runtime.errors import InvalidArgument

MAX_POSITION = 2**50
"""Beyond any call, 4,459 years at 8 kHz: keeps a hostile position from overflowing what is computed with it, durations and dates above all."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a piece of audio goes: units to cut off its front because they came before, and the gap in front of it, if any."""

    trim: int
    gap: tuple[int, int] | None


NEXT = Placement(0, None)


class Timeline:
    """Follows the next expected position. Units are the client's: frames for raw audio, bytes for containers."""

    def __init__(self, position: int = 0) -> None:
        self.received_through = position

    def place(self, position: int | None, length: int) -> Placement:
        """Take in ``length`` units at ``position`` (None: right after the last). A jump is told, never filled."""
        expected = self.received_through
        if position is None or position == expected:
            self.received_through = expected + length
            return NEXT
        if position > MAX_POSITION:
            raise InvalidArgument("audio.position is beyond any call", reason="INVALID_POSITION")
        if position > expected:
            self.received_through = position + length
            return Placement(0, (expected, position))
        self.received_through = max(expected, position + length)
        return Placement(min(expected - position, length), None)
