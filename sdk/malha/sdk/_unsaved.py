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
    keep_from: int | None = None
    """Where the server needs it from, as its last ack said; before ``position`` where it is not complete. None: ``position``."""
    keep_from_frame: int | None = None
    """The frame of the audio that begins there: of containers, whose positions are bytes. None: the same number."""


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
        self._needed_from_frame = 0
        self._held_from = 0

    @property
    def needed_from(self) -> int:
        """Where the server needs the audio from, as its last ack said; 0 before the first."""
        return self._needed_from

    @property
    def needed_from_frame(self) -> int:
        """The frame of the audio that begins there."""
        return self._needed_from_frame

    @property
    def complete(self) -> bool:
        """Whether nothing was dropped that the server may still need."""
        return self._held_from <= self._needed_from

    @property
    def held_from(self) -> int:
        """Where what is kept begins."""
        return self._held_from

    @property
    def end(self) -> int:
        """Of all that was sent."""
        return self._position

    def restore(self, unsaved: UnsavedAudio, piece_bytes: int) -> None:
        """Begin with what an earlier call had, in pieces of at most ``piece_bytes``. On an empty buffer only."""
        self.begin_at(unsaved.position)
        if unsaved.keep_from is not None:
            frame = unsaved.keep_from if unsaved.keep_from_frame is None else unsaved.keep_from_frame
            self._needed_from, self._needed_from_frame = unsaved.keep_from, frame
        size = piece_bytes - piece_bytes % self._frame_bytes
        for start in range(0, len(unsaved.content), size):
            self.add(self._position, unsaved.content[start : start + size])
        self._header, self._header_room = [unsaved.header], 0

    def begin_at(self, position: int) -> None:
        """The server has all before ``position``: where that is all there is, begin there."""
        if position < self._position or position == 0:
            return
        self._pieces.clear()
        self._bytes = 0
        self._position = self._held_from = position
        if position > self._needed_from:
            self._needed_from = self._needed_from_frame = position

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

    def forget(self, keep_from: int, frame: int = 0) -> None:
        """Let go of what lies wholly before ``keep_from``, which is ``frame`` of the audio."""
        if keep_from >= self._needed_from:
            self._needed_from, self._needed_from_frame = keep_from, frame
        while self._pieces and self._end(self._pieces[0]) <= keep_from:
            self._drop()

    def since(self, position: int) -> list[tuple[int, bytes]]:
        """The pieces kept from ``position`` on; of them only the first is copied, where it begins before."""
        kept = [entry for entry in self._pieces if self._end(entry) > position]
        if kept and kept[0][0] < position:
            start, piece = kept[0]
            kept[0] = (position, piece[(position - start) * self._frame_bytes :])
        return kept

    def snapshot(self) -> UnsavedAudio:
        """What is unsaved now, cut to begin where the server needs it."""
        start = min(max(self._held_from, self._needed_from), self._position)
        content = b"".join(piece for _, piece in self._pieces)
        return UnsavedAudio(
            position=start,
            content=content[(start - self._held_from) * self._frame_bytes :],
            header=b"".join(self._header),
            complete=self.complete,
            keep_from=self._needed_from,
            keep_from_frame=self._needed_from_frame,
        )

    def _end(self, entry: tuple[int, bytes]) -> int:
        return entry[0] + len(entry[1]) // self._frame_bytes

    def _drop(self) -> None:
        entry = self._pieces.popleft()
        self._bytes -= len(entry[1])
        self._held_from = self._end(entry)
