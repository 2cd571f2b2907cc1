"""Bring a model from a hub to this machine's disk, checked file by file."""

import asyncio
import fcntl
import fnmatch
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from malha.models.catalogue import Model
from malha.models.hub import Hub, HubOptions, Listing
from malha.models.part import RemoteFile, disk_error, disk_full, is_file, part_path
from malha.models.store import Manifest, ManifestFile, ModelStore, file_sha256, write_manifest
from malha.runtime import logs
from malha.runtime.errors import Aborted, NotFound
from malha.runtime.logs import Event

PARALLEL_FILES = 3
_SPARE_BYTES = 16 << 20

log = logs.get("models")


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a pull is, over all files of the model."""

    done_bytes: int
    total_bytes: int


async def pull(
    model: Model,
    store: ModelStore,
    options: HubOptions,
    *,
    progress: Callable[[Progress], None] | None = None,
) -> Path:
    """Make sure that ``model`` is in ``store`` and return its directory. One that was pulled before and is sound is not asked for again; of a damaged one, only the damaged files are.

    Raises Unavailable without a hub in reach, Aborted if what comes is not what the hub or the catalogue states or someone else is pulling it,
    ResourceExhausted if the disk is too small, and as `Hub.listing` does.
    """
    path = store.path(model.name)
    if await asyncio.to_thread(store.is_sound, model.name):
        return path
    async with Hub(options) as hub:
        listing = await hub.listing(model.repository, model.revision)
        files = _chosen(model, listing)
        with _alone(path):
            _check_space(path, files)
            digests = await _fetch_all(hub, listing, files, path, _Total(files, progress or _ignore))
            entries = tuple(ManifestFile(file.path, file.size_bytes, digest) for file, digest in zip(files, digests, strict=True))
            write_manifest(path, Manifest(model.name, model.repository, listing.commit, model.licence, entries))
    return path


def _chosen(model: Model, listing: Listing) -> list[RemoteFile]:
    """The files to fetch. Raises NotFound for a repository without one of them, Aborted if one is not what the catalogue pins."""
    files = [file for file in listing.files if "/" not in file.path]
    names = [file.path for file in files]
    for pattern in model.files.required:
        if not fnmatch.filter(names, pattern):
            raise NotFound(f"{listing.repository} on the hub has no {pattern}", reason="HUB_NOT_FOUND")
    patterns = model.files.required + model.files.optional
    chosen = [file for file in files if any(fnmatch.fnmatchcase(file.path, pattern) for pattern in patterns)]
    for file in chosen:
        pin = model.pins.get(file.path)
        if pin is not None and (file.sha256, file.size_bytes) != (pin.sha256, pin.size_bytes):
            raise Aborted(f"the hub offers another {file.path} than the catalogue's for {model.name}", reason="MODEL_FILE_CORRUPT")
    return chosen


class _Total:
    """Adds up the progress of the files."""

    def __init__(self, files: Sequence[RemoteFile], report: Callable[[Progress], None]) -> None:
        self._total = sum(file.size_bytes for file in files)
        self._done = 0
        self._report = report

    def add(self, gained: int) -> None:
        self._done += gained
        self._report(Progress(self._done, self._total))


async def _fetch_all(hub: Hub, listing: Listing, files: Sequence[RemoteFile], path: Path, total: _Total) -> list[str]:
    """SHA-256 of each file, in order, once all are in place. The first failure ends the others."""
    gate = asyncio.Semaphore(PARALLEL_FILES)

    async def fetch(file: RemoteFile) -> str:
        target = path / file.path
        async with gate:
            if await asyncio.to_thread(is_file, target, file):
                total.add(file.size_bytes)
                return await asyncio.to_thread(file_sha256, target)
            digest = await hub.download(listing, file, target, total.add)
        log.info(Event.MODEL_FILE_PULLED, bytes=file.size_bytes)
        return digest

    tasks = [asyncio.create_task(fetch(file)) for file in files]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _check_space(path: Path, files: Sequence[RemoteFile]) -> None:
    needed = sum(max(0, file.size_bytes - _bytes_there(path / file.path, file)) for file in files)
    if shutil.disk_usage(path).free < needed + _SPARE_BYTES:
        raise disk_full(path, needed)


def _bytes_there(target: Path, file: RemoteFile) -> int:
    return max((path.stat().st_size for path in (target, part_path(target, file)) if path.is_file()), default=0)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold the model's directory, which is made where it is missing. The lock ends with the process that holds it."""
    lock = path.with_name(f".{path.name}.lock")
    try:
        path.mkdir(parents=True, exist_ok=True)
        handle = lock.open("w")
    except OSError as error:
        raise disk_error(error, path, 0) from error
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Aborted(f"another process is pulling into {path}", reason="PULL_UNDER_WAY") from None
        yield


def _ignore(_: Progress) -> None:
    """Nobody wants to know."""
