from hypothesis import given
from hypothesis import strategies as st

from malha.sdk._unsaved import UnsavedAudio, UnsavedBuffer

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


@given(steps, st.sampled_from([1, 2]), st.integers(min_value=80, max_value=300), st.integers(min_value=0, max_value=900))
def test_what_is_sent_again_begins_where_it_is_asked_for(steps, frame, limit, position):
    """Contiguous pieces, cut at the frame; what is held no more is left out."""
    buffer = UnsavedBuffer(frame_bytes=frame, limit_bytes=limit, container=False)
    stream = b""
    for step in steps:
        if isinstance(step, bytes):
            buffer.add(len(stream) // frame, step * frame)
            stream += step * frame
        else:
            buffer.forget(min(step, len(stream) // frame))
    pieces = buffer.since(position)
    start = max(position, buffer.held_from)
    assert b"".join(piece for _, piece in pieces) == stream[start * frame :]
    for at, piece in pieces:
        assert at == start
        assert piece
        start += len(piece) // frame


def test_pieces_are_not_copied_but_for_the_first():
    buffer = UnsavedBuffer(frame_bytes=2, limit_bytes=1_000, container=False)
    given = [bytes([number]) * 20 for number in range(3)]
    for number, piece in enumerate(given):
        buffer.add(number * 10, piece)
    (first, cut), second, third = buffer.since(4)
    assert (first, cut) == (4, given[0][8:])
    assert second[1] is given[1]
    assert third[1] is given[2]


@given(steps, st.sampled_from([1, 2]), st.integers(min_value=80, max_value=300), st.booleans())
def test_what_an_earlier_call_had_is_taken_over_as_it_was(steps, frame, limit, container):
    earlier = UnsavedBuffer(frame_bytes=frame, limit_bytes=limit, container=container)
    for step in steps:
        if isinstance(step, bytes):
            earlier.add(earlier.end, step * frame)
        else:
            earlier.forget(min(step, earlier.end), step * 3)
    later = UnsavedBuffer(frame_bytes=frame, limit_bytes=limit, container=container)
    later.restore(earlier.snapshot(), 7 if frame == 1 else 8)
    assert later.snapshot() == earlier.snapshot()
    assert later.end == earlier.end
    assert (later.needed_from, later.needed_from_frame) == (earlier.needed_from, earlier.needed_from_frame)
    assert all(len(piece) <= 8 for _, piece in later.since(0))


def test_a_server_that_is_further_needs_nothing_of_what_is_held():
    buffer = UnsavedBuffer(frame_bytes=2, limit_bytes=1_000, container=False)
    buffer.restore(UnsavedAudio(10, bytes(20)), 100)
    buffer.begin_at(15)
    assert buffer.since(15) == [(15, bytes(10))]
    buffer.begin_at(40)
    assert (buffer.since(0), buffer.end, buffer.needed_from) == ([], 40, 40)
    assert buffer.snapshot() == UnsavedAudio(40, b"", keep_from=40, keep_from_frame=40)
