"""What a call is opened with."""

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from malha.sdk._format import Format
from malha.sdk._gen.malha.api.audio import v1 as audio
from malha.sdk._gen.malha.api.common import v1 as common
from malha.sdk.errors import InvalidRequest
from malha.sdk.events import Role

Pace = Literal["live", "batch"]
"""As it is spoken, or as fast as the server takes it."""

_LIVE_MESSAGE_SECONDS = 0.1
_BATCH_MESSAGE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class VadSettings:
    """When sound counts as speech. None: the server's default."""

    threshold_multiplier: float | None = None
    """How many times louder than the noise floor speech is, 1 to 100."""
    min_energy: float | None = None
    """RMS of 16-bit samples under which nothing is speech."""
    hangover_seconds: float | None = None
    """Silence that ends an utterance, 0.09 to 5."""


@dataclass(frozen=True, slots=True)
class Window:
    """How long an utterance may grow, 1 to 29 s. None: the server's default."""

    batch_seconds: float | None = None
    """After this much it is cut at the next short pause."""
    max_batch_seconds: float | None = None
    """After this much it is cut where the last second is quietest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallSettings:
    """What ``open`` says."""

    format: Format
    pace: Pace = "live"
    languages: tuple[str, ...] = ()
    roles: tuple[Role, ...] = ()
    conversation_id: str = ""
    model: str = ""
    interim: bool | None = None
    words: bool = False
    diarize: bool = False
    insights: bool = False
    insight_policy: str = ""
    verbatim: bool = False
    denoise: bool = False
    vad: VadSettings | None = None
    window: Window | None = None

    def __post_init__(self) -> None:
        check_choice("pace", self.pace, get_args(Pace))
        for role in self.roles:
            check_choice("role", role, get_args(Role))
        if self.format.encoding == "file" and self.pace != "batch":
            raise InvalidRequest("encoding='file' is for whole recordings: it needs pace='batch', or transcribe()")
        if len(self.roles) > 2:
            raise InvalidRequest(f"{len(self.roles)} roles: audio has 1 or 2 channels")
        if self.roles and self.format.channels not in {None, len(self.roles)}:
            raise InvalidRequest(f"{len(self.roles)} roles for {self.format.channels} channels: give one role for each channel")

    @property
    def message_bytes(self) -> int:
        """How much audio to gather for a message."""
        return self.format.ready_bytes(_LIVE_MESSAGE_SECONDS if self.pace == "live" else _BATCH_MESSAGE_SECONDS)

    def to_message(self) -> audio.StreamRequest:
        return audio.StreamRequest(
            open=audio.Open(
                conversation_id=self.conversation_id,
                languages=list(self.languages),
                format=self.format.to_message(),
                channels=[audio.Channel(role=common.Role[role.upper() or "UNSPECIFIED"]) for role in self.roles],
                pace=audio.Pace[self.pace.upper()],
                vad=None if self.vad is None else _vad_message(self.vad),
                denoise=self.denoise,
                window=None if self.window is None else _window_message(self.window),
                diarize=self.diarize,
                insights=self.insights,
                insight=audio.InsightSettings(policy=self.insight_policy),
                verbatim=self.verbatim,
                model=self.model,
                interim=self.interim,
                words=self.words,
            )
        )


def check_choice(name: str, value: str, choices: Iterable[str]) -> None:
    """Raise InvalidRequest where ``value`` is none of ``choices``."""
    if value not in choices:
        raise InvalidRequest(f"unknown {name} {value!r}: it is one of {', '.join(repr(choice) for choice in choices)}")


def _vad_message(vad: VadSettings) -> audio.VadSettings:
    return audio.VadSettings(
        threshold_multiplier=vad.threshold_multiplier, min_energy=vad.min_energy, hangover=_duration(vad.hangover_seconds)
    )


def _window_message(window: Window) -> audio.Window:
    return audio.Window(batch=_duration(window.batch_seconds), max_batch=_duration(window.max_batch_seconds))


def _duration(seconds: float | None) -> dt.timedelta | None:
    return None if seconds is None else dt.timedelta(seconds=seconds)
