"""PCM and G.711, and the choice of a decoder."""

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from malha.audio.formats.base import CONTAINER_ENCODINGS, ENCODINGS, create_decoder
from malha.audio.formats.g711 import ALAW_SAMPLES, MULAW_SAMPLES, encode_alaw, encode_mulaw
from malha.runtime.errors import UnsupportedFormat

EVERY_SAMPLE = np.arange(-32768, 32768, dtype=np.int32).astype(np.int16)
EVERY_CODE = bytes(range(256))


def test_pcm_is_a_view_of_what_was_sent():
    data = np.array([[1, -2], [32767, -32768]], dtype="<i2").tobytes()
    samples = create_decoder("pcm16", 16_000, 2).feed(data)
    assert samples.tolist() == [[1, -2], [32767, -32768]]
    assert samples.dtype == np.int16
    assert not samples.flags.owndata
    assert not samples.flags.writeable


@pytest.mark.parametrize(
    ("encoding", "channels", "size", "multiple"), [("pcm16", 1, 3, 2), ("pcm16", 2, 6, 4), ("mulaw", 2, 3, 2), ("alaw", 2, 1, 2)]
)
def test_part_of_a_frame_is_refused_with_the_multiple(encoding, channels, size, multiple):
    with pytest.raises(UnsupportedFormat, match=f"multiples of {multiple} bytes") as caught:
        create_decoder(encoding, 8_000, channels).feed(bytes(size))
    assert caught.value.reason == "PARTIAL_FRAME"
    assert caught.value.metadata == {"multiple_of": str(multiple)}


@pytest.mark.parametrize("encoding", ["pcm16", "mulaw", "alaw"])
def test_no_bytes_are_no_samples(encoding):
    decoder = create_decoder(encoding, 8_000, 2)
    assert decoder.feed(b"").shape == (0, 2)
    assert decoder.finish().shape == (0, 2)


@pytest.mark.parametrize(("encoding", "width"), [("pcm16", 2), ("mulaw", 1), ("alaw", 1)])
def test_raw_formats_can_restart_at_any_frame(encoding, width):
    decoder = create_decoder(encoding, 8_000, 2)
    decoder.feed(bytes(100 * 2 * width))
    assert (decoder.header_bytes, decoder.keep_from_byte, decoder.keep_from_frame) == (0, 200 * width, 100)
    fresh = create_decoder(encoding, 8_000, 2)
    fresh.restart(200 * width, 100)
    assert fresh.feed(bytes(2 * width)).shape == (1, 2)
    assert fresh.keep_from_frame == 101
    with pytest.raises(UnsupportedFormat, match="frame 3"):
        fresh.restart(1, 3)


@pytest.mark.parametrize("table", [MULAW_SAMPLES, ALAW_SAMPLES])
def test_g711_decodes_to_the_table_with_channels_apart(table):
    encoding = "mulaw" if table is MULAW_SAMPLES else "alaw"
    samples = create_decoder(encoding, 8_000, 2).feed(EVERY_CODE)
    assert samples.shape == (128, 2)
    assert np.array_equal(samples.reshape(-1), table)


@pytest.mark.parametrize(("codec", "table"), [("pcm_mulaw", MULAW_SAMPLES), ("pcm_alaw", ALAW_SAMPLES)])
def test_g711_tables_are_those_of_ffmpeg(codec, table):
    context = av.CodecContext.create(codec, "r")
    context.sample_rate, context.layout = 8_000, "mono"
    (frame,) = context.decode(av.Packet(EVERY_CODE))
    assert np.array_equal(frame.to_ndarray().reshape(-1), table)


def test_g711_known_values():
    """G.711 tables 1a to 2b: the ends of the range and its middle."""
    assert [MULAW_SAMPLES[code] for code in (0x00, 0x7F, 0x80, 0xFF)] == [-32124, 0, 32124, 0]
    assert [ALAW_SAMPLES[code] for code in (0x2A, 0x55, 0xAA, 0xD5)] == [-32256, -8, 32256, 8]
    assert encode_mulaw(np.array([0, 32767, -32768], np.int16)) == b"\xff\x80\x00"
    assert encode_alaw(np.array([0, -1, 32767, -32768], np.int16)) == b"\xd5\x55\xaa\x2a"


@pytest.mark.parametrize(("encode", "table"), [(encode_mulaw, MULAW_SAMPLES), (encode_alaw, ALAW_SAMPLES)])
def test_g711_encodes_to_a_step_that_holds_the_sample(encode, table):
    """Within half a step, in order, and decoding what was encoded changes nothing."""
    decoded = table[np.frombuffer(encode(EVERY_SAMPLE), np.uint8)].astype(np.int32)
    levels = np.unique(table.astype(np.int32))
    gaps = np.diff(levels)
    half_step = np.maximum(np.append(gaps, gaps[-1]), np.insert(gaps, 0, gaps[0])) // 2
    within = np.clip(EVERY_SAMPLE, levels[0], levels[-1])
    assert np.all(np.abs(decoded - within) <= half_step[np.searchsorted(levels, decoded)])
    assert np.all(np.diff(decoded) >= 0)
    assert np.array_equal(table[np.frombuffer(encode(table), np.uint8)], table)


@given(st.binary(max_size=400))
def test_g711_survives_any_bytes(data):
    assert np.array_equal(create_decoder("mulaw", 8_000, 1).feed(data).reshape(-1), [MULAW_SAMPLES[code] for code in data])


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 44_100, 48_000])
def test_any_rate_of_the_range_is_taken(rate):
    decoder = create_decoder("pcm16", rate, 1)
    assert (decoder.sample_rate, decoder.channels) == (rate, 1)


@pytest.mark.parametrize(
    ("rate", "channels", "said"),
    [(7_999, 1, "8000 to 48000 Hz"), (48_001, 1, "8000 to 48000 Hz"), (8_000, 0, "1 and 2"), (8_000, 3, "1 and 2")],
)
@pytest.mark.parametrize("encoding", ["pcm16", "mulaw", "alaw"])
def test_other_rates_and_channels_are_refused(encoding, rate, channels, said):
    with pytest.raises(UnsupportedFormat, match=said):
        create_decoder(encoding, rate, channels)


@pytest.mark.parametrize("encoding", ["", "PCM16", "opus", "mp3"])
def test_unknown_encodings_are_refused_naming_the_known(encoding):
    with pytest.raises(UnsupportedFormat) as caught:
        create_decoder(encoding, 16_000, 1)
    assert all(known in caught.value.message for known in ENCODINGS)


@pytest.mark.parametrize("encoding", CONTAINER_ENCODINGS)
def test_containers_know_nothing_before_their_header(encoding):
    decoder = create_decoder(encoding, 16_000, 2)
    assert (decoder.sample_rate, decoder.channels, decoder.header_bytes) == (None, None, 0)
    assert decoder.feed(b"").shape == (0, 1)
    assert decoder.finish().shape == (0, 1)
