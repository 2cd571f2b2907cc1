"""A document on its way in: on disk in a file without a name, so that nothing of it is left whatever becomes of this process."""

import asyncio
import os
import tempfile
from typing import IO, Final

from malha.runtime.errors import ResourceExhausted, UnsupportedFormat

WRITE_BYTES: Final = 1024 * 1024


class ReceivedDocument:
    """One document. Disk is written off the event loop."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._file: IO[bytes] = tempfile.TemporaryFile(prefix="malha-document-")  # noqa: SIM115 - closed by close()
        self._gathered = bytearray()
        self._size = 0

    @property
    def path(self) -> str:
        """Where processes of the same user open it, while this object is open."""
        return f"/proc/{os.getpid()}/fd/{self._file.fileno()}"

    async def add(self, content: bytes) -> None:
        """Take in the next bytes. Raises ResourceExhausted over the limit or when the disk is full."""
        self._size += len(content)
        if self._size > self._most_bytes:
            raise ResourceExhausted(
                f"the document is larger than {self._most_bytes} bytes: send less, or raise MALHA_OCR_MAX_DOCUMENT_BYTES",
                reason="DOCUMENT_TOO_LARGE",
                quota="document_bytes",
            )
        self._gathered += content
        if len(self._gathered) >= WRITE_BYTES:
            await self._write()

    async def complete(self) -> None:
        """All bytes are in. Raises UnsupportedFormat for an empty document."""
        if not self._size:
            raise UnsupportedFormat("the document is empty", reason="EMPTY_FILE")
        await self._write()

    def close(self) -> None:
        """Delete it."""
        self._file.close()

    async def _write(self) -> None:
        gathered, self._gathered = bytes(self._gathered), bytearray()
        try:
            await asyncio.to_thread(self._write_now, gathered)
        except OSError as error:
            raise ResourceExhausted(
                f"cannot keep the document: {os.strerror(error.errno or 0)}; free space in {tempfile.gettempdir()} or set TMPDIR",
                reason="DISK_FULL",
                retry_seconds=60,
            ) from None

    def _write_now(self, content: bytes) -> None:
        self._file.write(content)
        self._file.flush()
