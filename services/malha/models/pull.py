"""Bring a model from a hub to this machine's disk, checked file by file."""

import asyncio
import fcntl
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path

from malha.models.catalogue import Model
from malha.models.digest import RemoteFile, right_digest
from malha.models.hub import Hub, HubOptions, Listing
from malha.models.part import disk_error, disk_full, part_path
from malha.models.store import Manifest, ManifestFile, ModelStore, read_manifest, write_manifest
from malha.runtime import logs
from malha.runtime.errors import Aborted, FailedPrecondition, NotFound
from malha.runtime.logs import Event

PARALLEL_FILES = 3
_SPARE_BYTES = 16 << 20
_COMMIT = re.compile(r"[0-9a-f]{40}")

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
    agreed: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> Path:
    """Make sure that ``model`` is in ``store`` and return its directory. One that was pulled before and is sound is not asked for again; of a damaged one, only the damaged files are.

    ``agreed``: somebody saw the licence of a model that asks for it, and agreed.

    Raises FailedPrecondition without that agreement, Unavailable without a hub in reach, Aborted if what comes is not what the hub or the catalogue
    states or someone else is pulling it, ResourceExhausted if the disk is too small, and as `Hub.listing` does.
    """
    path = store.path(model.name)
    manifest = _manifest_of(model, path)
    if manifest is not None and await _is_sound(path, model, manifest):
        return path
    if needs_agreement(model, store) and not agreed:
        raise FailedPrecondition(
            f"the licence of {model.name} was not agreed to: --accept-licence {model.name}", reason="LICENCE_NOT_AGREED"
        )
    async with Hub(options) as hub:
        listing = await hub.listing(model.repository, _revision(model, manifest))
        files = _chosen(model, listing)
        with _alone(path):
            _check_space(path, files)
            digests = await _fetch_all(hub, listing, files, path, _Total(files, progress or _ignore))
            _check_pins(model, path, dict(zip((file.path for file in files), digests, strict=True)))
            entries = tuple(ManifestFile(file.path, file.size_bytes, digest) for file, digest in zip(files, digests, strict=True))
            _write(path, Manifest(model.name, model.repository, listing.commit, model.licence, entries, _agreed_at(model, manifest)))
    return path


def needs_agreement(model: Model, store: ModelStore) -> bool:
    """Whether somebody has to be shown the licence first: it asks for that, and nobody agreed when the model was pulled before."""
    manifest = _manifest_of(model, store.path(model.name))
    return model.asks and (manifest is None or not manifest.agreed_at or manifest.licence != model.licence)


def _manifest_of(model: Model, path: Path) -> Manifest | None:
    """What was pulled there, if it was this model."""
    manifest = read_manifest(path)
    return manifest if manifest is not None and manifest.repository == model.repository else None


def _revision(model: Model, manifest: Manifest | None) -> str:
    """The pinned commit; where only a branch is known, the commit it was at the first pull."""
    return model.revision if _COMMIT.fullmatch(model.revision) or manifest is None else manifest.commit


def _agreed_at(model: Model, manifest: Manifest | None) -> str:
    if not model.asks:
        return ""
    before = manifest.agreed_at if manifest is not None and manifest.licence == model.licence else ""
    return before or datetime.now(UTC).isoformat(timespec="seconds")


async def _is_sound(path: Path, model: Model, manifest: Manifest) -> bool:
    """Whether the files are as they were pulled, from the commit the catalogue has now."""
    if manifest.commit != _revision(model, manifest):
        return False
    for file in manifest.files:
        if await right_digest(path / file.path, RemoteFile(file.path, file.size_bytes, sha256=file.sha256)) is None:
            return False
    return True


def _chosen(model: Model, listing: Listing) -> list[RemoteFile]:
    """The files to fetch. Raises NotFound for a repository without one of them, Aborted if one is not what the catalogue pins."""
    for pattern in (*model.files.required, *model.pins):
        if not any(_matches(file.path, pattern) for file in listing.files):
            raise NotFound(f"{listing.repository} on the hub has no {pattern}", reason="HUB_NOT_FOUND")
    patterns = (*model.files.required, *model.files.optional, *model.pins)
    chosen = [file for file in listing.files if any(_matches(file.path, pattern) for pattern in patterns)]
    for file in chosen:
        if file.sha256 and file.sha256 != model.pins.get(file.path, file.sha256):
            raise _other(model, file.path)
    return chosen


def _check_pins(model: Model, path: Path, digests: dict[str, str]) -> None:
    """Of small files the hub states no SHA-256 to compare beforehand. Raises Aborted for one that is not what the catalogue pins; it is deleted."""
    for name, sha256 in model.pins.items():
        if digests[name] != sha256:
            (path / name).unlink()
            raise _other(model, name)


def _other(model: Model, path: str) -> Aborted:
    return Aborted(f"the hub offers another {path} than the catalogue's for {model.name}", reason="MODEL_FILE_CORRUPT")


def _matches(path: str, pattern: str) -> bool:
    """Like `fnmatch`, folder by folder: ``*`` does not pass a ``/``."""
    parts, patterns = path.split("/"), pattern.split("/")
    return len(parts) == len(patterns) and all(map(fnmatchcase, parts, patterns))


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
            digest = await right_digest(target, file)
            if digest is not None:
                total.add(file.size_bytes)
                return digest
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


def _write(path: Path, manifest: Manifest) -> None:
    try:
        write_manifest(path, manifest)
    except OSError as error:
        raise disk_error(error, path / "manifest.json", 0) from error


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
