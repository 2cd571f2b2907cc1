"""The frames between an engine host and its worker processes.

A frame is a header (length of the body, kind, stream) and a body. Kind and stream stand outside the body so that acknowledgements cost no
pickling and so that a body that cannot be read is charged to its own stream alone. Bodies are pickled with protocol 5. Unpickling can run
any code; here that gives nothing away, because both ends are the same program of the same user, joined by a socket pair that has no name
anyone else could connect to, and because what callers send (audio, text) is packed into a pickle but never taken for one.

Imported by every worker: the standard library only, so that a worker is up within milliseconds.
"""

import enum
import pickle
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

HEADER: Final = struct.Struct("!IBI")
WAITED: Final = struct.Struct("!d")
COUNT: Final = struct.Struct("!I")
MAX_BODY_BYTES: Final = 256 << 20


class Kind(enum.IntEnum):
    """What a frame says; its stream is 0 where it concerns the worker as a whole."""

    CONFIGURE = 1
    """From the host, first: a `Configuration`."""
    OPEN = 2
    FEED = 3
    FINISH = 4
    CANCEL = 5
    CREDIT = 6
    """From the host: as many more outputs (`COUNT`) may be sent for this stream."""
    OPEN_BACKGROUND = 7
    """`OPEN`, for a stream that gives way to those opened without this."""
    READY = 10
    """From the worker: loaded; the body is what it tells about itself."""
    WORKING = 11
    """From the worker: until it says otherwise, it computes for this stream."""
    OUTPUT = 12
    INTERIM = 13
    ACK = 14
    """From the worker: one more input is done; it had waited so many seconds (`WAITED`) for its turn."""
    DONE = 15
    """From the worker: the stream is closed and forgotten."""
    FAILED = 16
    """From the worker: the stream, or the loading, failed with this MalhaError or `Defect`, and is forgotten."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """What a worker is told before it loads."""

    options: object
    nice: int
    outputs_ahead: int
    item_seconds: float


@dataclass(frozen=True, slots=True)
class Defect:
    """An exception that is no MalhaError, without its message: that may hold what a caller said."""

    error: str
    """The exception's type."""
    where: str
    """``file:line`` of the innermost calls, the deepest last."""


def pack(kind: Kind, stream: int = 0, body: bytes = b"") -> bytes:
    """A frame with a ready body. Raises ValueError if it is over `MAX_BODY_BYTES`."""
    if len(body) > MAX_BODY_BYTES:
        raise ValueError(f"an engine item may take {MAX_BODY_BYTES >> 20} MiB, this one takes {len(body) >> 20}")
    return HEADER.pack(len(body), kind, stream) + body


def encode(kind: Kind, stream: int, value: object) -> bytes:
    """A frame with a pickled body."""
    return pack(kind, stream, pickle.dumps(value, protocol=5))


def decode(body: bytes) -> object:
    return pickle.loads(body)  # noqa: S301 - from the other half of this program: see above


class FrameBuffer:
    """Cuts received bytes into frames."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[int, int, bytes]]:
        """Yield (kind, stream, body) of each frame that is now complete."""
        self._bytes += data
        start = 0
        while len(self._bytes) - start >= HEADER.size:
            length, kind, stream = HEADER.unpack_from(self._bytes, start)
            end = start + HEADER.size + length
            if len(self._bytes) < end:
                break
            yield kind, stream, bytes(memoryview(self._bytes)[start + HEADER.size : end])
            start = end
        del self._bytes[:start]
