"""Reference audio of many kinds, good and bad."""

import struct

import numpy as np
import pytest
from conftest import voice

from fakes.wav import wav
from malha.runtime.errors import InvalidArgument
from malha.synthesize.engine import REFERENCE_HERTZ
from malha.synthesize.reference import read_reference


def other(samples: np.ndarray, tag: int, bits: int, data: bytes, rate: int = 16_000, *, extensible: bool = False) -> bytes:
    """A WAV file that `wave` cannot write."""
    width = bits // 8
    form = struct.pack("<HHIIHH", 0xFFFE if extensible else tag, 1, rate, rate * width, width, bits)
    if extensible:
        form += struct.pack("<HHI", 22, bits, 4) + struct.pack("<H", tag) + bytes(14)
    del samples
    chunks = b"LIST" + struct.pack("<I", 3) + b"abc\0" + b"fmt " + struct.pack("<I", len(form)) + form
    chunks += b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


SPEECH = voice(8.0)


def samples_of(content: bytes) -> np.ndarray:
    return np.frombuffer(read_reference(content).pcm, np.int16).astype(np.int32)


def test_a_reference_is_taken_to_the_rate_cloning_needs() -> None:
    reference = read_reference(wav(SPEECH))
    assert reference.seconds == pytest.approx(8.0, abs=0.01)
    assert len(reference.pcm) == 2 * round(8.0 * REFERENCE_HERTZ)
    assert reference.digest == read_reference(wav(SPEECH)).digest != read_reference(wav(voice(8.0, seed=2))).digest


def test_every_kind_of_wav_is_the_same_voice() -> None:
    plain = samples_of(wav(SPEECH))
    scaled = SPEECH.astype(np.float64) / 32_768
    wide = np.round(scaled * 2**23).astype(np.int32)
    padded = wide.astype("<i4").view(np.uint8).reshape(-1, 4)[:, :3].tobytes()
    kinds = {
        "float": other(SPEECH, 3, 32, scaled.astype("<f4").tobytes()),
        "24 bits": other(SPEECH, 1, 24, padded),
        "32 bits": other(SPEECH, 1, 32, np.round(scaled * 2**31).astype("<i4").tobytes()),
        "extensible": other(SPEECH, 1, 16, SPEECH.astype("<i2").tobytes(), extensible=True),
        "stereo": wav(np.repeat(SPEECH, 2), channels=2),
    }
    for name, content in kinds.items():
        assert np.abs(samples_of(content) - plain).max() <= 2, name
    coarse = samples_of(other(SPEECH, 1, 8, (np.round(scaled * 127) + 128).astype(np.uint8).tobytes()))
    assert np.abs(coarse - plain).max() < 600


@pytest.mark.parametrize(
    ("content", "reason", "told"),
    {
        "too short": (wav(voice(5.9)), "REFERENCE_TOO_SHORT", "5.9 s"),
        "too long": (wav(voice(30.5, 8000), 8000), "REFERENCE_TOO_LONG", "30.5 s"),
        "silent": (wav(np.random.default_rng(1).normal(0, 8, 160_000)), "REFERENCE_SILENT", "silent"),
        "a word in silence": (
            wav(np.concatenate([np.zeros(80_000), voice(1.0), np.zeros(80_000)])),
            "REFERENCE_SILENT",
            "3 s are needed",
        ),
        "overdriven": (wav(np.clip(SPEECH.astype(np.int32) * 40, -32_768, 32_767)), "REFERENCE_CLIPPED", "more quietly"),
        "no audio": (b"%PDF-1.7 ...", "REFERENCE_UNREADABLE", "no RIFF"),
        "nothing behind the header": (wav(SPEECH)[:36], "REFERENCE_UNREADABLE", "incomplete"),
        "a chunk cut short": (b"RIFF\x10\0\0\0WAVEfmt \x04\0\0\0abcd", "REFERENCE_UNREADABLE", "too short"),
        "G.711": (other(SPEECH, 7, 8, bytes(128_000), 8000), "REFERENCE_UNREADABLE", "only PCM"),
        "no numbers": (other(SPEECH, 3, 32, np.full(160_000, np.nan, "<f4").tobytes()), "REFERENCE_UNREADABLE", "no numbers"),
        "six channels": (wav(np.repeat(SPEECH, 6), channels=6), "REFERENCE_UNREADABLE", "one or two channels"),
        "a rate of nothing": (other(SPEECH, 1, 16, SPEECH.tobytes(), 0), "REFERENCE_UNREADABLE", "8,000 to 48,000"),
    }.values(),
)
def test_bad_references_say_what_is_wrong(content: bytes, reason: str, told: str) -> None:
    with pytest.raises(InvalidArgument, match=told) as refused:
        read_reference(content)
    assert refused.value.reason == reason
    assert "open.reference_audio" in refused.value.violations
