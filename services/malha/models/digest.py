"""A file as a hub states it, and the check that bytes are that file's."""

import asyncio
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_READ_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file in a repository, and the digest the hub states for it: SHA-256 of large files, git's blob SHA-1 of small ones."""

    path: str
    size_bytes: int
    sha256: str = ""
    git_sha1: str = ""

    @property
    def digest(self) -> str:
        return self.sha256 or self.git_sha1


class Digest:
    """Hashes a file as it comes: SHA-256 for the manifest, git's SHA-1 too where that is what the hub states."""

    def __init__(self, file: RemoteFile) -> None:
        self._file = file
        self.size = 0
        self._sha256 = hashlib.sha256()
        self._git_sha1 = None if file.sha256 else hashlib.sha1(b"blob %d\0" % file.size_bytes, usedforsecurity=False)

    def update(self, chunk: bytes) -> None:
        self.size += len(chunk)
        self._sha256.update(chunk)
        if self._git_sha1 is not None:
            self._git_sha1.update(chunk)

    @property
    def sha256(self) -> str:
        """Hexadecimal, of what came so far."""
        return self._sha256.hexdigest()

    @property
    def is_right(self) -> bool:
        """Whether what came is the whole file and no other."""
        found = self.sha256 if self._git_sha1 is None else self._git_sha1.hexdigest()
        return self.size == self._file.size_bytes and found == self._file.digest

    def take(self, handle: BinaryIO) -> bool:
        """Take in the next piece of an open file; whether there was one."""
        chunk = handle.read(_READ_BYTES)
        self.update(chunk)
        return bool(chunk)


async def digest_of(path: Path, file: RemoteFile) -> Digest:
    """The digest of ``path``, which holds ``file`` or claims to. Read piece by piece in a thread: whoever gives up need not wait for all of it."""
    digest = Digest(file)
    handle = await asyncio.to_thread(path.open, "rb")
    try:
        while await asyncio.to_thread(digest.take, handle):
            pass
    finally:
        handle.close()
    return digest


async def right_digest(path: Path, file: RemoteFile) -> str | None:
    """SHA-256 of ``path`` if that is ``file`` already, else None."""
    if not path.is_file() or path.stat().st_size != file.size_bytes:  # noqa: ASYNC240 - one look at a local file
        return None
    digest = await digest_of(path, file)
    return digest.sha256 if digest.is_right else None
