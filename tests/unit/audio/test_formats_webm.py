"""Live WebM with Opus, muxed by FFmpeg and damaged by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from unit.audio.format_streams import cuts_of, decode, element, mux, reference, tone, webm

from malha.audio.formats import webm as ids
from malha.audio.formats.base import create_decoder
from malha.audio.formats.container import MAX_ELEMENT_BYTES
from malha.audio.formats.ebml import children, read_header, split_block
from malha.audio.formats.opus import MAX_BAD_PACKETS, OpusHead
from malha.runtime.errors import UnsupportedFormat

UNKNOWN = b"\x01\xff\xff\xff\xff\xff\xff\xff"
LIVE = webm(1.0, 2)
EXPECTED = decode(create_decoder("webm", 0, 0), LIVE)
HEAD = OpusHead(1, 0, 48_000, 0).pack()
SILENT_20_MS = b"\xf8\xff\xfe"


def decoder():
    return create_decoder("webm", 0, 0)


def begin(*tracks, doc_type=b"webm"):
    """The header of a live stream with these track entries."""
    tracks = tracks or (track(),)
    ebml = element(ids.EBML, element(ids.DOC_TYPE, doc_type))
    return ebml + ids.SEGMENT.to_bytes(4) + UNKNOWN + element(ids.TRACKS, b"".join(tracks))


def track(number=1, kind=2, codec=b"A_OPUS", private=HEAD, more=b""):
    body = element(ids.TRACK_NUMBER, bytes([number])) + element(ids.TRACK_TYPE, bytes([kind])) + element(ids.CODEC_ID, codec)
    return element(ids.TRACK_ENTRY, body + element(ids.CODEC_PRIVATE, private) + more)


CLUSTER = ids.CLUSTER.to_bytes(4) + UNKNOWN + element(0xE7, b"\0")


def block(*packets, number=1, flags=0x80):
    return element(ids.SIMPLE_BLOCK, bytes([0x80 | number, 0, 0, flags]) + b"".join(packets))


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("live", [True, False])
def test_the_audio_is_what_ffmpeg_finds(channels, live):
    """Pre-skip dropped and the end trimmed: FFmpeg's last block carries a discard padding."""
    stream = webm(0.73, channels, live=live)
    samples = decode(decoder(), stream)
    expected = reference(stream, "matroska")
    assert samples.shape == (round(0.73 * 48_000), channels)
    assert np.array_equal(samples, expected)
    sent = tone(0.73, 48_000, channels)
    assert all(np.corrcoef(samples[:, index], sent[:, index])[0, 1] > 0.99 for index in range(channels))


@settings(max_examples=40)
@given(cuts=cuts_of(LIVE))
def test_any_cut_gives_the_same_samples(cuts):
    assert np.array_equal(decode(decoder(), LIVE, cuts), EXPECTED)


def test_byte_by_byte():
    assert np.array_equal(decode(decoder(), LIVE, range(len(LIVE))), EXPECTED)


def test_samples_come_before_the_cluster_ends():
    live = decoder()
    gained = [len(live.feed(LIVE[at : at + 200])) for at in range(0, len(LIVE), 200)]
    assert (live.sample_rate, live.channels) == (48_000, 2)
    assert sum(gained[: len(gained) // 2]) > 0.4 * sum(gained)


def test_decoding_restarts_at_any_cluster():
    first = decoder()
    restarts = {}
    for at in range(0, len(LIVE), 100):
        first.feed(LIVE[at : at + 100])
        restarts[first.keep_from_byte] = first.keep_from_frame
    restarts.pop(0, None)
    assert len(restarts) >= 5
    for byte, frame in restarts.items():
        assert LIVE[byte : byte + 4] == ids.CLUSTER.to_bytes(4)
        second = decoder()
        assert second.feed(LIVE[: first.header_bytes]).shape == (0, 2)
        second.restart(byte, frame)
        rest = second.feed(LIVE[byte:])
        assert len(rest) == len(EXPECTED) - frame
        settled = 48_000 // 5 if byte > first.header_bytes else 0
        assert np.max(np.abs(rest[settled:].astype(int) - EXPECTED[frame + settled :]), initial=0) < 100
        assert (second.header_bytes, second.keep_from_byte) == (first.header_bytes, max(restarts))


def test_restart_needs_the_whole_header():
    for header in (b"", begin()[:-1], begin() + CLUSTER[:2]):
        cut = decoder()
        cut.feed(header)
        with pytest.raises(UnsupportedFormat, match="whole WebM header"):
            cut.restart(1000, 10)


def test_video_is_ignored():
    stream = mux("matroska", "libopus", tone(0.5, 48_000, 1), 48_000, video=True)
    samples = decode(decoder(), stream)
    assert np.array_equal(samples, reference(stream, "matroska"))


def test_only_the_opus_track_is_decoded():
    stream = begin(track(1, codec=b"A_VORBIS"), track(2), track(3)) + CLUSTER
    stream += block(b"junk", number=1) + block(SILENT_20_MS, number=2) + block(SILENT_20_MS, number=3)
    assert decode(decoder(), stream).shape == (960, 1)


def test_block_groups_and_tracks_told_twice():
    group = element(
        ids.BLOCK_GROUP, element(ids.BLOCK, b"\x81\0\0\0" + SILENT_20_MS) + element(ids.DISCARD_PADDING, (5_000_000).to_bytes(4))
    )
    stream = begin() + element(ids.TRACKS, track(2)) + CLUSTER + group + element(0xEC, bytes(300)) + block(SILENT_20_MS)
    for cuts in ([], range(len(stream))):
        assert decode(decoder(), stream, list(cuts)).shape == (960 - 240 + 960, 1)


def test_discard_padding_takes_no_more_than_its_block():
    group = element(ids.BLOCK_GROUP, element(ids.BLOCK, b"\x81\0\0\0" + SILENT_20_MS) + element(ids.DISCARD_PADDING, b"\x7f" * 8))
    assert decode(decoder(), begin() + CLUSTER + block(SILENT_20_MS) + group).shape == (960, 1)
    negative = element(ids.BLOCK_GROUP, element(ids.BLOCK, b"\x81\0\0\0" + SILENT_20_MS) + element(ids.DISCARD_PADDING, b"\xff"))
    assert decode(decoder(), begin() + CLUSTER + negative).shape == (960, 1)


LACED = [b"a" * 3, b"b" * 300, b"c" * 255, b"d"]


@pytest.mark.parametrize(
    ("flags", "lacing", "frames"),
    [
        (0x00, b"", [b"abc"]),
        (0x02, bytes([3, 3, 255, 45, 255, 0]), LACED),
        (0x06, bytes([3, 0x83]) + (0x4000 | 297 + 8191).to_bytes(2) + (0x4000 | -45 + 8191).to_bytes(2), LACED),
        (0x04, bytes([2]), [b"ab", b"cd", b"ef"]),
    ],
)
def test_lacing(flags, lacing, frames):
    assert split_block(b"\x81\0\0" + bytes([flags]) + lacing + b"".join(frames)) == (1, frames)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x81\0\0",
        b"\0\0\0\0",
        b"\x40",
        b"\x81\0\0\x02",
        b"\x81\0\0\x02\x01",
        b"\x81\0\0\x02\x01\xff",
        b"\x81\0\0\x06\x02\x81\x81a",
        b"\x81\0\0\x02\x01\x05ab",
    ],
)
def test_blocks_cut_off(body):
    with pytest.raises(UnsupportedFormat) as caught:
        split_block(body)
    assert caught.value.reason == "CORRUPT_CONTAINER"


def test_a_damaged_packet_is_silence_of_its_length():
    good = _packets(LIVE)
    stream = begin(track(private=OpusHead(2, 0, 48_000, 0).pack())) + CLUSTER
    stream += b"".join(block(b"\xff" if index == 10 else packet) for index, packet in enumerate(good[:20]))
    samples = decode(decoder(), stream)
    assert len(samples) == 19 * 960  # what is so damaged that its length is unknown adds nothing
    stream = begin() + CLUSTER + block(b"\xfb\x03" + b"\xff" * 5) + block(SILENT_20_MS)
    assert decode(decoder(), stream).shape == (4 * 960, 1)


def _packets(stream):
    """The Opus packets of a stream without lacing."""
    found = []
    at = stream.index(ids.CLUSTER.to_bytes(4))
    while at < len(stream):
        ident, size, body = read_header(stream, at)
        at = body if ident == ids.CLUSTER else body + size
        if ident in {ids.SIMPLE_BLOCK, ids.BLOCK_GROUP}:
            content = stream[body:at]
            _, packets = split_block(content if ident == ids.SIMPLE_BLOCK else dict(children(content))[ids.BLOCK])
            found += packets
    return found


def test_too_many_damaged_packets_are_not_opus():
    bad = block(b"\xfb\x03" + b"\xff" * 5)
    assert decode(decoder(), begin() + CLUSTER + (bad * MAX_BAD_PACKETS + block(SILENT_20_MS)) * 2).shape[0] > 0
    with pytest.raises(UnsupportedFormat, match="not Opus") as caught:
        decoder().feed(begin() + CLUSTER + bad * (MAX_BAD_PACKETS + 1))
    assert caught.value.reason == "CORRUPT_CONTAINER"


def test_tiny_packets_cannot_become_gigabytes():
    """Two bytes may stand for 120 ms of lost frames."""
    burst = block(b"\xfb\x06") * 1100
    with pytest.raises(UnsupportedFormat, match="at once") as caught:
        decoder().feed(begin() + CLUSTER + burst)
    assert caught.value.reason == "AUDIO_BURST"


BIG = (1 << 56 | MAX_ELEMENT_BYTES + 1).to_bytes(8)


@pytest.mark.parametrize(
    ("stream", "reason", "said"),
    [
        (b"OggS" + bytes(30), "CORRUPT_CONTAINER", "EBML header"),
        (bytes(30), "CORRUPT_CONTAINER", "no valid id"),
        (b"\x1a\x45\xdf\xa3\x00", "CORRUPT_CONTAINER", "no valid size"),
        (b"\x1a\x45\xdf\xa3" + UNKNOWN, "CORRUPT_CONTAINER", "larger than"),
        (begin(doc_type=b"html"), "CORRUPT_CONTAINER", "neither WebM"),
        (begin() + begin(), "UNSUPPORTED_FORMAT", "second recording"),
        (begin() + CLUSTER + ids.SIMPLE_BLOCK.to_bytes(1) + BIG, "CORRUPT_CONTAINER", "larger than"),
        (begin() + b"\x11\x4d\x9b\x74" + BIG, "CORRUPT_CONTAINER", "larger than"),
        (begin() + element(0xEC, bytes(MAX_ELEMENT_BYTES)), "CORRUPT_CONTAINER", "no audio within"),
        (element(ids.EBML, b"\x42\x82\x88webm"), "CORRUPT_CONTAINER", "than the one it is in"),
        (begin() + block(SILENT_20_MS), "CORRUPT_CONTAINER", "outside of a cluster"),
        (element(ids.EBML, element(ids.DOC_TYPE, b"webm")) + CLUSTER, "CORRUPT_CONTAINER", "before it describes"),
        (begin(track(kind=1)), "NOT_AUDIO", "no audio track"),
        (begin(track(codec=b"A_VORBIS")), "UNSUPPORTED_FORMAT", "not Opus"),
        (begin(track(more=element(ids.CONTENT_ENCODINGS, b""))), "UNSUPPORTED_FORMAT", "encrypted"),
        (begin(track(private=b"")), "CORRUPT_CONTAINER", "identification header"),
        (begin(track(private=b"OpusHead\x11" + HEAD[9:])), "CORRUPT_CONTAINER", "unknown version"),
        (begin(track(private=HEAD[:9] + b"\6" + HEAD[10:])), "UNSUPPORTED_FORMAT", "mono and stereo"),
        (begin(track(private=HEAD[:-1] + b"\1")), "UNSUPPORTED_FORMAT", "mono and stereo"),
    ],
)
def test_what_is_not_read_is_refused(stream, reason, said):
    for cuts in ([], list(range(len(stream)))[:400]):
        with pytest.raises(UnsupportedFormat, match=said) as caught:
            decode(decoder(), stream, cuts)
        assert caught.value.reason == reason


@pytest.mark.parametrize("codec", ["libmp3lame", "pcm_s16le"])
def test_other_codecs_from_ffmpeg_are_refused(codec):
    stream = mux("matroska", codec, tone(0.2, 48_000, 1), 48_000)
    with pytest.raises(UnsupportedFormat, match="not Opus"):
        decoder().feed(stream)


@pytest.mark.parametrize("length", [1, 30, 100])
def test_a_header_cut_off_is_refused_at_the_end(length):
    cut = decoder()
    cut.feed(LIVE[:length])
    with pytest.raises(UnsupportedFormat, match="ended within the WebM header"):
        cut.finish()


def test_an_end_in_the_middle_of_a_block_is_no_error():
    cut = decoder()
    samples = cut.feed(LIVE[:-100])
    assert len(samples) + len(cut.finish()) > 40_000


def test_pre_skip_longer_than_a_packet():
    stream = begin(track(private=OpusHead(1, 1500, 48_000, 0).pack())) + CLUSTER + block(SILENT_20_MS) * 3
    assert decode(decoder(), stream).shape == (3 * 960 - 1500, 1)


def test_output_gain_is_applied():
    packets = _packets(LIVE)
    levels = []
    for gain in (0, -1536):
        stream = begin(track(private=OpusHead(2, 0, 48_000, gain).pack())) + CLUSTER + b"".join(map(block, packets))
        levels.append(np.sqrt(np.mean(decode(decoder(), stream).astype(float) ** 2)))
    assert levels[1] / levels[0] == pytest.approx(10 ** (-6 / 20), rel=0.01)
