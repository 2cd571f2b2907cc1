import pytest
from hypothesis import given
from hypothesis import strategies as st

from malha.sdk._chunks import Chunker
from malha.sdk.errors import InvalidRequest


def send(chunks, frame, ready, most):
    """All messages of a stream of chunks, each with the number of chunks that had come by then."""
    chunker = Chunker(frame_bytes=frame, ready_bytes=ready, most_bytes=most)
    messages = []
    for number, chunk in enumerate(chunks):
        chunker.add(chunk)
        if chunker.ready:
            messages += [(number, *piece) for piece in chunker.take()]
    return chunker, messages


@given(
    st.lists(st.binary(max_size=300), max_size=30),
    st.sampled_from([1, 2, 4]),
    st.integers(min_value=1, max_value=200),
    st.integers(min_value=8, max_value=400),
)
def test_nothing_is_lost_split_inside_a_frame_or_misplaced(chunks, frame, ready, most):
    chunker, messages = send(chunks, frame, ready, most)
    messages += [(len(chunks), *piece) for piece in chunker.take()]
    whole = b"".join(chunks)
    sent = b"".join(content for _, _, content in messages)
    assert sent == whole[: len(whole) - len(whole) % frame]
    position = 0
    for _, at, content in messages:
        assert at == position
        assert 0 < len(content) <= most
        assert len(content) % frame == 0
        position += len(content) // frame


def test_small_chunks_are_gathered_to_100_ms():
    _, messages = send([bytes(640)] * 20, 2, 3_200, 32_000)  # 20 ms each, 16 kHz mono
    assert [(at, len(content)) for _, at, content in messages] == [(0, 3_200), (1_600, 3_200), (3_200, 3_200), (4_800, 3_200)]


def test_a_chunk_of_100_ms_is_sent_as_it_is():
    chunk = bytes(3_200)
    _, messages = send([chunk], 2, 3_200, 32_000)
    assert messages[0][2] is chunk


def test_large_chunks_are_split_to_a_second():
    _, messages = send([bytes(80_000)], 2, 3_200, 32_000)
    assert [(at, len(content)) for _, at, content in messages] == [(0, 32_000), (16_000, 32_000), (32_000, 16_000)]


def test_a_frame_left_incomplete_at_the_end_is_an_error():
    chunker, _ = send([bytes(7)], 4, 1, 400)
    chunker.take()
    with pytest.raises(InvalidRequest, match="3 of the 4 bytes of a frame"):
        chunker.close()


def test_a_buffer_the_caller_reuses_is_copied():
    buffer = bytearray(b"\x01\x02")
    chunker = Chunker(frame_bytes=2, ready_bytes=2, most_bytes=100)
    chunker.add(buffer)
    buffer[:] = b"\x09\x09"
    assert chunker.take() == [(0, b"\x01\x02")]


@pytest.mark.parametrize("wrong", ["text", 7, None, [1, 2]])
def test_what_is_not_bytes_is_refused_by_name(wrong):
    with pytest.raises(TypeError, match=type(wrong).__name__):
        Chunker(frame_bytes=2, ready_bytes=2, most_bytes=100).add(wrong)
