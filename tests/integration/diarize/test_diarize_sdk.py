"""Diarization by the SDK, against a real server with an engine that hears one speaker in everything."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from fakes.diarize_engine import NullDiarizeEngine
from fakes.serving import served
from fakes.talkers import RATE, pause, wav
from malha.diarize.service import DiarizeService
from malha.diarize.settings import DiarizeSettings
from malha.runtime.scopes import ALL_SCOPES
from malha.runtime.settings import RuntimeSettings
from malha.sdk import InvalidRequest, Malha, MalhaSync, NotFound, SpeakerMatch, Turn
from malha.store.database import Database
from malha.store.tokens import Tokens


@pytest.fixture
async def place(settings: RuntimeSettings, database: Database) -> AsyncIterator[tuple[str, str]]:
    """(target, token)."""
    tokens = Tokens(database)
    service = DiarizeService(NullDiarizeEngine(), DiarizeSettings(_env_file=None), database)
    async with served([service], settings, tokens) as server:
        yield server.target, (await tokens.create("acme", actor="test", scopes=ALL_SCOPES))[0]


async def test_recordings_and_enrolled_speakers(place: tuple[str, str], tmp_path: Path) -> None:
    file = tmp_path / "call.wav"
    file.write_bytes(wav(pause(7.0)))
    async with Malha(*place) as malha:
        found = await malha.diarize(file)
        assert (found.engine.name, found.speakers, found.matches) == ("null", ("S1",), {})
        assert found.duration_seconds == pytest.approx(7.0)
        assert found.speech_seconds == pytest.approx(7.0)
        kept = await malha.enroll("ana", file, consent_id="c1")
        assert (kept.speaker_id, kept.consent_id, kept.speech_seconds) == ("ana", "c1", 7.0)
        assert await malha.speakers() == (kept,)
        again = await malha.diarize(pause(2.0).tobytes(), sample_rate=RATE, identify=True)
        assert again.matches["S1"].top == "ana"
        await malha.delete_speaker("ana")
        with pytest.raises(NotFound):
            await malha.delete_speaker("ana")


async def test_turns_as_they_are_heard(place: tuple[str, str]) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(4):
            yield pause(0.5).tobytes()[:-1]
            yield pause(0.5).tobytes()[-1:]
            await asyncio.sleep(0.01)

    async with Malha(*place) as malha:
        events = [event async for event in malha.diarize_live(chunks(), identify=True)]
    turns = [event for event in events if isinstance(event, Turn)]
    assert turns[-1].end_seconds == pytest.approx(2.0)
    assert [event.all for event in events if isinstance(event, SpeakerMatch)] == [{}]


async def test_a_chunk_of_any_size_is_taken(place: tuple[str, str]) -> None:
    async with Malha(*place) as malha:
        stream = malha.diarize_live([pause(150.0).tobytes()])
        assert [event async for event in stream]
    assert stream.duration_seconds == pytest.approx(150.0)


async def test_what_cannot_be_sent_is_refused_here(place: tuple[str, str]) -> None:
    async with Malha(*place) as malha:
        with pytest.raises(InvalidRequest):
            await malha.diarize(b"RIFF and nothing else")
        for compressed in (b"OggS", b"fLaC", b"ID3\x04", b"\x1aE\xdf\xa3", bytes(4) + b"ftypM4A "):
            for asked in (
                malha.diarize(compressed + bytes(20 * RATE)),
                malha.enroll("ana", compressed + bytes(20 * RATE), consent_id="c1"),
            ):
                with pytest.raises(InvalidRequest) as refused:
                    await asked
                assert refused.value.reason == "UNSUPPORTED_FORMAT", "as samples it is noise"
        with pytest.raises(InvalidRequest) as refused:
            await malha.enroll("ana", np.zeros(300 * RATE, np.int16).tobytes(), consent_id="c1")
        assert refused.value.reason == "TOO_LONG"
        with pytest.raises(InvalidRequest):
            async for _ in malha.diarize_live([b"\0"]):
                pass
        with pytest.raises(InvalidRequest) as refused:
            await malha.enroll("ana", np.zeros(RATE, np.int16).tobytes(), consent_id="c1")
        assert refused.value.reason == "TOO_SHORT"


async def test_without_await_too(place: tuple[str, str]) -> None:
    def work() -> int:
        with MalhaSync(*place) as malha:
            assert malha.diarize(pause(1.0).tobytes()).speakers == ("S1",)
            return len(list(malha.diarize_live(pause(1.0).tobytes())))

    assert await asyncio.to_thread(work) >= 1
