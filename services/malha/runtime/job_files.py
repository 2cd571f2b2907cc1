"""Recordings that wait for their job, in the data directory: written by whoever received them, taken over by the job, deleted after it.

An upload's name is random, so that nobody guesses another's, and good once: the job renames the file to its own name.
"""

import contextlib
import os
import re
import secrets
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

from pydantic import Field

from malha.runtime.errors import NotFound, ResourceExhausted
from malha.runtime.settings import MalhaSettings

FORSAKEN_SECONDS: Final = 3600.0
"""An upload that no job took over, or that was never finished, is deleted after so long."""
CLAIMED_SECONDS: Final = 300.0
"""A job whose file was taken over so long ago has its row, or is gone."""

_UPLOAD = re.compile(r"[0-9a-f]{32}")
_JOB = re.compile(r"([0-9a-f-]{36})\.([0-9a-f-]{36})\.job")


class JobFilesSettings(MalhaSettings):
    """How much may wait."""

    job_files_bytes: int = Field(10 * 1024**3, ge=1, description="Room that recordings may take while they wait for their job.")


class JobFiles:
    """The files of one data directory, at most ``max_bytes`` together. Its methods touch the disk: names and sizes, never content."""

    def __init__(self, data_directory: Path, max_bytes: int) -> None:
        self._directory = data_directory / "jobs"
        self._max_bytes = max_bytes

    def check_room(self, size: int) -> None:
        """Raise ResourceExhausted where so many bytes more would be too many."""
        used = sum(known.st_size for _, known in self._entries())
        if used + size > self._max_bytes:
            raise ResourceExhausted(
                "recordings that wait for their job take all the room they may: try again later, or raise MALHA_JOB_FILES_BYTES",
                reason="JOB_FILES_FULL",
                retry_seconds=60.0,
                quota="job_files_bytes",
            )

    def create(self) -> tuple[str, IO[bytes]]:
        """A new upload's id, and a file to write. Raises OSError."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        upload = secrets.token_hex(16)
        return upload, os.fdopen(os.open(self._directory / f"{upload}.part", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")

    def complete(self, upload: str) -> None:
        """The upload is whole: a job may have it."""
        (self._directory / f"{upload}.part").rename(self._directory / upload)

    def claim(self, upload: str, tenant: uuid.UUID, job: uuid.UUID) -> None:
        """Give an upload to a job. Raises NotFound for one there is none of, or that another job has."""
        try:
            if not _UPLOAD.fullmatch(upload):
                raise FileNotFoundError
            os.utime(self._directory / upload)  # from now on it is the job's
            (self._directory / upload).rename(self.path(tenant, job))
        except FileNotFoundError:
            raise NotFound("there is no such upload: it is good for one job, within an hour", reason="UPLOAD_NOT_FOUND") from None

    def path(self, tenant: uuid.UUID, job: uuid.UUID) -> Path:
        """Where a job's recording lies."""
        return self._directory / f"{tenant}.{job}.job"

    def discard_upload(self, upload: str) -> None:
        """Delete an upload, whole or not, if it is still there."""
        for name in (upload, f"{upload}.part"):
            (self._directory / name).unlink(missing_ok=True)

    def discard(self, tenant: uuid.UUID, job: uuid.UUID) -> None:
        """Delete a job's recording, if it is still there."""
        self.path(tenant, job).unlink(missing_ok=True)

    def sweep(self) -> list[tuple[uuid.UUID, uuid.UUID]]:
        """Delete forsaken uploads; tenant and job of files that were taken over some minutes ago."""
        jobs, now = [], time.time()
        for path, known in self._entries():
            if (match := _JOB.fullmatch(path.name)) is not None:
                if now - known.st_mtime > CLAIMED_SECONDS:
                    jobs.append((uuid.UUID(match[1]), uuid.UUID(match[2])))
            elif now - known.st_mtime > FORSAKEN_SECONDS:
                path.unlink(missing_ok=True)
        return jobs

    def _entries(self) -> Iterator[tuple[Path, os.stat_result]]:
        """Each file, and what the disk knows of it."""
        if not self._directory.is_dir():
            return
        for path in self._directory.iterdir():
            with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
                yield path, path.stat()
