"""A call is recorded where its tenant wants it, goes on being recorded elsewhere, is heard by those who may, and is gone when its key is."""

import asyncio
import stat
import time
import uuid
from pathlib import Path

import numpy as np
import pytest
from integration.recording.bucket import bucket_server
from integration.recording.conftest import Conversation, Make, make_conversation, pitch, play, read, tone
from integration.recording.test_blobs import s3_settings

from malha.privacy.erasure import Eraser
from malha.privacy.subjects import Subject
from malha.recording.blobs import DirectoryBlobs, RecordedFiles
from malha.recording.keeper import LOST
from malha.recording.keys import KEY_FILE
from malha.recording.recorder import DROPPED, FAILED
from malha.recording.recordings import Recordings
from malha.runtime.errors import FailedPrecondition, InvalidArgument, NotFound, Unavailable
from malha.store.database import Database


async def exported(recordings: Recordings, conversation: Conversation, directory: Path) -> np.ndarray:
    (path,) = await recordings.export(conversation.tenant, conversation.id, directory, "test")
    return read(path)


def pitches(samples: np.ndarray, channel: int, seconds: range) -> list[int]:
    return [pitch(samples[second * 16_000 : (second + 1) * 16_000, channel]) for second in seconds]


async def test_both_sides_of_a_call_are_heard_again(conversation: Conversation, make: Make, tmp_path: Path) -> None:
    recordings = await make()
    recorder = await conversation.record(recordings)
    play(recorder, {0: 400, 1: 1000}, 0, 70)
    recorder.close()
    recorder.add(0, tone(1, 400), 70, 8_000)
    await recordings.close()
    (listed,) = await recordings.list(conversation.tenant)
    assert (listed.conversation_id, listed.session_id, listed.channels, listed.seconds, listed.files) == (
        conversation.id, conversation.session, 2, 70.0, 4,
    )  # fmt: skip
    files = list((tmp_path / "recordings").rglob("*.opus"))
    assert len(files) == 4
    assert not any(b"OggS" in file.read_bytes() for file in files)
    samples = await exported(recordings, conversation, tmp_path)
    assert samples.shape == (70 * 16_000, 2)
    assert stat.S_IMODE(next(tmp_path.glob("*.wav")).stat().st_mode) == 0o600
    assert pitches(samples, 0, range(70)) == [400] * 70
    assert pitches(samples, 1, range(70)) == [1000] * 70
    audited = await conversation.value("SELECT actor FROM audit WHERE action = 'recording.play' AND object_id = $1", str(conversation.id))
    assert audited == "test"


@pytest.mark.parametrize("settings", [{}, {"recording": {"enabled": False}}, {"recording": {"enabled": "yes"}}, {"recording": None}])
async def test_nothing_is_recorded_that_was_not_asked_for(database: Database, make: Make, settings: dict, tmp_path: Path) -> None:
    unwilling = await make_conversation(database, settings)
    recordings = await make()
    assert await recordings.open(unwilling.tenant, unwilling.id, unwilling.session, 1) is None
    assert await unwilling.value("SELECT count(*) FROM recording_key") == 0
    with pytest.raises(NotFound):
        await recordings.export(unwilling.tenant, unwilling.id, tmp_path, "test")


async def test_whoever_takes_a_call_over_goes_on(conversation: Conversation, make: Make, tmp_path: Path) -> None:
    died, took_over = await make(recording_checkpoint_seconds=5), await make()
    first = await conversation.record(died, epoch=1)
    play(first, {0: 400}, 0, 33)
    async with asyncio.timeout(60):
        while await conversation.value("SELECT max(duration_ms) FROM recording") != 30_000:
            await asyncio.sleep(0.05)
    second = await conversation.record(took_over, epoch=2)
    play(second, {0: 1000}, 28, 42)
    second.close()
    await took_over.close()
    samples = await exported(took_over, conversation, tmp_path)
    assert pitches(samples, 0, range(28)) == [400] * 28
    assert pitches(samples, 0, range(28, 70)) == [1000] * 42


async def test_what_is_erased_can_be_heard_by_nobody(conversation: Conversation, make: Make, database: Database, tmp_path: Path) -> None:
    recordings = await make()
    recorder = await conversation.record(recordings)
    play(recorder, {0: 400}, 0, 3)
    recorder.close()
    await recordings.close()
    late = await make()
    later = await conversation.record(late, epoch=2)
    files = RecordedFiles(DirectoryBlobs(tmp_path / "recordings"))
    erased = await Eraser(database, files).erase(Subject(conversation.tenant, "conversation", conversation.id), "test")
    assert (erased.counts["recording_key"], erased.counts["recording"], erased.counts["recorded_files"]) == (1, 1, 1)
    play(later, {0: 400}, 3, 3)  # a process that does not know yet
    later.close()
    await late.close()
    assert list((tmp_path / "recordings").rglob("*.opus")) == []
    with pytest.raises(NotFound):
        await late.export(conversation.tenant, conversation.id, tmp_path, "test")


async def test_what_there_is_no_time_for_is_dropped_and_counted(conversation: Conversation, make: Make, tmp_path: Path) -> None:
    recordings = await make(recording_waiting_seconds=2)
    recorder = await conversation.record(recordings)
    before = DROPPED._value.get()
    play(recorder, {0: 400}, 0, 120, piece=1.0)
    recorder.close()
    dropped = DROPPED._value.get() - before
    assert dropped > 60
    await recordings.close()
    samples = await exported(recordings, conversation, tmp_path)
    heard = pitches(samples, 0, range(samples.shape[0] // 16_000))
    assert set(heard) <= {0, 400}
    assert abs(heard.count(400) - (120 - dropped)) <= 2


async def test_a_call_never_waits_for_its_recording(conversation: Conversation, make: Make) -> None:
    recordings = await make()
    recorder = await conversation.record(recordings)
    began = time.thread_time()
    play(recorder, dict.fromkeys(range(8), 400), 0, 30)
    spent = time.thread_time() - began
    assert spent < 2, "2,400 pieces, each over in some microseconds"


async def test_audio_that_no_encoder_takes_ends_the_recording_alone(conversation: Conversation, make: Make) -> None:
    recordings = await make()
    recorder = await conversation.record(recordings)
    before = FAILED._value.get()
    recorder.add(0, np.zeros((8_000, 2), np.int16), 0, 8_000)
    recorder.add(-1, tone(1, 400), 0, 8_000)
    recorder.add(0, tone(2, 400), 1, 8_000)
    recorder.close()
    await recordings.close()
    assert FAILED._value.get() == before + 1


async def test_a_store_that_is_away_is_waited_for(
    conversation: Conversation, make: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    recordings, put, away = await make(), DirectoryBlobs.put, 2

    async def failing(blobs: DirectoryBlobs, name: str, content: bytes) -> None:
        nonlocal away
        if away:
            away -= 1
            raise Unavailable("away")
        await put(blobs, name, content)

    monkeypatch.setattr(DirectoryBlobs, "put", failing)
    recorder = await conversation.record(recordings)
    play(recorder, {0: 400}, 0, 3)
    recorder.close()
    async with asyncio.timeout(60):
        while not await recordings.list(conversation.tenant):
            await asyncio.sleep(0.1)
    assert pitches(await exported(recordings, conversation, tmp_path), 0, range(3)) == [400] * 3


async def test_a_store_that_stays_away_loses_the_recording_and_nothing_else(
    conversation: Conversation, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    recordings = await make()

    async def failing(*_: object) -> None:
        raise Unavailable("away")

    monkeypatch.setattr(DirectoryBlobs, "put", failing)
    recorder = await conversation.record(recordings)
    play(recorder, {0: 400}, 0, 3)
    recorder.close()
    before = LOST._value.get()
    await recordings.close()
    assert LOST._value.get() == before + 1


async def test_files_that_were_changed_or_whose_key_is_elsewhere_are_told(conversation: Conversation, make: Make, tmp_path: Path) -> None:
    recordings = await make()
    recorder = await conversation.record(recordings)
    play(recorder, {0: 400}, 0, 3)
    recorder.close()
    await recordings.close()
    (file,) = (tmp_path / "recordings").rglob("*.opus")
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(InvalidArgument):
        await exported(recordings, conversation, tmp_path)
    assert list(tmp_path.glob("*.wav")) == []
    file.unlink()
    with pytest.raises(NotFound):
        await exported(recordings, conversation, tmp_path)
    file.write_bytes(content)
    (tmp_path / KEY_FILE).unlink()
    elsewhere = await make()
    with pytest.raises(FailedPrecondition, match="MALHA_RECORDING_KEY_FILE"):
        await exported(elsewhere, conversation, tmp_path)
    assert await elsewhere.open(conversation.tenant, conversation.id, uuid.uuid4(), 1) is None


async def test_another_tenant_finds_nothing(conversation: Conversation, database: Database, make: Make, tmp_path: Path) -> None:
    stranger = await make_conversation(database, {"recording": {"enabled": True}})
    recordings = await make()
    recorder = await conversation.record(recordings)
    play(recorder, {0: 400}, 0, 3)
    recorder.close()
    await recordings.close()
    assert await recordings.list(stranger.tenant) == []
    with pytest.raises(NotFound):
        await recordings.export(stranger.tenant, conversation.id, tmp_path, "test")


async def test_in_a_bucket_all_of_it(conversation: Conversation, make: Make, database: Database, tmp_path: Path) -> None:
    with bucket_server() as bucket:
        given = s3_settings(bucket, tmp_path).model_dump(exclude_unset=True)
        recordings = await make(**given)
        recorder = await conversation.record(recordings)
        play(recorder, {0: 400, 1: 1000}, 0, 3)
        recorder.close()
        async with asyncio.timeout(60):
            while not (listed := await recordings.list(conversation.tenant)) or listed[0].files < 2:
                await asyncio.sleep(0.1)
        assert len(bucket.objects) == 2
        assert pitches(await exported(recordings, conversation, tmp_path), 1, range(3)) == [1000] * 3
        eraser = Eraser(database, RecordedFiles(recordings._blobs))
        erased = await eraser.erase(Subject(conversation.tenant, "conversation", conversation.id), "test")
        assert erased.counts["recorded_files"] == 2
        assert bucket.objects == {}
