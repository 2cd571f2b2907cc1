import asyncio
import wave
from pathlib import Path

import numpy as np
import pytest

from malha.bench.playback import Playback, Recording, read_recording
from malha.bench.speech import RATE, data_directory, decode, join
from malha.bench.wer import normalise, word_error_rate
from malha.runtime.errors import InvalidArgument


def _tone(seconds: float, rate: int = RATE) -> np.ndarray:
    return (8000 * np.sin(2 * np.pi * 440 * np.arange(int(seconds * rate)) / rate)).astype(np.int16)


def _wav(file: Path, channels: list[np.ndarray], rate: int) -> Path:
    with wave.open(str(file), "wb") as writer:
        writer.setnchannels(len(channels))
        writer.setsampwidth(2)
        writer.setframerate(rate)
        writer.writeframes(np.stack(channels, axis=1).astype("<i2").tobytes())
    return file


def test_a_loop_has_the_pauses_of_a_call_and_is_the_same_each_time() -> None:
    utterances = [_tone(1.0), _tone(2.0), _tone(1.5)]
    loop, again = join(utterances, "tones"), join(utterances, "tones")
    assert np.array_equal(loop.samples, again.samples)
    assert 4.5 + 3 * 0.5 <= loop.seconds <= 4.5 + 3 * 2.0
    loud = np.abs(loop.samples[:, 0].reshape(-1)[: len(loop.samples) // 160 * 160].reshape(-1, 160)).max(axis=1) > 1000
    assert np.count_nonzero(np.diff(loud.astype(int)) == -1) == 3  # three utterances end
    quiet = loop.samples[:, 0][-RATE // 4 :]
    assert 1 < np.sqrt(np.mean(quiet.astype(float) ** 2)) < 20


def test_a_stereo_loop_has_one_talker_at_a_time() -> None:
    loop = join([_tone(1.0), _tone(1.0)], "tones", stereo=True)
    loud = np.abs(loop.samples.astype(int)) > 1000
    assert loop.channels == 2
    assert loud[:RATE, 0].any()
    assert not loud[:RATE, 1].any()
    assert loud[RATE:, 1].any()
    assert not loud[RATE:, 0].any()


def test_chunks_are_whole_and_in_order() -> None:
    loop = join([_tone(1.03)], "tones")
    chunks = loop.chunks(100)
    assert {len(chunk) for chunk in chunks} == {RATE // 10 * 2}
    assert b"".join(chunks) == loop.samples[: len(chunks) * RATE // 10].astype("<i2").tobytes()


def test_a_named_folder_without_speech_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALHA_TEST_DATA", str(tmp_path))
    assert data_directory() is None
    (tmp_path / "speech").mkdir()
    assert data_directory() == tmp_path


@pytest.mark.parametrize("rate", [8_000, 44_100])
def test_a_recording_keeps_its_channels_and_rate(tmp_path: Path, rate: int) -> None:
    left, right = _tone(0.5, rate), np.zeros(rate // 2, np.int16)
    recording = read_recording(_wav(tmp_path / "call.wav", [left, right], rate))
    assert (recording.channels, recording.rate) == (2, rate)
    assert recording.seconds == pytest.approx(0.5, abs=0.01)
    assert np.array_equal(recording.samples[:, 0], left)
    assert not recording.samples[:, 1].any()
    assert len(decode(tmp_path / "call.wav")) == pytest.approx(RATE / 2, abs=RATE / 100)


@pytest.mark.parametrize("content", [b"", b"no audio at all", b"RIFF\x00\x00\x00\x00WAVE"])
def test_what_is_no_audio_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.wav").write_bytes(content)
    with pytest.raises(InvalidArgument, match=r"x\.wav"):
        read_recording(tmp_path / "x.wav")
    with pytest.raises(InvalidArgument, match=r"x\.wav"):
        decode(tmp_path / "x.wav")


async def test_playback_sends_nothing_before_it_was_spoken() -> None:
    loop = asyncio.get_running_loop()
    recording = Recording(_tone(0.35).reshape(-1, 1), RATE)
    playback, begin, sent = Playback(recording), loop.time(), b""
    assert playback.position_seconds == 0
    async for chunk in playback.chunks():
        sent += chunk
        assert loop.time() - begin >= len(sent) / 2 / RATE - 0.06  # the last chunk is shorter than its slot
    assert sent == recording.pcm()
    assert playback.since(0.35) >= 0
    assert playback.position_seconds == recording.seconds


def test_word_errors_are_counted_without_case_and_punctuation() -> None:
    pytest.importorskip("jiwer")
    assert normalise("Bom dia, D'Ávila! (Não?)") == "bom dia d'ávila não"
    assert word_error_rate(["Good morning, Anna."], ["good morning anna"]) == 0
    assert word_error_rate(["one two three four"], ["one too three"]) == 0.5
