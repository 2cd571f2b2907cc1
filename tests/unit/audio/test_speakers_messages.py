"""How a call's audio is put into messages for Diarize."""

import grpc
import numpy as np

from malha.audio.speakers import GATHERED_SECONDS, SAMPLE_BYTES, CallSpeakers

RATE, PIECE = 8_000, 800


def unreachable() -> grpc.aio.Channel:
    raise AssertionError("nothing is sent here")


async def test_pieces_fill_messages_and_keep_their_places() -> None:
    speakers = CallSpeakers(unreachable, (), lambda _event, _position: None, lambda _reason, _message: None, live=True)
    began = [0.0, 0.1, 5.0, 5.1]
    for number, second in enumerate(began):
        speakers.add(np.full(PIECE, number, np.int16), second, RATE)
    messages = [speakers._gathered(), speakers._gathered()]
    await speakers.close()
    assert [len(message) / SAMPLE_BYTES / RATE for message in messages] == [GATHERED_SECONDS, 0.1]
    sent = np.frombuffer(b"".join(messages), np.int16)
    assert np.array_equal(sent, np.repeat(np.arange(4), PIECE))
    assert [round(speakers._second(second), 3) for second in (0.05, 0.15, 0.25, 0.35)] == [0.05, 0.15, 5.05, 5.15]
