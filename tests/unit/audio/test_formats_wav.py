"""WAV as a stream."""

import io
import struct
import wave

import numpy as np
import pytest
from hypothesis import given
from unit.audio.format_streams import cuts_of, decode, mux, tone

from malha.audio.formats.base import create_decoder
from malha.audio.formats.g711 import encode_alaw, encode_mulaw
from malha.audio.formats.samples import to_int16
from malha.audio.formats.wav import MAX_HEADER_BYTES, encode_wav
from malha.runtime.errors import UnsupportedFormat

PCM = tone(0.05, 8_000, 2)
PLAIN = encode_wav(PCM, 8_000, 2)
GUID_TAIL = bytes.fromhex("000000001000800000aa00389b71")


def fmt(tag=1, *, channels=1, rate=8_000, bits=16, align=None, extra=b""):
    align = channels * bits // 8 if align is None else align
    return struct.pack("<HHIIHH", tag, channels, rate, rate * align, align, bits) + extra


def chunk(name, body, size=None):
    return name + struct.pack("<I", len(body) if size is None else size) + body + b"\0" * (len(body) % 2)


def riff(*chunks, magic=b"RIFF"):
    body = b"WAVE" + b"".join(chunks)
    return magic + struct.pack("<I", len(body)) + body


def wav():
    return create_decoder("wav", 0, 0)


def test_encode_wav_is_read_by_the_standard_library():
    with wave.open(io.BytesIO(PLAIN)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth(), file.getnframes()) == (8_000, 2, 2, len(PCM))
        assert file.readframes(len(PCM)) == PCM.tobytes()
    assert encode_wav(PCM.tobytes(), 8_000, 2) == PLAIN


def test_samples_come_as_they_are_there():
    decoder = wav()
    assert decoder.feed(PLAIN[:43]).shape == (0, 2)
    assert (decoder.sample_rate, decoder.channels, decoder.header_bytes) == (8_000, 2, 0)
    assert decoder.feed(PLAIN[43:47]).shape == (0, 2)
    assert decoder.feed(PLAIN[47:53]).tolist() == PCM[:2].tolist()
    assert (decoder.header_bytes, decoder.keep_from_byte, decoder.keep_from_frame) == (44, 52, 2)


@given(cuts=cuts_of(PLAIN))
def test_any_cut_gives_the_same_samples(cuts):
    assert np.array_equal(decode(wav(), PLAIN, cuts), PCM)


@pytest.mark.parametrize("codec", ["pcm_u8", "pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le", "pcm_f64le", "pcm_alaw", "pcm_mulaw"])
@pytest.mark.parametrize("channels", [1, 2])
def test_codings_written_by_ffmpeg(codec, channels):
    pcm = tone(0.05, 16_000, channels)
    expected = {
        "pcm_u8": lambda: ((pcm.astype(np.int32) + 32_768) // 256 - 128) * 256,
        "pcm_alaw": lambda: decode(create_decoder("alaw", 16_000, channels), encode_alaw(pcm)),
        "pcm_mulaw": lambda: decode(create_decoder("mulaw", 16_000, channels), encode_mulaw(pcm)),
    }.get(codec, lambda: pcm)()
    decoded = decode(wav(), mux("wav", codec, pcm, 16_000))
    step = {"pcm_u8": 256, "pcm_alaw": 1024, "pcm_mulaw": 1024}.get(codec, 0)  # FFmpeg's encoders may choose the next step
    assert decoded.shape == pcm.shape
    assert np.all(np.abs(decoded.astype(np.int32) - expected) <= step)


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF])
def test_an_unknown_size_lasts_until_the_end(size):
    stream = riff(chunk(b"fmt ", fmt())) + chunk(b"data", PCM.tobytes(), size)
    assert decode(wav(), stream).tobytes() == PCM.tobytes()


def test_other_chunks_are_skipped_and_what_follows_the_audio_is_not_audio():
    stream = riff(
        chunk(b"LIST", b"odd"), chunk(b"fmt ", fmt()), chunk(b"fact", bytes(4)), chunk(b"data", b"\1\0\2\0"), chunk(b"LIST", bytes(50))
    )
    for cuts in ([], range(len(stream))):
        assert decode(wav(), stream, list(cuts)).tolist() == [[1], [2]]


def test_a_size_that_is_not_whole_frames_gives_the_whole_ones():
    stream = riff(chunk(b"fmt ", fmt(channels=2)), chunk(b"data", bytes(7)), chunk(b"id3 ", bytes(20)))
    for cuts in ([], range(len(stream))):
        assert decode(wav(), stream, list(cuts)).shape == (1, 2)


def test_extensible_and_long_files():
    extensible = fmt(0xFFFE, bits=24, extra=struct.pack("<HHI", 22, 24, 4) + struct.pack("<H", 1) + GUID_TAIL)
    stream = riff(chunk(b"fmt ", extensible), chunk(b"data", b"\xff\x01\x02\x00\x00\x80"))
    assert decode(wav(), stream).tolist() == [[0x0201], [-32768]]
    long = riff(
        chunk(b"ds64", struct.pack("<QQQI", 100, 4, 2, 0)),
        chunk(b"fmt ", fmt()),
        chunk(b"data", b"\1\0\2\0", 0xFFFFFFFF),
        chunk(b"LIST", bytes(8)),
        magic=b"RF64",
    )
    assert decode(wav(), long).tolist() == [[1], [2]]


def test_floats_are_clipped_and_what_is_no_number_is_silence():
    data = np.array([0.5, 2.0, -2.0, np.nan, np.inf, -np.inf, 1e30], dtype="<f4").tobytes()
    stream = riff(chunk(b"fmt ", fmt(3, bits=32)), chunk(b"data", data))
    assert decode(wav(), stream).reshape(-1).tolist() == [16384, 32767, -32768, 0, 32767, -32768, 32767]


def test_decoding_restarts_at_a_frame():
    first = wav()
    first.feed(PLAIN[:100])
    byte, frame = first.keep_from_byte, first.keep_from_frame
    assert (byte, frame) == (100, 14)
    second = wav()
    second.feed(PLAIN[: first.header_bytes])
    second.restart(byte, frame)
    assert np.array_equal(second.feed(PLAIN[byte:] + b"LIST"), PCM[frame:])
    assert second.keep_from_frame == len(PCM)
    with pytest.raises(UnsupportedFormat, match="whole WAV header"):
        wav().restart(44, 0)


@pytest.mark.parametrize(
    ("stream", "reason", "said"),
    [
        (b"<html>", "CORRUPT_CONTAINER", "not WAV"),
        (b"RIFF\0\0\0\0AVI ", "CORRUPT_CONTAINER", "not WAVE"),
        (riff(chunk(b"data", bytes(4))), "CORRUPT_CONTAINER", "before it describes"),
        (riff(chunk(b"fmt ", bytes(8)), chunk(b"data", b"")), "CORRUPT_CONTAINER", "too short"),
        (riff(chunk(b"fmt ", fmt(align=3)), chunk(b"data", b"")), "CORRUPT_CONTAINER", "contradicts"),
        (riff(chunk(b"junk", b"", MAX_HEADER_BYTES + 1)), "CORRUPT_CONTAINER", "larger than"),
        (riff(*[chunk(b"junk", bytes(60_000))] * 20), "CORRUPT_CONTAINER", "no audio within"),
        (riff(chunk(b"fmt ", fmt(2, bits=4))), "UNSUPPORTED_FORMAT", "A-law and mu-law"),
        (riff(chunk(b"fmt ", fmt(0xFFFE, extra=bytes(24)))), "UNSUPPORTED_FORMAT", "A-law and mu-law"),
        (riff(chunk(b"fmt ", fmt(channels=6))), "UNSUPPORTED_FORMAT", "1 and 2"),
        (riff(chunk(b"fmt ", fmt(rate=96_000))), "UNSUPPORTED_FORMAT", "8000 to 48000 Hz"),
    ],
)
def test_what_is_not_read_is_refused(stream, reason, said):
    with pytest.raises(UnsupportedFormat, match=said) as caught:
        wav().feed(stream)
    assert caught.value.reason == reason


@pytest.mark.parametrize("length", [1, 11, 20, 40, 43])
def test_a_header_cut_off_is_refused_at_the_end(length):
    decoder = wav()
    decoder.feed(PLAIN[:length])
    with pytest.raises(UnsupportedFormat, match="ended within the WAV header") as caught:
        decoder.finish()
    assert caught.value.reason == "CORRUPT_CONTAINER"


def test_types_no_pcm_has_are_refused():
    with pytest.raises(UnsupportedFormat):
        to_int16(np.zeros(3, np.int64))
