"""Where files lie: a directory, or an S3-compatible store. Names are ours: ``TENANT/CONVERSATION/FILE``."""

import asyncio
import contextlib
import os
import re
import secrets
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar
from urllib.parse import unquote, urlsplit

from malha.recording.s3 import S3Blobs, S3Place
from malha.recording.settings import RecordingSettings
from malha.runtime.errors import FailedPrecondition, NotFound, Unavailable

DIRECTORY = "recordings"
_CONVERSATION = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""What else lies in a tenant's folder is not ours."""
Result = TypeVar("Result")


class Blobs(Protocol):
    """Files by name. Every method raises Unavailable where the store is away, or full."""

    async def put(self, name: str, content: bytes) -> None:
        """Store a file, whole or not at all; one of that name is replaced."""
        ...

    async def get(self, name: str) -> bytes:
        """Raises NotFound."""
        ...

    async def remove(self, folder: str) -> int:
        """Remove all files of a folder; how many there were."""
        ...

    async def folders(self, folder: str) -> set[str]:
        """The names of the folders in a folder."""
        ...

    async def close(self) -> None:
        """End connections."""
        ...


class DirectoryBlobs:
    """Files in a directory that its owner alone may enter. No call waits on the event loop."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    async def put(self, name: str, content: bytes) -> None:
        await asyncio.to_thread(_told, self._put, name, content)

    async def get(self, name: str) -> bytes:
        return await asyncio.to_thread(_told, self._get, name)

    async def remove(self, folder: str) -> int:
        return await asyncio.to_thread(_told, self._remove, folder)

    async def folders(self, folder: str) -> set[str]:
        return await asyncio.to_thread(_told, self._folders, folder)

    async def close(self) -> None:
        """Nothing is open."""

    def _put(self, name: str, content: bytes) -> None:
        path = self._directory / name
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
        try:
            with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
                out.write(content)
                out.flush()
                os.fsync(out.fileno())
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)

    def _get(self, name: str) -> bytes:
        try:
            return (self._directory / name).read_bytes()
        except FileNotFoundError:
            raise NotFound("a file of this recording is gone", reason="RECORDING_FILE_GONE") from None

    def _remove(self, folder: str) -> int:
        place, count = self._directory / folder, 0
        with contextlib.suppress(FileNotFoundError):  # others may remove it at the same moment
            for path in list(place.iterdir()):
                path.unlink(missing_ok=True)
                count += path.suffix != ".part"
            place.rmdir()
        return count

    def _folders(self, folder: str) -> set[str]:
        place = self._directory / folder
        return {path.name for path in place.iterdir() if path.is_dir()} if place.is_dir() else set()


class RecordedFiles:
    """Recordings' files by conversation, as an erasure sees them."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs

    async def remove(self, tenant_id: uuid.UUID, conversation_id: uuid.UUID) -> int:
        """Remove all of a conversation; how many there were."""
        return await self._blobs.remove(f"{tenant_id}/{conversation_id}")

    async def conversations(self, tenant_id: uuid.UUID) -> set[uuid.UUID]:
        """Which conversations of a tenant have files."""
        return {uuid.UUID(name) for name in await self._blobs.folders(str(tenant_id)) if _CONVERSATION.fullmatch(name)}


def make_blobs(settings: RecordingSettings, data_directory: Path) -> Blobs:
    """The place that is set. Raises FailedPrecondition for an S3 store without a key."""
    parts = urlsplit(settings.blob_url)
    if parts.scheme != "s3":
        return DirectoryBlobs(Path(unquote(parts.path)) if settings.blob_url else data_directory / DIRECTORY)
    secret = settings.blob_s3_secret_key
    if settings.blob_s3_secret_key_file is not None:
        try:
            secret = settings.blob_s3_secret_key_file.read_text().strip()
        except OSError as error:
            raise FailedPrecondition(f"MALHA_BLOB_S3_SECRET_KEY_FILE: {error.strerror}", reason="BLOB_NOT_CONFIGURED") from error
    if not settings.blob_s3_access_key or not secret:
        raise FailedPrecondition(
            "the S3 store needs MALHA_BLOB_S3_ACCESS_KEY and MALHA_BLOB_S3_SECRET_KEY_FILE", reason="BLOB_NOT_CONFIGURED"
        )
    endpoint = settings.blob_s3_endpoint or f"https://s3.{settings.blob_s3_region}.amazonaws.com"
    place = S3Place(endpoint, parts.netloc, parts.path.strip("/"), settings.blob_s3_region, settings.blob_s3_access_key, secret)
    return S3Blobs(place, settings.blob_seconds)


def _told(work: Callable[..., Result], *arguments: object) -> Result:
    """The result of work on files; Unavailable where the disk is full or away."""
    try:
        return work(*arguments)
    except OSError as error:
        raise Unavailable(
            f"recordings cannot be stored or read: {error.strerror}; see MALHA_BLOB_URL", reason="BLOB_UNAVAILABLE", retry_seconds=1
        ) from error
