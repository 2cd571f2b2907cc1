from hypothesis import given
from hypothesis import strategies as st

from malha.sdk._unsaved import UnsavedBuffer

steps = st.lists(st.one_of(st.binary(min_size=1, max_size=40), st.integers(min_value=0, max_value=600)), max_size=60)


@given(steps, st.sampled_from([1, 2]), st.integers(min_value=80, max_value=300))
def test_it_holds_what_lies_after_the_last_keep_from(steps, frame, limit):
    """Against the whole stream, held beside. Acks never run ahead of what was sent."""
    buffer = UnsavedBuffer(frame_bytes=frame, limit_bytes=limit, container=False)
    stream, needed = b"", 0
    for step in steps:
        if isinstance(step, bytes):
            piece = step * frame
            buffer.add(len(stream) // frame, piece)
            stream += piece
        else:
            keep_from = min(step, len(stream) // frame)
            needed = max(needed, keep_from)
            buffer.forget(keep_from)
    kept = buffer.snapshot()
    assert kept.content == stream[kept.position * frame :]
    assert kept.position >= needed
    assert len(kept.content) <= limit
    if kept.complete:
        assert kept.position == needed
    else:
        assert len(kept.content) + 40 * frame > limit


def test_the_header_of_a_container_is_kept_for_ever():
    buffer = UnsavedBuffer(frame_bytes=1, limit_bytes=1_000_000, container=True)
    stream = bytes(range(256)) * 400
    for at in range(0, len(stream), 1_000):
        buffer.add(at, stream[at : at + 1_000])
    buffer.forget(90_500)
    kept = buffer.snapshot()
    assert kept.header == stream[:65_536]
    assert (kept.position, kept.content) == (90_500, stream[90_500:])


def test_at_most_the_newest_audio_is_kept_and_that_is_told():
    buffer = UnsavedBuffer(frame_bytes=2, limit_bytes=100, container=False)
    for number in range(10):
        buffer.add(number * 10, bytes([number]) * 20)
    kept = buffer.snapshot()
    assert (kept.position, kept.content, kept.complete) == (50, b"".join(bytes([n]) * 20 for n in range(5, 10)), False)
    buffer.forget(60)
    assert buffer.snapshot().complete


def test_an_empty_call():
    kept = UnsavedBuffer(frame_bytes=2, limit_bytes=100, container=False).snapshot()
    assert (kept.position, kept.content, kept.complete) == (0, b"", True)
