"""Audio's contract to domain and back."""

from typing import Any

from malha.api.audio.v1 import audio_pb2 as api
from malha.api.common.v1 import media_pb2, transcript_pb2
from malha.audio.call import CallConfig
from malha.audio.endpointing import EndpointConfig
from malha.audio.events import Ack, CallEvent, Figures, Gap, Opened, Role, Segment, SpeechEnded, SpeechStarted, Warned
from malha.audio.settings import AudioSettings
from malha.runtime.durations import duration, seconds
from malha.runtime.errors import InvalidArgument, UnsupportedFormat

ENCODINGS = {
    media_pb2.ENCODING_PCM16: "pcm16",
    media_pb2.ENCODING_MULAW: "mulaw",
    media_pb2.ENCODING_ALAW: "alaw",
    media_pb2.ENCODING_WAV: "wav",
    media_pb2.ENCODING_WEBM: "webm",
    media_pb2.ENCODING_OGG: "ogg",
    media_pb2.ENCODING_FILE: "file",
}
ROLES = {media_pb2.ROLE_UNSPECIFIED: Role.UNKNOWN, media_pb2.ROLE_AGENT: Role.AGENT, media_pb2.ROLE_CUSTOMER: Role.CUSTOMER}
ROLE_VALUES = {role: value for value, role in ROLES.items()}
FEEDBACK_ACTIONS = {value: name.removeprefix("FEEDBACK_ACTION_").lower() for name, value in api.FeedbackAction.items()}
DEFAULT_RATE = 16_000


def call_config(opening: api.Open, settings: AudioSettings) -> CallConfig:
    """How to hear the call. Raises UnsupportedFormat and InvalidArgument for what fits nothing."""
    encoding = ENCODINGS.get(opening.format.encoding)
    if encoding is None:
        raise UnsupportedFormat(
            f"{media_pb2.Encoding.Name(opening.format.encoding)} is not heard as it comes: send a recording as ENCODING_FILE"
        )
    live = opening.pace != api.PACE_BATCH
    if encoding == "file" and live:
        raise UnsupportedFormat("ENCODING_FILE is for pace BATCH: name the encoding of a live call", reason="FILE_NEEDS_BATCH")
    rate = opening.format.sample_rate_hertz if opening.format.HasField("sample_rate_hertz") else DEFAULT_RATE
    channels = opening.format.channels if opening.format.HasField("channels") else max(len(opening.channels), 1)
    if len(opening.channels) > channels:
        raise InvalidArgument(
            f"{len(opening.channels)} roles for {channels} channel",
            reason="TOO_MANY_ROLES",
            violations={"open.channels": "more than format.channels"},
        )
    window, vad = opening.window, opening.vad
    endpoint = EndpointConfig(
        hangover_seconds=seconds(vad.hangover) if vad.HasField("hangover") else settings.hangover_seconds,
        batch_window_seconds=seconds(window.batch) if window.HasField("batch") else settings.batch_window_seconds,
        max_batch_window_seconds=seconds(window.max_batch) if window.HasField("max_batch") else settings.max_batch_window_seconds,
    )
    if endpoint.max_batch_window_seconds < endpoint.batch_window_seconds:
        if window.HasField("max_batch"):
            raise InvalidArgument(
                "window.max_batch is shorter than window.batch",
                reason="INVALID_WINDOW",
                violations={"open.window.max_batch": "shorter than batch"},
            )
        endpoint = EndpointConfig(endpoint.hangover_seconds, endpoint.batch_window_seconds, endpoint.batch_window_seconds)
    return CallConfig(
        encoding=encoding,
        sample_rate=rate,
        channels=channels,
        roles=tuple(ROLES[channel.role] for channel in opening.channels),
        live=live,
        interim=opening.interim if opening.HasField("interim") else live,
        words=opening.words or opening.align,
        threshold_multiplier=vad.threshold_multiplier if vad.HasField("threshold_multiplier") else settings.vad_threshold_multiplier,
        min_energy=vad.min_energy if vad.HasField("min_energy") else settings.vad_min_energy,
        endpoint=endpoint,
        denoise=opening.denoise,
    )


def opened_message(opened: Opened, config: CallConfig, session_id: str, version: str) -> api.Opened:
    """The first event."""
    return api.Opened(
        session_id=session_id,
        engine=_engine(opened.engine, opened.engine_version, opened.model),
        clock_rate=opened.clock_rate,
        languages=opened.languages,
        vad=api.VadSettings(
            threshold_multiplier=config.threshold_multiplier,
            min_energy=config.min_energy,
            hangover=duration(config.endpoint.hangover_seconds),
        ),
        window=api.Window(
            batch=duration(config.endpoint.batch_window_seconds), max_batch=duration(config.endpoint.max_batch_window_seconds)
        ),
        server_version=version,
    )


def event_fields(event: CallEvent) -> dict[str, Any]:
    """The one field of StreamResponse that an event sets."""
    match event:
        case Ack():
            return {
                "ack": api.Ack(received_through=event.received_through, keep_from=event.keep_from, keep_from_frame=event.keep_from_frame)
            }
        case Segment():
            return {"transcript": _transcript(event)}
        case SpeechStarted():
            return {"speech_started": api.SpeechStarted(channel=event.channel, time=duration(event.time))}
        case SpeechEnded():
            return {"speech_ended": api.SpeechEnded(channel=event.channel, time=duration(event.time))}
        case Gap():
            gap = api.Gap(to=event.end)
            setattr(gap, "from", event.start)  # `from` is a Python keyword
            return {"gap": gap}
        case Warned():
            return {"warning": api.Warning(reason=event.reason, message=event.message, segment_id=event.segment_id)}
        case Opened():
            raise AssertionError("opened_message makes this one")


def summary_message(figures: Figures, dropped_partials: int) -> api.Summary:
    """The figures of the call."""
    return api.Summary(
        duration=duration(figures.duration_seconds),
        segments=figures.segments,
        channels=[
            api.ChannelSummary(
                channel=index,
                role=ROLE_VALUES[channel.role],
                segments=channel.segments,
                talk=duration(channel.talk_seconds),
                dtmf_digits=channel.dtmf_digits,
            )
            for index, channel in enumerate(figures.channels)
        ],
        gaps=figures.gaps,
        dropped_partials=dropped_partials,
        failed_segments=figures.failed_segments,
    )


def _engine(name: str, version: str, model: str) -> media_pb2.Engine:
    return media_pb2.Engine(name=name, version=version, model=model)


def _state(segment: Segment) -> transcript_pb2.SegmentState.ValueType:
    if segment.amended:
        return transcript_pb2.SEGMENT_STATE_AMENDED
    return transcript_pb2.SEGMENT_STATE_FINAL if segment.final else transcript_pb2.SEGMENT_STATE_PARTIAL


def _transcript(segment: Segment) -> api.Transcript:
    message = transcript_pb2.Segment(
        id=segment.id,
        revision=segment.revision,
        state=_state(segment),
        channel=segment.channel,
        role=ROLE_VALUES[segment.role],
        speaker=segment.speaker,
        text=segment.text,
        start=duration(segment.start),
        end=duration(segment.end),
        confidence=segment.confidence,
        language=segment.language,
        words=[
            transcript_pb2.Word(
                text=word.text, start=duration(word.start), end=duration(word.end), confidence=word.confidence, speaker=word.speaker
            )
            for word in segment.words
        ],
        engine=_engine(*segment.engine) if segment.engine is not None else None,
    )
    return api.Transcript(segment=message, latency=duration(segment.latency) if segment.latency is not None else None)
