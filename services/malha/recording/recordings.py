"""Recordings: begun where a tenant wants them, listed, and heard by those who may, which the audit tells of."""

import asyncio
import os
import time
import uuid
import wave
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import numpy as np

from malha.recording.blobs import Blobs
from malha.recording.encoder import FILE_SECONDS, decode
from malha.recording.keeper import Keeper
from malha.recording.keys import MasterKey, new_key, unseal
from malha.recording.recorder import FAILED, Encoders, Label, Recorder
from malha.recording.settings import RecordingSettings
from malha.runtime.errors import MalhaError, NotFound
from malha.store.database import Database
from malha.store.roles import Connection

EXPORT_RATE: Final = 16_000
_WANTED_SECONDS: Final = 10.0
"""How long a tenant's wish is remembered."""
_OPEN_SECONDS: Final = 2.0
"""A call does not wait longer for its recording to begin: then there is none."""
_CLOSE_SECONDS: Final = 10.0

_WANTED: Final = "SELECT settings -> 'recording' -> 'enabled' FROM tenant WHERE id = $1"
_MAKE_KEY: Final = """
    INSERT INTO recording_key (tenant_id, conversation_id, wrapped, wrapped_by) VALUES (malha_tenant(), $1, $2, $3) ON CONFLICT DO NOTHING
"""
_KEY: Final = "SELECT wrapped, wrapped_by FROM recording_key WHERE conversation_id = $1"
_LIST: Final = """
    SELECT r.conversation_id, r.session_id, count(DISTINCT r.channel) AS channels, max(r.start_ms + r.duration_ms) AS end_ms, count(*) AS files,
        sum(r.bytes)::bigint AS bytes, min(r.written_at) AS written_at
    FROM recording r WHERE $1::uuid IS NULL OR r.conversation_id = $1
    GROUP BY r.conversation_id, r.session_id ORDER BY min(r.written_at) DESC, r.session_id LIMIT $2
"""
_FILES: Final = """
    SELECT session_id, channel, start_ms, duration_ms, epoch FROM recording WHERE conversation_id = $1
    ORDER BY session_id, start_ms / 60000, start_ms, epoch, channel
"""
_AUDIT: Final = """
    INSERT INTO audit (tenant_id, actor, action, object_type, object_id, details) VALUES (malha_tenant(), $1, 'recording.play', 'conversation', $2, $3)
"""


@dataclass(frozen=True, slots=True)
class Listed:
    """What there is of one session."""

    conversation_id: uuid.UUID
    session_id: uuid.UUID
    channels: int
    seconds: float
    """To the end of the last file, on the clock of the media."""
    files: int
    bytes: int
    written_at: datetime


@dataclass(frozen=True, slots=True)
class _File:
    session_id: uuid.UUID
    channel: int
    start_ms: int
    duration_ms: int
    epoch: int


class Recordings:
    """Of all tenants. Begun with `start`, ended with `close`; listing and exporting need neither."""

    def __init__(self, database: Database, blobs: Blobs, key: MasterKey, settings: RecordingSettings) -> None:
        self._database = database
        self._blobs = blobs
        self._master = key
        self._keeper = Keeper(database, blobs)
        self._encoders = Encoders(settings, self._keeper.keep)
        self._wanted: dict[uuid.UUID, tuple[float, bool]] = {}

    async def start(self) -> None:
        """Be ready to record."""
        self._keeper.start()
        self._encoders.start()

    async def close(self) -> None:
        """Encode and store what is left, within seconds. End the recorders first."""
        await self._encoders.close(_CLOSE_SECONDS)
        await self._keeper.close(_CLOSE_SECONDS)
        await self._blobs.close()

    async def open(self, tenant_id: uuid.UUID, conversation_id: uuid.UUID, session_id: uuid.UUID, epoch: int) -> Recorder | None:
        """A recorder for a call, where its tenant wants one. None too where the store does not answer in time: the call matters more."""
        try:
            async with asyncio.timeout(_OPEN_SECONDS):
                if not await self._is_wanted(tenant_id):
                    return None
                key = await self._make_key(tenant_id, conversation_id)
        except (MalhaError, TimeoutError):
            FAILED.inc()
            return None
        return Recorder(self._encoders, Label(tenant_id, conversation_id, session_id, epoch), key)

    async def list(self, tenant_id: uuid.UUID, conversation_id: uuid.UUID | None = None, most: int = 1000) -> list[Listed]:
        """The newest recordings, of all conversations or of one."""
        async with self._database.tenant_tx(tenant_id) as connection:
            rows = await connection.fetch(_LIST, conversation_id, most)
        return [
            Listed(row["conversation_id"], row["session_id"], row["channels"], row["end_ms"] / 1000, *(row[name] for name in _LAST))
            for row in rows
        ]

    async def export(self, tenant_id: uuid.UUID, conversation_id: uuid.UUID, directory: Path, actor: str) -> Sequence[Path]:
        """Write a WAV (16 kHz, a channel each) of every session into a directory. What was not recorded is silence. The audit says who did.

        Raises NotFound where there is no recording, FailedPrecondition where this installation's key is another, InvalidArgument for a file
        that was changed, Unavailable without the store.
        """
        async with self._database.tenant_tx(tenant_id) as connection:
            key = await self._key(connection, tenant_id, conversation_id)
            files = [_File(*row.values()) for row in await connection.fetch(_FILES, conversation_id)]
            if not files:
                raise NotFound("this conversation has no recording", reason="RECORDING_NOT_FOUND")
            await connection.execute(_AUDIT, actor, str(conversation_id), {"files": len(files)})
        written = []
        for session_id, group in groupby(files, lambda file: file.session_id):
            path = directory / f"{conversation_id}-{session_id}.wav"
            try:
                await self._export_session(path, Label(tenant_id, conversation_id, session_id, 0), key, list(group))
            except BaseException:
                path.unlink(missing_ok=True)
                raise
            written.append(path)
        return written

    async def _export_session(self, path: Path, label: Label, key: bytes, files: Sequence[_File]) -> None:
        """Readable by its owner alone, as the recording was."""
        end = max(file.start_ms + file.duration_ms for file in files) * EXPORT_RATE // 1000
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as content, wave.open(content, "wb") as out:
            out.setnchannels(1 + max(file.channel for file in files))
            out.setsampwidth(2)
            out.setframerate(EXPORT_RATE)
            for minute in _minutes(files):
                samples = await self._mix(label, key, minute, out.getnchannels())
                await asyncio.to_thread(out.writeframes, samples[: end - out.getnframes()].tobytes())

    async def _mix(self, label: Label, key: bytes, files: Sequence[_File], channels: int) -> np.ndarray[Any, np.dtype[np.int16]]:
        """A minute, of shape (frames, channels)."""
        if not files:
            return np.zeros((FILE_SECONDS * EXPORT_RATE, channels), np.int16)
        first_ms = files[0].start_ms // (FILE_SECONDS * 1000) * FILE_SECONDS * 1000
        mixed = np.zeros((FILE_SECONDS * EXPORT_RATE, channels), np.int16)
        for file in files:  # what a later owner heard of the same moment holds
            name = Label(label.tenant_id, label.conversation_id, label.session_id, file.epoch).name(file.channel, file.start_ms)
            content = unseal(key, name, await self._blobs.get(name))
            samples = await asyncio.to_thread(decode, content, EXPORT_RATE)
            at = (file.start_ms - first_ms) * EXPORT_RATE // 1000
            samples = samples[: max(0, mixed.shape[0] - at)]
            mixed[at : at + samples.size, file.channel] = samples
        return mixed

    async def _is_wanted(self, tenant_id: uuid.UUID) -> bool:
        now = time.monotonic()
        asked_at, wanted = self._wanted.get(tenant_id, (-_WANTED_SECONDS, False))
        if now - asked_at >= _WANTED_SECONDS:
            async with self._database.tenant_tx(tenant_id) as connection:
                wanted = await connection.fetchval(_WANTED, tenant_id) is True
            self._wanted[tenant_id] = (now, wanted)
        return wanted

    async def _make_key(self, tenant_id: uuid.UUID, conversation_id: uuid.UUID) -> bytes:
        async with self._database.tenant_tx(tenant_id) as connection:
            fresh = self._master.wrap(new_key(), tenant_id, conversation_id)
            await connection.execute(_MAKE_KEY, conversation_id, fresh, self._master.fingerprint)
            return await self._key(connection, tenant_id, conversation_id)

    async def _key(self, connection: Connection, tenant_id: uuid.UUID, conversation_id: uuid.UUID) -> bytes:
        row: Mapping[str, Any] | None = await connection.fetchrow(_KEY, conversation_id)
        if row is None:
            raise NotFound("this conversation has no recording", reason="RECORDING_NOT_FOUND")
        return self._master.unwrap(row["wrapped"], row["wrapped_by"], tenant_id, conversation_id)


_LAST: Final = ("files", "bytes", "written_at")


def _minutes(files: Sequence[_File]) -> Iterator[list[_File]]:
    """Files by minute of the media, from the first minute on; empty ones where nothing was recorded."""
    by_minute = {minute: list(group) for minute, group in groupby(files, lambda file: file.start_ms // (FILE_SECONDS * 1000))}
    for minute in range(max(by_minute) + 1):
        yield by_minute.get(minute, [])
