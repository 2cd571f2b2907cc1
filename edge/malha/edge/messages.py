"""The WebSocket client's JSON messages, and the requests they stand for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf.duration_pb2 import Duration

from malha.api.audio.v1 import audio_pb2 as api
from malha.api.common.v1 import media_pb2
from malha.edge.errors import InvalidField
from malha.edge.fields import Fields, choice_of, json_object
from malha.edge.framing import Framer
from malha.runtime.errors import InvalidOrder, UnsupportedFormat

ENCODINGS = {
    "pcm16": media_pb2.ENCODING_PCM16,
    "mulaw": media_pb2.ENCODING_MULAW,
    "alaw": media_pb2.ENCODING_ALAW,
    "wav": media_pb2.ENCODING_WAV,
    "webm": media_pb2.ENCODING_WEBM,
    "ogg": media_pb2.ENCODING_OGG,
}
SAMPLE_BYTES = {media_pb2.ENCODING_PCM16: 2, media_pb2.ENCODING_MULAW: 1, media_pb2.ENCODING_ALAW: 1}
"""Raw encodings, and the size of one sample on one channel."""
ROLES = {"agent": media_pb2.ROLE_AGENT, "customer": media_pb2.ROLE_CUSTOMER, "unknown": media_pb2.ROLE_UNSPECIFIED}
PACES = {"live": api.PACE_LIVE, "batch": api.PACE_BATCH}
ACTIONS = {
    "shown": api.FEEDBACK_ACTION_SHOWN,
    "used": api.FEEDBACK_ACTION_USED,
    "edited": api.FEEDBACK_ACTION_EDITED,
    "ignored": api.FEEDBACK_ACTION_IGNORED,
}
DEFAULT_RATE = 16_000
ANY_LANGUAGE = "auto"
MAX_INT32 = 2**31 - 1
MAX_INT63 = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Opening:
    """What a call begins with. ``session_id`` and ``token`` are empty where the message has none; ``unknown`` are fields nobody reads."""

    request: api.StreamRequest
    framer: Framer
    token: str = ""
    session_id: str = ""
    unknown: tuple[str, ...] = ()


def read_opening(text: str) -> Opening:
    """The first message: `start` or `resume`. Raises InvalidArgument."""
    event, fields = _event(text)
    if event == "start":
        return _start(fields)
    if event == "resume":
        return _resume(fields)
    raise InvalidOrder(f"`start` comes first, not `{event}`" if event in REQUESTS else "`start` comes first")


def read_message(text: str) -> api.StreamRequest:
    """A message of an open call. Raises InvalidArgument."""
    event, fields = _event(text)
    build = REQUESTS.get(event)
    if build is not None:
        return build(fields)
    if event in ("start", "resume"):
        raise InvalidOrder(f"`{event}` comes first and once: open another socket for another call")
    raise InvalidField("event", f"must be one of {', '.join(REQUESTS)}")


def _event(text: str) -> tuple[str, Fields]:
    fields = Fields(json_object(text, "; audio goes in binary messages"))
    return fields.text("event"), fields


def _start(fields: Fields) -> Opening:
    audio = _format(fields)
    vad = fields.inner("vad_settings")
    roles = [choice_of("roles", role, ROLES) for role in fields.texts("roles")]
    opening = api.Open(
        conversation_id=fields.text("conversation_id"),
        tenant_id=fields.text("tenant_id"),
        languages=[language for language in fields.texts("language") if language not in ("", ANY_LANGUAGE)],
        format=audio,
        channels=[api.Channel(role=role) for role in roles],
        pace=fields.choice("pace", PACES) or api.PACE_LIVE,
        vad=api.VadSettings(threshold_multiplier=vad.number("threshold_multiplier"), min_energy=vad.number("min_energy")),
        window=api.Window(batch=_duration(fields, "batch_window_sec"), max_batch=_duration(fields, "max_batch_window_sec")),
        denoise=fields.flag("enable_denoise"),
        diarize=fields.flag("enable_diarization"),
        insights=fields.flag("enable_insights"),
        insight=api.InsightSettings(policy=fields.text("insight_policy")),
        verbatim=fields.flag("verbatim"),
        model=fields.text("model"),
        interim=fields.optional_flag("interim"),
        words=fields.flag("words"),
    )
    token, session_id, positions = fields.text("token"), fields.text("session_id"), fields.flag("positions")
    framer = _framer(audio, positions=positions)
    return Opening(api.StreamRequest(open=opening), framer, token, session_id, (*fields.unknown(), *vad.unknown()))


def _framer(audio: media_pb2.AudioFormat, *, positions: bool) -> Framer:
    frame_bytes = SAMPLE_BYTES.get(audio.encoding, 0) * (audio.channels or 1)
    return Framer(frame_bytes=frame_bytes, rate=audio.sample_rate_hertz, positions=positions)


def _format(fields: Fields, default: str = "") -> media_pb2.AudioFormat:
    name = fields.text("encoding") or default
    if name not in ENCODINGS:
        raise UnsupportedFormat(f"encoding: must be one of {', '.join(ENCODINGS)}", violations={"encoding": "not supported"})
    encoding = ENCODINGS[name]
    raw = encoding in SAMPLE_BYTES
    return media_pb2.AudioFormat(
        encoding=encoding,
        sample_rate_hertz=fields.integer("sample_rate", 1, MAX_INT32) or (DEFAULT_RATE if raw else None),
        channels=fields.integer("channels", 1, MAX_INT32) or (1 if raw else None),
    )


def _duration(fields: Fields, name: str) -> Duration | None:
    seconds = fields.number(name)
    if seconds is None:
        return None
    if not 0 < seconds < 3600:
        raise InvalidField(name, "must be above 0 and below 3600 seconds")
    duration = Duration()
    duration.FromNanoseconds(round(seconds * 1e9))
    return duration


def _resume(fields: Fields) -> Opening:
    """A call's client comes back, perhaps to another edge: how its audio is framed it says again, as in `start`."""
    have_from = fields.integer("have_from", 0, MAX_INT63)
    resume = api.Resume(
        token=fields.text("token"),
        after_seq=fields.integer("after_seq", 0, MAX_INT63) or 0,
        have_from=have_from,
        have_from_frame=fields.integer("have_from_frame", 0, MAX_INT63) or (have_from if have_from is not None else 0),
    )
    session_id = fields.text("session_id") or resume.token.partition(".")[0]
    framer = _framer(_format(fields, "pcm16"), positions=fields.flag("positions"))
    return Opening(api.StreamRequest(resume=resume), framer, fields.text("api_token"), session_id, tuple(fields.unknown()))


def _control(**control: Any) -> api.StreamRequest:
    return api.StreamRequest(control=api.Control(**control))


def _mute(fields: Fields) -> api.StreamRequest:
    return _control(mute=api.Mute(channel=fields.integer("channel", 0, 1), muted=fields.flag("muted", default=True)))


def _feedback(fields: Fields) -> api.StreamRequest:
    action = choice_of("action", fields.text("action"), ACTIONS)
    return api.StreamRequest(feedback=api.Feedback(insight_id=fields.text("insight_id"), action=action))


def _insights(fields: Fields) -> api.StreamRequest:
    return _control(insights=api.InsightControl(enabled=fields.optional_flag("enabled"), trigger=fields.flag("trigger")))


REQUESTS: Mapping[str, Callable[[Fields], api.StreamRequest]] = {
    "flush": lambda _: _control(flush=api.Flush()),
    "stop": lambda _: api.StreamRequest(finish=api.Finish()),
    "mute": _mute,
    "hold": lambda fields: _control(hold=api.Hold(on_hold=fields.flag("on_hold", default=True))),
    "dtmf": lambda fields: _control(dtmf=api.Dtmf(digits=fields.text("digits"))),
    "feedback": _feedback,
    "insights": _insights,
}
"""What a client may say during a call."""
