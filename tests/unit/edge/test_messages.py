"""The client's JSON, read strictly."""

import contextlib

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from malha.edge.errors import InvalidField, NotJson
from malha.edge.fields import Fields
from malha.edge.messages import REQUESTS, read_message, read_opening
from malha.runtime.errors import InvalidArgument, InvalidOrder, UnsupportedFormat


def text(**message: object) -> str:
    return orjson.dumps(message).decode()


def start(**fields: object) -> str:
    return text(event="start", **{"encoding": "pcm16", **fields})


def test_defaults_of_a_start() -> None:
    opening = read_opening(start())
    asked = opening.request.open
    assert (asked.format.sample_rate_hertz, asked.format.channels) == (16_000, 1)
    assert not asked.languages
    assert not asked.HasField("interim")
    assert not asked.words
    assert asked.pace == 1
    assert not asked.vad.HasField("threshold_multiplier")
    assert not asked.window.HasField("batch")
    assert (opening.token, opening.session_id, opening.unknown) == ("", "", ())


@pytest.mark.parametrize(
    ("language", "languages"), [(None, []), ("auto", []), ("", []), ("pt", ["pt"]), (["pt", "es"], ["pt", "es"]), ([], [])]
)
def test_languages(language: object, languages: list[str]) -> None:
    assert list(read_opening(start(language=language)).request.open.languages) == languages


@pytest.mark.parametrize(
    ("encoding", "rate"), [("pcm16", 16_000), ("mulaw", 16_000), ("alaw", 16_000), ("wav", 0), ("webm", 0), ("ogg", 0)]
)
def test_raw_encodings_have_a_default_rate_and_containers_their_own(encoding: str, rate: int) -> None:
    assert read_opening(start(encoding=encoding)).request.open.format.sample_rate_hertz == rate


def test_an_unsupported_encoding_names_what_is_supported() -> None:
    with pytest.raises(UnsupportedFormat, match="pcm16, mulaw, alaw, wav, webm, ogg"):
        read_opening(start(encoding="opus"))


def test_fields_nobody_reads_are_named() -> None:
    opening = read_opening(start(volume=11, vad_settings={"hangover": 1}))
    assert opening.unknown == ("volume", "vad_settings.hangover")
    many = read_opening(start(**{f"x{number}" * 40: 1 for number in range(50)}))
    assert len(many.unknown) == 8
    assert max(map(len, many.unknown)) == 64


@pytest.mark.parametrize("message", ["", "null", "1", '"start"', "{", "\x00", "[" * 2000])
def test_what_is_no_json_object(message: str) -> None:
    with pytest.raises(NotJson):
        read_opening(message)
    with pytest.raises(NotJson):
        read_message(message)


def test_order() -> None:
    for event in (*REQUESTS, "pause"):
        with pytest.raises(InvalidOrder):
            read_opening(text(event=event))
    for event in ("start", "resume"):
        with pytest.raises(InvalidOrder):
            read_message(text(event=event))
    with pytest.raises(InvalidField, match="flush, stop, mute"):
        read_message(text(event="pause"))


def test_a_resume() -> None:
    opening = read_opening(text(event="resume", token="given", after_seq=7))
    assert opening.request.resume.token == "given"
    assert opening.request.resume.after_seq == 7
    assert opening.token == "", "a resume token is no bearer token"


json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=8,
)
names = st.sampled_from(
    [
        "event",
        "token",
        "tenant_id",
        "conversation_id",
        "language",
        "encoding",
        "sample_rate",
        "channels",
        "roles",
        "batch_window_sec",
        "max_batch_window_sec",
        "enable_insights",
        "enable_diarization",
        "vad_settings",
        "model",
        "interim",
        "words",
        "session_id",
        "positions",
        "pace",
        "after_seq",
        "channel",
        "muted",
        "on_hold",
        "digits",
        "insight_id",
        "action",
        "enabled",
        "trigger",
    ]
)


@given(st.dictionaries(names, json, max_size=8), st.sampled_from(["start", "resume", *REQUESTS]))
def test_whatever_a_field_holds_the_answer_is_a_request_or_an_error_that_says_what_is_wrong(fields: dict[str, object], event: str) -> None:
    read = read_opening if event in ("start", "resume") else read_message
    with contextlib.suppress(InvalidArgument):
        read(orjson.dumps({"encoding": "pcm16", **fields, "event": event}).decode())


@given(st.text(max_size=200))
def test_whatever_the_text_is_it_is_no_defect(message: str) -> None:
    for read in (read_opening, read_message):
        with contextlib.suppress(InvalidArgument):
            read(message)


def test_numbers_are_no_flags_and_flags_no_numbers() -> None:
    fields = Fields({"yes": True, "one": 1, "half": 0.5, "big": 10**18})
    assert fields.flag("yes")
    assert fields.number("one") == 1
    for wrong in (
        lambda: fields.number("yes"),
        lambda: fields.flag("one"),
        lambda: fields.integer("half", 0, 9),
        lambda: fields.integer("big", 0, 9),
    ):
        with pytest.raises(InvalidField):
            wrong()
