"""Ogg with Opus, muxed by FFmpeg, paged anew and damaged by hand."""

import collections

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.audio.format_streams import cuts_of, decode, ogg, page, pages, reference, slow_checksum, tone

from malha.audio.formats.base import create_decoder
from malha.audio.formats.ogg import MAX_BAD_PAGES, page_checksum
from malha.audio.formats.opus import OpusHead
from malha.runtime.errors import UnsupportedFormat

STREAM = ogg(1.0, 2)
PAGES = pages(STREAM)
EXPECTED = decode(create_decoder("ogg", 0, 0), STREAM)
SILENT_20_MS = b"\xf8\xff\xfe"
SERIAL = 77
HEAD = page(2, 0, SERIAL, 0, b"\x13", OpusHead(1, 0, 48_000, 0).pack())
TAGS = page(0, 0, SERIAL, 1, b"\x10", b"OpusTags" + bytes(8))


def decoder():
    return create_decoder("ogg", 0, 0)


def audio(sequence, count, position, flags=0, packet=SILENT_20_MS):
    return page(flags, position, SERIAL, sequence, bytes([len(packet)]) * count, packet * count)


@given(st.binary(max_size=500))
def test_checksum(data):
    assert page_checksum(data) == slow_checksum(data)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("seconds", [0.013, 0.5, 0.777])
@pytest.mark.parametrize("page_milliseconds", [20, 1000])
def test_the_audio_is_what_ffmpeg_finds(channels, seconds, page_milliseconds):
    """Pre-skip dropped, the end trimmed to the last granule position."""
    stream = ogg(seconds, channels, page_milliseconds)
    samples = decode(decoder(), stream)
    assert np.array_equal(samples, reference(stream, "ogg"))
    if len(pages(stream)) > 3:  # FFmpeg puts its positions too high by the pre-skip, which a single page cannot tell
        assert len(samples) == round(seconds * 48_000)


def test_the_tone_is_there():
    sent = tone(1.0, 48_000, 2)
    assert all(np.corrcoef(EXPECTED[:, index], sent[:, index])[0, 1] > 0.99 for index in range(2))


@settings(max_examples=40)
@given(cuts=cuts_of(STREAM))
def test_any_cut_gives_the_same_samples(cuts):
    assert np.array_equal(decode(decoder(), STREAM, cuts), EXPECTED)


def test_byte_by_byte():
    assert np.array_equal(decode(decoder(), STREAM, range(len(STREAM))), EXPECTED)


def test_packets_that_span_pages():
    """One lacing value a page: every packet above 255 bytes is continued."""
    packets = [piece for each in PAGES[2:] for piece in _pieces(each)]
    assert max(map(len, packets)) > 255
    stream = [*PAGES[:2]]
    serial = int.from_bytes(PAGES[0][14:18], "little")
    for packet in packets:
        for at in range(0, len(packet) + 1, 255):
            piece = packet[at : at + 255]
            stream.append(page(1 if at else 0, -1, serial, len(stream), bytes([len(piece)]), piece))
    again = decoder()
    samples = decode(again, b"".join(stream))
    assert np.array_equal(samples[: len(EXPECTED)], EXPECTED)
    assert again.keep_from_byte == len(b"".join(stream)) - len(b"".join(stream[-(len(packets[-1]) // 255 + 1) :]))


def _pieces(raw):
    pieces, at, length = [], 27 + raw[26], 0
    for value in raw[27:at]:
        length += value
        if value < 255:
            pieces.append(raw[at : at + length])
            at, length = at + length, 0
    return pieces


def test_decoding_restarts_at_any_page():
    first = decoder()
    restarts = {}
    for each in PAGES:
        first.feed(each)
        restarts[first.keep_from_byte] = first.keep_from_frame
    assert first.header_bytes == len(PAGES[0]) + len(PAGES[1])
    restarts.pop(0, None)
    assert len(restarts) >= 10
    restarts.popitem()  # the trimming of the last page counts from the page before
    for byte, frame in restarts.items():
        second = decoder()
        assert second.feed(STREAM[: first.header_bytes]).shape == (0, 2)
        second.restart(byte, frame)
        rest = second.feed(STREAM[byte:])
        assert len(rest) == len(EXPECTED) - frame
        settled = 48_000 // 5 if byte > first.header_bytes else 0
        assert np.max(np.abs(rest[settled:].astype(int) - EXPECTED[frame + settled :]), initial=0) < 100


def test_restart_needs_the_whole_header():
    for header in (b"", HEAD, HEAD + TAGS[:-1]):
        cut = decoder()
        cut.feed(header)
        with pytest.raises(UnsupportedFormat, match="whole Ogg header"):
            cut.restart(1000, 10)


def test_a_stream_joined_in_the_middle_is_trimmed_by_its_own_origin():
    joined = HEAD + TAGS + audio(2, 5, 100_000) + audio(3, 5, 100_000 + 4000, flags=4)
    assert decode(decoder(), joined).shape == (5 * 960 + 4000, 1)


@pytest.mark.parametrize(("position", "left"), [(1000, 1000), (2 * 960, 2 * 960), (0, 0), (10**12, 2 * 960), (-5, 0)])
def test_the_end_is_trimmed_within_the_last_page(position, left):
    assert decode(decoder(), HEAD + TAGS + audio(2, 2, position, flags=4)).shape == (left, 1)
    stream = HEAD + TAGS + audio(2, 2, 2 * 960) + audio(3, 2, position + 2 * 960, flags=4)
    assert decode(decoder(), stream).shape == (left + 2 * 960, 1)


def test_what_follows_the_last_page_is_ignored():
    stream = HEAD + TAGS + audio(2, 2, 1920, flags=4) + audio(3, 2, 3840)
    assert decode(decoder(), stream).shape == (1920, 1)


def test_streams_multiplexed_with_it_are_ignored():
    other = page(2, 0, 5, 0, b"\x08", b"fishead\0")
    more = page(0, 0, 5, 1, b"\x04", b"data")
    stream = other + HEAD + more + TAGS + audio(2, 1, 960) + more + audio(3, 1, 1920)
    assert decode(decoder(), stream).shape == (1920, 1)


def test_a_damaged_page_loses_only_itself():
    damaged = bytearray(PAGES[5])
    damaged[-1] ^= 1
    stream = b"".join([*PAGES[:5], damaged, *PAGES[6:]])
    samples = decode(decoder(), stream)
    lost = 960 * len(_pieces(PAGES[5]))
    assert len(samples) == len(EXPECTED) - lost
    junk = b"".join([*PAGES[:5], b"xx Ogg OggS", *PAGES[5:]])
    assert np.array_equal(decode(decoder(), junk, [sum(map(len, PAGES[:5])) + 5]), EXPECTED)


def test_a_lost_page_drops_the_packet_it_was_part_of():
    packet = SILENT_20_MS + bytes(300)
    whole = audio(2, 1, 960)
    begun = page(0, -1, SERIAL, 3, b"\xff", packet[:255])
    middle = page(1, -1, SERIAL, 4, b"\xff", bytes(255))
    ended = page(1, 1920, SERIAL, 5, bytes([48, 3]), packet[255:] + SILENT_20_MS)
    after = audio(6, 1, 2880)
    lengths = [
        len(decode(decoder(), b"".join([HEAD, TAGS, whole, *rest])))
        for rest in ([begun, ended, after], [middle, ended, after], [begun, after])
    ]
    assert lengths == [3 * 960, 3 * 960, 2 * 960]


def test_too_much_damage_is_not_ogg():
    bad = bytearray(audio(9, 3, 0))
    bad[-1] ^= 1
    with pytest.raises(UnsupportedFormat, match="too many places") as caught:
        decoder().feed(HEAD + TAGS + bytes(bad) * (MAX_BAD_PAGES + 1))
    assert caught.value.reason == "CORRUPT_CONTAINER"
    live = decoder()
    live.feed(HEAD + TAGS)
    with pytest.raises(UnsupportedFormat, match="too many places"):
        collections.deque(map(live.feed, [b"x" * 5000] * 100), maxlen=0)


def test_pages_that_claim_to_be_long_cost_little():
    """Each capture pattern makes a candidate of 65 kB whose checksum must be computed: the bad ones are counted."""
    hostile = (b"OggS" + bytes(22) + b"\xff" + b"\xff" * 255)[:282] * 2000
    with pytest.raises(UnsupportedFormat, match="too many places"):
        decoder().feed(HEAD + TAGS + hostile)


@pytest.mark.parametrize(
    ("stream", "reason", "said"),
    [
        (b"RIFF" + bytes(40), "CORRUPT_CONTAINER", "not Ogg"),
        (b"OggT" + bytes(40), "CORRUPT_CONTAINER", "not Ogg"),
        (b"OggS\1" + bytes(40), "CORRUPT_CONTAINER", "not Ogg"),
        (HEAD[:-1] + b"\1", "CORRUPT_CONTAINER", "not Ogg"),
        (HEAD + audio(1, 1, 960), "CORRUPT_CONTAINER", "comment header"),
        (HEAD + TAGS + audio(2, 1, 960) + HEAD, "UNSUPPORTED_FORMAT", "second recording"),
        (page(2, 0, SERIAL, 0, b"\x08", b"OpusHead"), "CORRUPT_CONTAINER", "identification header"),
        (
            HEAD + b"".join(page(int(at > 1), -1, SERIAL, at, b"\xff" * 255, bytes(65_025)) for at in range(1, 18)),
            "CORRUPT_CONTAINER",
            "1048576 bytes",
        ),
        (
            HEAD + TAGS + b"".join(page(int(at > 2), -1, SERIAL, at, b"\xff" * 255, bytes(65_025)) for at in range(2, 19)),
            "CORRUPT_CONTAINER",
            "larger than",
        ),
    ],
)
def test_what_is_not_read_is_refused(stream, reason, said):
    with pytest.raises(UnsupportedFormat, match=said) as caught:
        decode(decoder(), stream)
    assert caught.value.reason == reason


def test_other_codecs_are_refused():
    vorbis = page(2, 0, 1, 0, b"\x1e", b"\1vorbis" + bytes(23))
    with pytest.raises(UnsupportedFormat, match="not Opus"):
        decoder().feed(vorbis + page(0, 0, 1, 1, b"\1", b"\3"))
    with pytest.raises(UnsupportedFormat, match="ended within"):
        decode(decoder(), vorbis)


@pytest.mark.parametrize("length", [1, 30, len(PAGES[0]) - 1])
def test_a_header_cut_off_is_refused_at_the_end(length):
    cut = decoder()
    cut.feed(STREAM[:length])
    with pytest.raises(UnsupportedFormat, match="ended within the Ogg header"):
        cut.finish()
