"""The audio a call must be able to send again: what lies after ``ack.keep_from``."""

from collections import deque
from dataclasses import dataclass

_HEADER_BYTES = 65_536
"""Enough for the header pages of live WebM and Ogg, and for a WAV header with its tags."""


@dataclass(frozen=True, slots=True)
class UnsavedAudio:
    """The sent audio that the server has not yet turned into stored transcript."""

    position: int
    """Where ``content`` begins: frames for raw encodings, bytes for containers."""
    content: bytes
    """As it was given to the call."""
    header: bytes = b""
    """The first 64 KiB of a container, without which ``content`` cannot be read. Empty for raw encodings."""
    complete: bool = True
    """Whether it reaches back to where the server needs it from. Only the newest 60 s are kept."""


class UnsavedBuffer:
    """Keeps sent pieces, without copying them, until an ack lets go of them; at most ``limit_bytes``, the newest."""

    def __init__(self, *, frame_bytes: int, limit_bytes: int, container: bool) -> None:
        self._frame_bytes = frame_bytes
        self._limit_bytes = limit_bytes
        self._header_room = _HEADER_BYTES if container else 0
        self._header: list[bytes] = []
        self._pieces: deque[tuple[int, bytes]] = deque()
        self._bytes = 0
        self._position = 0
        self._needed_from = 0
        self._held_from = 0

    def add(self, position: int, piece: bytes) -> None:
        """A piece that is about to be sent, right after the one before."""
        if self._header_room:
            self._header.append(piece[: self._header_room])
            self._header_room -= len(self._header[-1])
        self._pieces.append((position, piece))
        self._bytes += len(piece)
        self._position = position + len(piece) // self._frame_bytes
        while self._bytes > self._limit_bytes:
            self._drop()

    def forget(self, keep_from: int) -> None:
        """Let go of what lies wholly before ``keep_from``."""
        self._needed_from = max(self._needed_from, keep_from)
        while self._pieces and self._end(self._pieces[0]) <= keep_from:
            self._drop()

    def snapshot(self) -> UnsavedAudio:
        """What is unsaved now, cut to begin where the server needs it."""
        start = min(max(self._held_from, self._needed_from), self._position)
        content = b"".join(piece for _, piece in self._pieces)
        return UnsavedAudio(
            position=start,
            content=content[(start - self._held_from) * self._frame_bytes :],
            header=b"".join(self._header),
            complete=self._held_from <= self._needed_from,
        )

    def _end(self, entry: tuple[int, bytes]) -> int:
        return entry[0] + len(entry[1]) // self._frame_bytes

    def _drop(self) -> None:
        entry = self._pieces.popleft()
        self._bytes -= len(entry[1])
        self._held_from = self._end(entry)
