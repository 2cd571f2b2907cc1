"""A file that a caller sends in pieces: on disk without a name, so that nothing of it is left whatever becomes of this process."""

import asyncio
import os
import tempfile
from dataclasses import dataclass
from typing import IO, Final

from malha.runtime.errors import ResourceExhausted, UnsupportedFormat

WRITE_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class FileLimit:
    """How large a file may be, and how whoever sends a larger one is told."""

    noun: str
    most_bytes: int
    setting: str
    """What raises it."""
    reason: str
    quota: str


class ReceivedFile:
    """One file on its way in. It is written a megabyte at a time, off the event loop."""

    def __init__(self, limit: FileLimit) -> None:
        self._limit = limit
        self._file: IO[bytes] = tempfile.TemporaryFile(prefix="malha-received-")  # noqa: SIM115 - closed by close()
        self._gathered = bytearray()
        self._size = 0

    async def add(self, content: bytes) -> None:
        """Take in the next bytes. Raises ResourceExhausted over the limit or when the disk is full."""
        limit = self._limit
        self._size += len(content)
        if self._size > limit.most_bytes:
            raise ResourceExhausted(
                f"the {limit.noun} is larger than {limit.most_bytes} bytes: send less, or raise {limit.setting}",
                reason=limit.reason,
                quota=limit.quota,
            )
        self._gathered += content
        if len(self._gathered) >= WRITE_BYTES:
            await self._write()

    async def complete(self) -> str:
        """All bytes are in; where processes of the same user open the file until it is closed.

        Raises UnsupportedFormat for an empty file, and ResourceExhausted as `add` does.
        """
        if not self._size:
            raise UnsupportedFormat(f"the {self._limit.noun} is empty", reason="EMPTY_FILE")
        await self._write()
        return f"/proc/{os.getpid()}/fd/{self._file.fileno()}"

    def close(self) -> None:
        """Delete it."""
        self._file.close()

    async def _write(self) -> None:
        gathered, self._gathered = bytes(self._gathered), bytearray()
        try:
            await asyncio.to_thread(self._write_now, gathered)
        except OSError as error:
            raise ResourceExhausted(
                f"cannot keep the {self._limit.noun}: {os.strerror(error.errno or 0)}; free space in {tempfile.gettempdir()} or set TMPDIR",
                reason="DISK_FULL",
                retry_seconds=60,
            ) from None

    def _write_now(self, content: bytes) -> None:
        self._file.write(content)
        self._file.flush()
