"""No bytes, in whatever pieces, bring a decoder to anything but samples or UnsupportedFormat, within bounds."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.audio.format_streams import element, mux, ogg, page, pages, tone, webm

from malha.audio.formats import webm as ids
from malha.audio.formats.base import CONTAINER_ENCODINGS, MAX_FEED_BYTES, create_decoder
from malha.audio.formats.container import MAX_ELEMENT_BYTES
from malha.audio.formats.opus import MAX_BURST_SECONDS
from malha.runtime.errors import UnsupportedFormat

VALID = {"webm": webm(0.5, 2), "ogg": ogg(0.5, 2, 40), "wav": mux("wav", "pcm_s24le", tone(0.05, 16_000, 2), 16_000)}
OGG_HEADER = b"".join(pages(VALID["ogg"])[:2])
SERIAL = int.from_bytes(VALID["ogg"][14:18], "little")
WEBM_HEADER = VALID["webm"][: VALID["webm"].index(ids.CLUSTER.to_bytes(4))] + ids.CLUSTER.to_bytes(4) + b"\x01" + b"\xff" * 7
MAGICS = (b"", b"RIFF\0\0\0\0WAVE", b"\x1a\x45\xdf\xa3", b"OggS\0", OGG_HEADER, WEBM_HEADER)


def survive(encoding: str, pieces: list[bytes]) -> None:
    decoder = create_decoder(encoding, 0, 0)
    refused = ""
    try:
        for piece in pieces:
            samples = decoder.feed(piece)
            assert samples.ndim == 2
            assert samples.shape[1] == (decoder.channels or 1)
            assert len(samples) <= MAX_BURST_SECONDS * 48_000
            assert 0 <= decoder.keep_from_byte <= sum(map(len, pieces))
        decoder.finish()
    except UnsupportedFormat as error:
        refused = error.reason
    assert refused in {"", "CORRUPT_CONTAINER", "UNSUPPORTED_FORMAT", "NOT_AUDIO", "AUDIO_BURST"}
    assert len(decoder._buffer) <= MAX_ELEMENT_BYTES + 2 * max(map(len, pieces), default=0)


@pytest.mark.parametrize("encoding", CONTAINER_ENCODINGS)
@settings(max_examples=50)
@given(magic=st.sampled_from(MAGICS), pieces=st.lists(st.binary(max_size=600), max_size=12))
def test_random_bytes(encoding, magic, pieces):
    survive(encoding, [magic, *pieces])


@pytest.mark.parametrize("encoding", CONTAINER_ENCODINGS)
@settings(max_examples=50)
@given(
    damage=st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=6), st.booleans()), min_size=1, max_size=10),
    step=st.integers(40, 3000),
)
def test_damaged_streams(encoding, damage, step):
    stream = bytearray(VALID[encoding])
    for where, what, insert in damage:
        at = int(where * len(stream))
        stream[at : at if insert else at + len(what)] = what
    survive(encoding, [bytes(stream[at : at + step]) for at in range(0, len(stream), step)])


@settings(max_examples=50)
@given(
    st.lists(
        st.tuples(st.sampled_from([ids.SIMPLE_BLOCK, ids.BLOCK_GROUP, ids.TRACKS, ids.CLUSTER, 0xEC]), st.binary(max_size=80)), max_size=40
    )
)
def test_random_elements(elements):
    bodies = [element(ids.BLOCK, b"\x81\0\0" + body) if kind == ids.BLOCK_GROUP else b"\x81\0\0" + body for kind, body in elements]
    survive("webm", [WEBM_HEADER, *(element(kind, body) for (kind, _), body in zip(elements, bodies, strict=True))])


@settings(max_examples=50)
@given(
    st.lists(
        st.tuples(st.integers(0, 7), st.integers(-(1 << 63), (1 << 63) - 1), st.binary(max_size=20), st.binary(max_size=300)), max_size=20
    )
)
def test_random_pages(parts):
    """Pages whose checksums are right and nothing else."""
    stream = [OGG_HEADER]
    for sequence, (flags, position, table, body) in enumerate(parts, start=2):
        sizes = table if sum(table) <= len(body) else bytes([len(body) % 256])
        stream.append(page(flags, position, SERIAL, sequence, sizes, body[: sum(sizes)]))
    survive("ogg", stream)


def test_the_longest_honest_piece_is_not_a_burst():
    """Silence as Opus sends it, in a container of little overhead: two minutes are not reached."""
    silent = ids.SIMPLE_BLOCK.to_bytes() + b"\x85\x81\0\0\x80\xf8"
    pre_skip = 312
    count = MAX_FEED_BYTES // len(silent)
    decoder = create_decoder("webm", 0, 0)
    assert len(decoder.feed(WEBM_HEADER + silent * count)) == count * 960 - pre_skip
