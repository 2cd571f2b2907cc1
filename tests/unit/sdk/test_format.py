import io
import wave
from pathlib import PurePath

import pytest

from malha.sdk._call_settings import CallSettings
from malha.sdk._format import encoding_of, make_format, wav_bytes_per_second
from malha.sdk.errors import InvalidRequest


@pytest.mark.parametrize(
    ("encoding", "rate", "channels", "frame_bytes", "bytes_per_second"),
    [
        ("pcm16", None, None, 2, 32_000),
        ("pcm16", 8_000, 2, 4, 32_000),
        ("mulaw", None, None, 1, 8_000),
        ("alaw", 16_000, 2, 2, 32_000),
        ("webm", 48_000, 2, 1, None),
        ("file", None, None, 1, None),
    ],
)
def test_sizes(encoding, rate, channels, frame_bytes, bytes_per_second):
    made = make_format(encoding, rate, channels)
    assert (made.frame_bytes, made.bytes_per_second) == (frame_bytes, bytes_per_second)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("mp3", None, None), "mp3"),
        (("pcm16", 4_000, None), "4000"),
        (("pcm16", 96_000, None), "96000"),
        (("pcm16", None, 3), "3 channels"),
    ],
)
def test_what_is_not_supported_is_named(arguments, named):
    with pytest.raises(InvalidRequest, match=named):
        make_format(*arguments)


@pytest.mark.parametrize(
    ("name", "encoding"), [("a.WAV", "wav"), ("a.opus", "ogg"), ("a.webm", "webm"), ("a.raw", "pcm16"), ("a.mp3", None), ("a", None)]
)
def test_encoding_by_name(name, encoding):
    assert encoding_of(PurePath(name)) == encoding


def wav(rate: int, channels: int) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(channels)
        writer.setsampwidth(2)
        writer.setframerate(rate)
        writer.writeframes(bytes(400))
    return file.getvalue()


def test_pace_of_a_wav_file():
    plain = wav(22_050, 2)
    assert wav_bytes_per_second(plain) == 88_200
    with_list_before = plain[:12] + b"LIST" + (5).to_bytes(4, "little") + b"hello\0" + plain[12:]
    assert wav_bytes_per_second(with_list_before) == 88_200


@pytest.mark.parametrize("head", [b"", b"RIFF", b"OggS" + bytes(100), wav(8_000, 1)[:20], b"RIFF\0\0\0\0WAVE" + bytes(30)])
def test_what_has_no_pace(head):
    assert wav_bytes_per_second(head) is None


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"pace": "slow"}, "slow"),
        ({"roles": ("agent", "boss")}, "boss"),
        ({"roles": ("agent", "customer")}, "one role for each channel"),
        ({"roles": ("agent", "customer", ""), "format": make_format("webm", None, None)}, "3 roles"),
        ({"format": make_format("file", None, None)}, "pace='batch'"),
    ],
)
def test_settings_are_checked_before_anything_is_sent(settings, named):
    with pytest.raises(InvalidRequest, match=named):
        CallSettings(**({"format": make_format("pcm16", None, 1)} | settings))
