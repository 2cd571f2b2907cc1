"""A conversation of a tenant that wants its calls recorded."""

import uuid
import wave
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fakes.postgres import make_tenant
from malha.recording import recordings as recordings_module
from malha.recording.encoder import Samples
from malha.recording.make import make_recordings
from malha.recording.recorder import Recorder
from malha.recording.recordings import Recordings
from malha.recording.settings import RecordingSettings
from malha.store.database import Database

RATE = 8_000


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine encodes last: what is left when a process stops is not given up after seconds here."""
    monkeypatch.setattr(recordings_module, "_OPEN_SECONDS", 60.0)
    monkeypatch.setattr(recordings_module, "_CLOSE_SECONDS", 300.0)


def tone(seconds: float, hertz: float) -> Samples:
    return (np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE) * 8000).astype(np.int16)


def pitch(second: np.ndarray, rate: int = 16_000) -> int:
    """The loudest frequency of a second, to 20 Hz; 0: silence."""
    if np.sqrt(np.mean(second.astype(float) ** 2)) < 500:
        return 0
    return round(float(np.argmax(np.abs(np.fft.rfft(second)))) * rate / second.size / 20) * 20


def read(path: Path) -> np.ndarray:
    """Shape (frames, channels)."""
    with wave.open(str(path)) as file:
        assert file.getframerate() == 16_000
        return np.frombuffer(file.readframes(file.getnframes()), np.int16).reshape(-1, file.getnchannels())


@dataclass
class Conversation:
    database: Database
    tenant: uuid.UUID
    id: uuid.UUID
    session: uuid.UUID

    async def record(self, recordings: Recordings, epoch: int = 1) -> Recorder:
        recorder = await recordings.open(self.tenant, self.id, self.session, epoch)
        assert recorder is not None
        return recorder

    async def value(self, statement: str, *values: Any) -> Any:
        async with self.database.tenant_tx(self.tenant) as connection:
            return await connection.fetchval(statement, *values)


async def make_conversation(database: Database, settings: dict[str, Any]) -> Conversation:
    tenant = await make_tenant(database)
    async with database.tenant_tx(tenant) as connection:
        await connection.execute("UPDATE tenant SET settings = $1", settings)
        made = await connection.fetchval("INSERT INTO conversation (tenant_id, external_id) VALUES ($1, 'call') RETURNING id", tenant)
    return Conversation(database, tenant, made, uuid.uuid4())


@pytest.fixture
async def conversation(database: Database) -> Conversation:
    return await make_conversation(database, {"recording": {"enabled": True}})


Make = Callable[..., Any]


@pytest.fixture
async def make(database: Database, tmp_path: Path) -> AsyncIterator[Make]:
    """Starts recordings of one more process, with settings given."""
    made: list[Recordings] = []

    async def begin(**given: Any) -> Recordings:
        recordings = make_recordings(database, tmp_path, RecordingSettings(_env_file=None, **given))
        await recordings.start()
        made.append(recordings)
        return recordings

    yield begin
    for recordings in made:
        await recordings.close()


def play(recorder: Recorder, hertz: dict[int, float], start: float, seconds: float, piece: float = 0.1) -> None:
    """Channels that each hear a tone, in small pieces as a call's audio comes."""
    whole = {channel: tone(seconds, each) for channel, each in hertz.items()}
    for at in np.arange(0, seconds, piece):
        first, last = round(at * RATE), round((at + piece) * RATE)
        for channel, samples in whole.items():
            recorder.add(channel, samples[first:last], start + float(at), RATE)
