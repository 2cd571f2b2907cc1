"""A file of a hub while it arrives, and the check that it is the right one.

It lands in ``NAME.DIGEST.part`` beside its place and is renamed there only when its digest is right. The digest in the part's name is what
makes it safe to resume: bytes fetched for another version of the file are never continued.
"""

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from malha.models.digest import Digest, RemoteFile
from malha.runtime.errors import Aborted, FailedPrecondition, MalhaError, ResourceExhausted

CHUNK_BYTES = 1 << 20
PART_SUFFIX = ".part"


class Part:
    """The file while it grows; a context manager. Hashes what it takes, and what is there already when it begins."""

    def __init__(self, target: Path, file: RemoteFile, on_bytes: Callable[[int], None]) -> None:
        self._target = target
        self._file = file
        self._on_bytes = on_bytes
        self._path = part_path(target, file)
        self._digest = Digest(file)
        self._handle: BinaryIO

    def __enter__(self) -> Self:
        self._target.parent.mkdir(parents=True, exist_ok=True)
        self._digest = Digest(self._file)
        self._handle = self._path.open("a+b")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._handle.close()

    @property
    def size(self) -> int:
        """Bytes there."""
        return self._digest.size

    @property
    def is_whole(self) -> bool:
        return self.size == self._file.size_bytes

    @property
    def is_right(self) -> bool:
        return self._digest.is_right

    def read_back(self) -> Iterator[None]:
        """Take in what an earlier try left, chunk by chunk."""
        self._handle.seek(0)
        while self.size <= self._file.size_bytes and (chunk := self._handle.read(CHUNK_BYTES)):
            self._count(chunk)
            yield
        if self.size > self._file.size_bytes:
            self.restart()

    def continues(self, content_range: str) -> bool:
        """Whether a ``Content-Range`` begins where the part ends, in a file of the right size."""
        return content_range == f"bytes {self.size}-{self._file.size_bytes - 1}/{self._file.size_bytes}"

    def is_as_long_as(self, size_bytes: int) -> bool:
        """Whether the whole file has this size."""
        return size_bytes == self._file.size_bytes

    def append(self, chunk: bytes) -> None:
        if self.size + len(chunk) > self._file.size_bytes:
            raise self.wrong("is longer than")
        self._handle.write(chunk)
        self._count(chunk)

    def restart(self) -> None:
        """Forget what is there."""
        self._handle.truncate(0)
        self._on_bytes(-self.size)
        self._digest = Digest(self._file)

    def accept(self) -> str:
        """Check the whole, put it in its place and return its SHA-256."""
        if not self.is_right:
            raise self.wrong("does not have the digest")
        self._handle.flush()
        os.fsync(self._handle.fileno())
        self._path.replace(self._target)
        return self._digest.sha256

    def wrong(self, how: str) -> Aborted:
        """What to raise for content that is not the file; the part is deleted."""
        self._path.unlink(missing_ok=True)
        return Aborted(f"{self._file.path} {how} what the hub states; it was deleted", reason="MODEL_FILE_CORRUPT")

    def _count(self, chunk: bytes) -> None:
        self._digest.update(chunk)
        self._on_bytes(len(chunk))


def part_path(target: Path, file: RemoteFile) -> Path:
    """Where a file lies until it is whole."""
    return target.with_name(f"{target.name}.{file.digest[:12]}{PART_SUFFIX}")


def disk_error(error: OSError, path: Path, needed_bytes: int) -> MalhaError:
    """What to tell when ``path`` cannot be written."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return disk_full(path, needed_bytes)
    return FailedPrecondition(f"cannot write to {path.parent}: {error.strerror}: set MALHA_MODELS_DIR", reason="MODELS_NOT_WRITABLE")


def disk_full(path: Path, needed_bytes: int) -> ResourceExhausted:
    return ResourceExhausted(
        f"the disk of {path.parent} is full: {needed_bytes} more bytes are needed", reason="DISK_FULL", quota="disk_bytes"
    )
