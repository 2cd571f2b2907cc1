"""Binary WebSocket messages to serialized ``StreamRequest`` messages: positions, and small pieces joined.

What a message costs barely depends on its size: 20 ms pieces would cost the mesh almost four times the CPU of 100 ms ones. For the same
reason the few bytes that make audio a ``StreamRequest`` are written here: 1 us where building the messages takes 4.
"""

import struct
from functools import lru_cache

from malha.edge.errors import InvalidField
from malha.edge.pace import PIECE_SECONDS

POSITION = struct.Struct(">Q")
Piece = tuple[bytes, int, int]
"""A serialized request of audio, the position it begins at, and how many units of position it holds."""

_REQUEST_AUDIO = 2 << 3 | 2  # StreamRequest.audio, length-delimited
_AUDIO_CONTENT = 1 << 3 | 2  # Audio.content, length-delimited
_AUDIO_POSITION = 2 << 3  # Audio.position, varint


class Framer:
    """Frames the audio of one call.

    ``frame_bytes`` is the size of one sample on all channels, or 0 for containers, which are never joined: their pieces are handed on as
    they come. A piece that is no whole number of frames is handed on alone, so that the server names the error. Positions are counted, or the
    client's own; only those are sent.
    """

    def __init__(self, *, frame_bytes: int = 0, rate: int = 0, positions: bool = False) -> None:
        self._frame_bytes = frame_bytes
        self._second_bytes = frame_bytes * rate
        self._full_bytes = self.piece_bytes = 0
        """What small pieces are joined to; 0 where they are not."""
        self.join_to(PIECE_SECONDS)
        self.second_units = rate if frame_bytes else 0
        """Positions per second; 0 for containers, whose positions are bytes."""
        self.position = 0
        """Where the next audio begins, as far as it was handed on."""
        self._unit_bytes = frame_bytes or 1
        self._positions = positions
        self._gathered: list[bytes] = []
        self._size = 0
        self._position: int | None = None

    @property
    def waiting(self) -> int:
        """Bytes of small pieces that wait for others."""
        return self._size

    def join_to(self, seconds: float, first: float = 1.0) -> None:
        """Join small pieces to this size from now on, the first ones to a share of it."""
        self._full_bytes = round(self._second_bytes * seconds)
        self.piece_bytes = round(self._full_bytes * first)

    def begin_at(self, position: int) -> None:
        """Count on from here: the call was resumed."""
        self.position = position

    def add(self, data: bytes) -> list[Piece]:
        """Take a message's audio, prefixed by its position where the call has them; the pieces to send now, in order."""
        position = None
        if self._positions:
            if len(data) < POSITION.size:
                raise InvalidField("positions", "a binary message is shorter than its 8-byte position")
            (position,) = POSITION.unpack_from(data)
            data = data[POSITION.size :]
        size = len(data)
        if not size:
            return []
        if size >= self.piece_bytes or size % self._frame_bytes:
            gathered = self.flush()
            self.piece_bytes = self._full_bytes
            return [*gathered, self._piece(data, position)]
        return self._join(data, position)

    def _piece(self, data: bytes, position: int | None) -> Piece:
        at = self.position if position is None else position
        units = len(data) // self._unit_bytes
        self.position = at + units
        return audio_request(data, position), at, units

    def _join(self, data: bytes, position: int | None) -> list[Piece]:
        requests = self.flush() if self._jumps(position) else []
        if not self._size:
            self._position = position
        self._gathered.append(data)
        self._size += len(data)
        return requests if self._size < self.piece_bytes else requests + self.flush()

    def _jumps(self, position: int | None) -> bool:
        return self._size > 0 and self._position is not None and position != self._position + self._size // self._frame_bytes

    def flush(self) -> list[Piece]:
        """What has gathered, as a piece."""
        if not self._size:
            return []
        piece = self._piece(b"".join(self._gathered), self._position)
        self._gathered.clear()
        self._size = 0
        self.piece_bytes = self._full_bytes
        return [piece]


def placed(request: bytes, position: int) -> bytes:
    """A serialized request of audio, told where it begins. Of serialized messages that follow each other, protobuf makes one."""
    tail = bytes((_AUDIO_POSITION,)) + _varint(position)
    return request + bytes((_REQUEST_AUDIO,)) + _varint(len(tail)) + tail


def audio_request(content: bytes, position: int | None = None) -> bytes:
    """``StreamRequest(audio=Audio(content=content, position=position)).SerializeToString()``."""
    if position is None:
        return _prefix(len(content), 0) + content
    tail = bytes((_AUDIO_POSITION,)) + _varint(position)
    return b"".join((_prefix(len(content), len(tail)), content, tail))


@lru_cache(maxsize=256)
def _prefix(content: int, tail: int) -> bytes:
    field = (bytes((_AUDIO_CONTENT,)) + _varint(content)) if content else b""
    return bytes((_REQUEST_AUDIO,)) + _varint(len(field) + content + tail) + field


def _varint(value: int) -> bytes:
    """Base 128, least significant group first (protobuf encoding)."""
    groups = bytearray()
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    groups.append(value)
    return bytes(groups)
