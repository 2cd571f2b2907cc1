"""A real call is recorded as it was said, over a lost connection, without what was muted; then it is erased."""

import asyncio
import functools
import wave
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import grpc
import numpy as np
import pytest
from conftest import AUTHORIZED, RunningServer, voice
from integration.audio.resuming import RATE, Resuming, opening

from malha.api.audio.v1 import audio_pb2 as api
from malha.audio.service import AudioStreamService
from malha.audio.session_ids import new_session_id
from malha.privacy.erasure import Eraser
from malha.privacy.subjects import Subject
from malha.recording.blobs import DirectoryBlobs, RecordedFiles
from malha.recording.make import make_recordings
from malha.recording.settings import RecordingSettings
from malha.runtime.settings import RuntimeSettings
from malha.store.database import Database
from malha.store.settings import StoreSettings
from malha.store.tenants import Tenants
from malha.transcribe.engines.null import NullEngine
from malha.transcribe.settings import TranscribeSettings


class Site:
    """Servers that share a store and record."""

    def __init__(self, settings: RuntimeSettings, database: Database, store: StoreSettings, stack: AsyncExitStack) -> None:
        self.database, self.settings, self.store, self.stack = database, settings, store, stack

    async def channel(self) -> grpc.aio.Channel:
        recordings = make_recordings(self.database, self.settings.data_dir, RecordingSettings(_env_file=None))
        made = functools.partial(AudioStreamService, recordings=recordings)
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(RunningServer.__init__.__globals__, "AudioStreamService", made)
            engine = NullEngine(TranscribeSettings(_env_file=None))
            running = RunningServer(self.settings, engine, in_process=True, store=(self.database, self.store))
        await self.stack.enter_async_context(running)
        return await self.stack.enter_async_context(grpc.aio.insecure_channel(running.target))

    async def record(self, recording: bool) -> None:
        tenants = Tenants(self.database)
        await tenants.update((await tenants.ensure(["default"]))["default"], {"recording": {"enabled": recording}})


@pytest.fixture
async def site(settings: RuntimeSettings, database: Database, store: StoreSettings) -> AsyncIterator[Site]:
    async with AsyncExitStack() as stack:
        yield Site(settings, database, store, stack)


def call(channel: grpc.aio.Channel, pcm: np.ndarray) -> Resuming:
    return Resuming(channel, (*AUTHORIZED, ("malha-session", new_session_id())), pcm, opening(pcm.shape[1], conversation_id="call"))


def loudness(samples: np.ndarray) -> float:
    return float(np.sqrt(np.mean(samples.astype(float) ** 2)))


async def test_a_call_is_recorded_over_a_lost_connection_without_what_was_muted(site: Site, tmp_path: Path) -> None:
    await site.record(recording=True)
    pcm = np.stack([voice(20, RATE, seed=3), voice(20, RATE, seed=4)], axis=1)
    first, second = await site.channel(), await site.channel()
    one = call(first, pcm)
    await one.connect()
    await one.send(8 * RATE)
    await one.lose()
    await one.connect(second)
    await one.send(12 * RATE - one.position)
    await one.call.write(api.StreamRequest(control=api.Control(mute=api.Mute(channel=1, muted=True))))
    await one.finish()
    await site.stack.aclose()

    tenant = await Tenants(site.database).find("default")
    recordings = make_recordings(site.database, site.settings.data_dir, RecordingSettings(_env_file=None))
    (listed,) = await recordings.list(tenant)
    (path,) = await recordings.export(tenant, listed.conversation_id, tmp_path, "test")
    with wave.open(str(path)) as file:
        heard = np.frombuffer(file.readframes(file.getnframes()), np.int16).reshape(-1, 2)
    for channel, seconds in ((0, range(20)), (1, range(11))):
        for second in seconds:
            part = slice(second * RATE, (second + 1) * RATE)
            assert np.corrcoef(np.abs(np.fft.rfft(heard[part, channel])), np.abs(np.fft.rfft(pcm[part, channel])))[0, 1] > 0.9, (
                channel,
                second,
            )
    assert loudness(heard[13 * RATE : 20 * RATE, 1]) < 50

    files = RecordedFiles(DirectoryBlobs(site.settings.data_dir / "recordings"))
    erased = await Eraser(site.database, files).erase(Subject(tenant, "conversation", listed.conversation_id), "test")
    assert erased.counts["recorded_files"] == listed.files > 0
    assert list((site.settings.data_dir / "recordings").rglob("*.opus")) == []


async def test_a_call_of_a_tenant_that_wants_none_is_not_recorded(site: Site) -> None:
    await site.record(recording=False)
    one = call(await site.channel(), voice(3, RATE)[:, None])
    await one.connect()
    await asyncio.wait_for(one.finish(), 60)
    await site.stack.aclose()
    assert not (site.settings.data_dir / "recordings").exists()
