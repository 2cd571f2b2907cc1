"""The short way for length-only messages must refuse exactly what protovalidate refuses."""

import pytest

from malha.api.audio.v1 import audio_pb2
from malha.api.conversation.v1 import state_pb2
from malha.api.diarize.v1 import diarize_pb2
from malha.api.ocr.v1 import ocr_pb2
from malha.api.transcribe.v1 import transcribe_pb2
from malha.runtime.errors import InvalidArgument
from malha.runtime.validation import stream_validator, validate

LIMIT = 1_048_576


@pytest.mark.parametrize("size", [0, 1, LIMIT, LIMIT + 1])
@pytest.mark.parametrize(
    "make",
    [
        lambda content: audio_pb2.StreamRequest(audio=audio_pb2.Audio(content=content, position=7)),
        lambda content: transcribe_pb2.TranscribeRequest(audio=transcribe_pb2.Audio(content=content)),
        lambda content: ocr_pb2.RecognizeRequest(data=ocr_pb2.Data(content=content)),
    ],
)
def test_both_ways_agree(make: object, size: int) -> None:
    message = make(bytes(size))
    refused = []
    for check in (stream_validator(message.DESCRIPTOR), validate):
        try:
            check(message)
            refused.append(None)
        except InvalidArgument as error:
            refused.append((error.reason, sorted(error.violations)))
    assert refused[0] == refused[1]
    assert (refused[0] is not None) == (size > LIMIT)


def test_every_other_kind_goes_to_protovalidate() -> None:
    check = stream_validator(audio_pb2.StreamRequest.DESCRIPTOR)
    with pytest.raises(InvalidArgument) as raised:
        check(audio_pb2.StreamRequest(control=audio_pb2.Control(dtmf=audio_pb2.Dtmf(digits="4929x"))))
    assert "control.dtmf.digits" in raised.value.violations
    assert "4929" not in raised.value.message
    with pytest.raises(InvalidArgument):
        check(audio_pb2.StreamRequest())


def test_what_would_be_right_is_told() -> None:
    with pytest.raises(InvalidArgument) as raised:
        validate(transcribe_pb2.TranscribeRequest(open=transcribe_pb2.Open()))
    assert raised.value.violations == {"open.format": "is required: encoding, sample_rate_hertz, channels"}
    with pytest.raises(InvalidArgument) as raised:
        validate(transcribe_pb2.AlignRequest(format={}, text="a"))
    assert raised.value.violations["format.encoding"].startswith("must be one of ENCODING_PCM16, ENCODING_MULAW, ")
    with pytest.raises(InvalidArgument) as raised:
        validate(transcribe_pb2.TranscribeRequest(open=transcribe_pb2.Open(format={"encoding": 1}, languages=["pt", "e"])))
    assert raised.value.violations == {"open.languages": "must be at least 2 characters"}
    with pytest.raises(InvalidArgument) as raised:
        validate(state_pb2.SaveStateRequest(conversation_id="c", key="k"))
    assert raised.value.violations == {"value": "is required"}
    with pytest.raises(InvalidArgument) as raised:
        validate(diarize_pb2.EnrollSpeakerRequest(speaker_id="Ana Maria"))
    assert raised.value.violations == {
        "speaker_id": "may only have these characters: 0-9A-Za-z._:@-",
        "audio": "is required",
        "consent_id": "is required",
    }
