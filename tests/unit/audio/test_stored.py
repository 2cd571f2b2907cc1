"""What a call tells is told the same again from the store."""

import orjson

from malha.api.audio.v1 import audio_pb2 as api
from malha.audio.events import CallEvent, Gap, RecognisedWord, Role, Segment
from malha.audio.messages import event_fields
from malha.audio.stored import event_body, replayed
from malha.store.sessions import ReplayedEvent


def again(event: Segment | Gap) -> api.StreamResponse:
    kind, body = event_body(event)
    return replayed(ReplayedEvent(7, kind, 3200, orjson.loads(orjson.dumps(body))))


def told(event: CallEvent) -> api.StreamResponse:
    return api.StreamResponse(seq=7, position=3200, **event_fields(event))


def test_a_segment() -> None:
    words = (RecognisedWord("olá", 1.0, 1.4, 0.5, "S1"), RecognisedWord("sim", 1.5, 1.9, None))
    segment = Segment("0-1", 2, True, 1, Role.CUSTOMER, "olá sim", 1.0, 1.9, 0.75, "pt", words, 0.25, amended=True, speaker="S1")
    assert again(segment) == told(segment)


def test_a_segment_and_who_recognised_it() -> None:
    segment = Segment("0-1", 1, True, 0, Role.AGENT, "olá", 1.0, 1.9, engine=("openai", "2.1", "whisper-1"))
    assert again(segment) == told(segment)
    assert again(segment).transcript.segment.engine.model == "whisper-1"


def test_a_segment_stored_before_engines_were_told() -> None:
    segment = Segment("0-1", 1, True, 0, Role.AGENT, "olá", 1.0, 1.9)
    kind, body = event_body(segment)
    del body["engine"]
    assert replayed(ReplayedEvent(7, kind, 3200, body)) == told(segment)


def test_a_gap() -> None:
    assert again(Gap(16_000, 32_000)) == told(Gap(16_000, 32_000))
