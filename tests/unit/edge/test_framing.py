"""Audio on its way into the mesh: nothing lost, nothing late, nothing renamed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from malha.api.audio.v1 import audio_pb2 as api
from malha.edge.errors import InvalidField
from malha.edge.framing import POSITION, Framer, Piece, audio_request, placed

RATE = 16_000
PIECE = 2 * RATE // 10


def told(pieces: list[Piece]) -> list[api.Audio]:
    return [api.StreamRequest.FromString(request).audio for request, _, _ in pieces]


@given(st.binary(max_size=70_000), st.none() | st.integers(0, 2**64 - 1))
def test_a_request_is_what_protobuf_would_write(content: bytes, position: int | None) -> None:
    expected = api.StreamRequest(audio=api.Audio(content=content, position=position))
    assert audio_request(content, position) == expected.SerializeToString()


@pytest.mark.parametrize("size", [0, 1, 127, 128, 16_383, 16_384, 1024 * 1024])
def test_a_request_of_each_length_of_length(size: int) -> None:
    assert audio_request(bytes(size)) == api.StreamRequest(audio=api.Audio(content=bytes(size))).SerializeToString()


@given(st.binary(max_size=20_000), st.none() | st.integers(0, 2**40), st.integers(0, 2**64 - 1))
def test_a_request_can_be_told_its_place_later(content: bytes, before: int | None, position: int) -> None:
    audio = api.StreamRequest.FromString(placed(audio_request(content, before), position)).audio
    assert (audio.content, audio.position) == (content, position)


@given(st.lists(st.integers(0, 9_000), max_size=40), st.integers(1, 2), st.integers(0, 2**40))
def test_places_are_counted_from_where_the_call_began(sizes: list[int], channels: int, begin: int) -> None:
    framer = Framer(frame_bytes=2 * channels, rate=RATE)
    framer.begin_at(begin)
    pieces = [piece for size in sizes for piece in framer.add(bytes(2 * channels * size))] + framer.flush()
    at = begin
    for _, position, units in pieces:
        assert position == at
        at += units
    assert framer.position == at == begin + sum(sizes)


sizes = st.lists(st.one_of(st.integers(0, 700), st.integers(0, 4000), st.just(PIECE)), max_size=60)


@given(sizes, st.integers(1, 2))
def test_all_bytes_arrive_once_and_in_order(pieces: list[int], channels: int) -> None:
    framer = Framer(frame_bytes=2 * channels, rate=RATE)
    sent = [bytes([number % 251]) * size for number, size in enumerate(pieces)]
    audio = told([request for data in sent for request in framer.add(data)] + framer.flush())
    assert b"".join(each.content for each in audio) == b"".join(sent)
    assert not framer.waiting
    assert all(each.content for each in audio)
    assert not any(each.HasField("position") for each in audio)


@given(sizes)
def test_less_than_100_ms_waits(pieces: list[int]) -> None:
    framer = Framer(frame_bytes=2, rate=RATE)
    waiting = 0
    for size in pieces:
        whole = size % 2 == 0
        requests = framer.add(bytes(size))
        waiting = waiting + size if not requests and whole else 0
        assert waiting < PIECE
        assert framer.waiting == waiting


@given(sizes)
def test_a_piece_that_is_no_whole_number_of_frames_goes_alone(pieces: list[int]) -> None:
    framer = Framer(frame_bytes=2, rate=RATE)
    for size in pieces:
        requests = framer.add(bytes(size))
        if size % 2:
            assert len(told(requests)[-1].content) == size
        assert all(len(each.content) % 2 == 0 for each in told(requests[:-1]))


def test_100_ms_pass_without_being_joined() -> None:
    framer = Framer(frame_bytes=2, rate=RATE)
    assert [len(each.content) for each in told(framer.add(bytes(PIECE)))] == [PIECE]
    assert framer.add(bytes(2)) == []
    assert [len(each.content) for each in told(framer.add(bytes(PIECE)))] == [2, PIECE]


@given(st.lists(st.tuples(st.integers(0, 400), st.booleans()), max_size=60))
def test_positions_name_where_each_request_begins(pieces: list[tuple[int, bool]]) -> None:
    """Frames with their positions, some after a jump: every frame keeps the position it was sent with."""
    framer, position = Framer(frame_bytes=2, rate=RATE, positions=True), 0
    expected: list[tuple[int, bytes]] = []
    requests: list[bytes] = []
    for number, (frames, jumps) in enumerate(pieces):
        position += 1000 * jumps
        frame = bytes([number % 251, 1])
        requests += framer.add(POSITION.pack(position) + frame * frames)
        expected += [(position + index, frame) for index in range(frames)]
        position += frames
    requests += framer.flush()
    arrived = [(each.position + at // 2, each.content[at : at + 2]) for each in told(requests) for at in range(0, len(each.content), 2)]
    assert arrived == expected


@given(pieces=st.lists(st.binary(max_size=300), max_size=30), positions=st.booleans())
def test_containers_are_never_joined(pieces: list[bytes], *, positions: bool) -> None:
    framer = Framer(positions=positions)
    requests = [request for data in pieces for request in framer.add(POSITION.pack(7) + data if positions else data)]
    assert [each.content for each in told(requests)] == [data for data in pieces if data]
    assert all(each.HasField("position") is positions for each in told(requests))
    assert not framer.waiting


@pytest.mark.parametrize("size", range(8))
def test_a_message_shorter_than_its_position_is_refused(size: int) -> None:
    with pytest.raises(InvalidField, match="8-byte position"):
        Framer(frame_bytes=2, rate=RATE, positions=True).add(bytes(size))
