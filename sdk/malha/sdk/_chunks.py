"""Cuts the caller's audio into messages: small chunks are gathered, large ones split, each numbered with its position."""

from malha.sdk.errors import InvalidRequest


class Chunker:
    """``frame_bytes`` is the smallest unit that may be sent (1 for containers); positions count in it."""

    def __init__(self, *, frame_bytes: int, ready_bytes: int, most_bytes: int) -> None:
        self._frame_bytes = frame_bytes
        self._ready_bytes = ready_bytes
        self._most_bytes = most_bytes - most_bytes % frame_bytes
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._position = 0

    @property
    def position(self) -> int:
        """Of what comes next."""
        return self._position

    def start_at(self, position: int) -> None:
        """Number from here, before the first ``take``."""
        self._position = position

    def add(self, chunk: bytes | bytearray | memoryview) -> None:
        """Take a chunk as the caller gives it. Copied unless it is ``bytes``: sound libraries reuse their buffers."""
        if not isinstance(chunk, bytes | bytearray | memoryview):
            raise TypeError(f"audio comes as bytes, not as {type(chunk).__name__}")
        piece = bytes(chunk)
        if piece:
            self._pending.append(piece)
            self._pending_bytes += len(piece)

    @property
    def ready(self) -> bool:
        """Whether enough has gathered for a message."""
        return self._pending_bytes >= self._ready_bytes

    @property
    def waiting(self) -> bool:
        """Whether at least one whole frame could be sent."""
        return self._pending_bytes >= self._frame_bytes

    def take(self) -> list[tuple[int, bytes]]:
        """All whole frames that gathered, as (position, bytes); what is left of a frame stays."""
        gathered = self._pending[0] if len(self._pending) == 1 else b"".join(self._pending)
        whole = len(gathered) - len(gathered) % self._frame_bytes
        self._pending = [gathered[whole:]] if whole < len(gathered) else []
        self._pending_bytes = len(gathered) - whole
        pieces = []
        for start in range(0, whole, self._most_bytes):
            piece = gathered[start : min(start + self._most_bytes, whole)]
            pieces.append((self._position, piece))
            self._position += len(piece) // self._frame_bytes
        return pieces

    def close(self) -> None:
        """After the last ``take``. Raises InvalidRequest where the audio ended inside a frame."""
        if self._pending_bytes:
            raise InvalidRequest(
                f"the audio ends with {self._pending_bytes} of the {self._frame_bytes} bytes of a frame: "
                "is it really in the encoding and number of channels given?",
                reason="PARTIAL_FRAME",
            )
