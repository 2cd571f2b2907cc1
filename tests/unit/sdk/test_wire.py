from hypothesis import given
from hypothesis import strategies as st

from malha.api.audio.v1 import audio_pb2
from malha.sdk._gen.malha.api.audio import v1 as audio
from malha.sdk._wire import audio_request


@given(st.binary(max_size=40_000), st.integers(min_value=0, max_value=2**64 - 1))
def test_the_hand_written_message_is_what_protobuf_reads(content, position):
    request = audio_pb2.StreamRequest.FromString(audio_request(position, content))
    assert (request.audio.content, request.audio.position) == (content, position)
    assert request.audio.HasField("position")


def test_it_is_what_betterproto2_writes():
    expected = bytes(audio.StreamRequest(audio=audio.Audio(content=bytes(3_200), position=123_456)))
    assert audio_request(123_456, bytes(3_200)) == expected
