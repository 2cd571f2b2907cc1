"""One call: audio in the client's format becomes utterances, their transcripts and the figures of the call.

A call knows no protobuf and no network but Transcribe's; service.py turns what it tells into the contract's events.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from malha.api.transcribe.v1 import transcribe_pb2 as transcribe_api
from malha.audio.endpointing import Ended, EndpointConfig, Endpointer, EndpointEvent, Speech, Started
from malha.audio.events import (
    Ack,
    CallEvent,
    ChannelFigures,
    Figures,
    Gap,
    Opened,
    Role,
    SpeechEnded,
    SpeechStarted,
    Warned,
)
from malha.audio.formats.base import RAW_ENCODINGS, Decoder, create_decoder
from malha.audio.formats.resample import Resampler
from malha.audio.recogniser import ChannelRecogniser, Listener, Utterance
from malha.audio.results import OpenUtterance, Results
from malha.audio.timeline import Timeline
from malha.audio.vad import RATES, Samples, VoiceActivity
from malha.runtime.errors import UnsupportedFormat

ACK_SECONDS = 1.0
PRE_ROLL_SECONDS = 2.0
"""Audio a client keeps before what is open, so that a new owner of the call can find its footing (voice activity, noise floor)."""
WORKING_RATE = 16_000
FEED_BYTES = 4_096
"""How much of a container is decoded before other calls have their turn."""


@dataclass(frozen=True, slots=True)
class CallConfig:
    """How a call is heard. ``sample_rate`` and ``channels`` are those of raw audio; containers bring their own."""

    encoding: str
    sample_rate: int
    channels: int
    roles: tuple[Role, ...]
    live: bool
    interim: bool
    words: bool
    threshold_multiplier: float
    min_energy: float
    endpoint: EndpointConfig


RecogniserFactory = Callable[[int, Listener], ChannelRecogniser]
"""Makes the recogniser of one channel for audio of a sample rate."""


class _Channel:
    """One channel: endpointing, recognition and figures."""

    def __init__(self, index: int, role: Role, endpointer: Endpointer, recogniser: ChannelRecogniser, resampler: Resampler | None) -> None:
        self.index = index
        self.endpointer = endpointer
        self.recogniser = recogniser
        self.resampler = resampler
        self.figures = ChannelFigures(role)
        self.muted = False
        self.utterance: Utterance | None = None
        self.ordinal = 0


class Call:
    """A call from its first audio to its last final. One task at a time may use it."""

    def __init__(self, config: CallConfig, recogniser: RecogniserFactory, emit: Callable[[CallEvent, int], None]) -> None:
        """``emit(event, position)`` is told every event, with how far the audio had come when it was decided."""
        self.figures = Figures([])
        self._config = config
        self._recogniser = recogniser
        self._emit = emit
        self._raw = config.encoding in RAW_ENCODINGS
        self._timeline = Timeline()
        self._results = Results(emit, self.figures, self._timeline, live=config.live)
        self._decoder: Decoder | None = None
        self._channels: list[_Channel] = []
        self._rate = 0
        self._working_rate = WORKING_RATE
        self._base_seconds = 0.0
        self._base_position = 0
        self._on_hold = False
        self._acked_at = time.monotonic()
        self._arrivals: deque[tuple[int, float]] = deque(maxlen=64)
        """(samples of this run through which audio came, when)"""
        self._restarts: deque[tuple[int, int]] = deque([(0, 0)], maxlen=512)
        """(frame, byte) of the places a container can be decoded from again"""

    async def open(self) -> Opened:
        """Connect the recognisers. Raises UnsupportedFormat, or what Transcribe answers."""
        config = self._config
        if config.encoding != "pcm":
            self._decoder = create_decoder(config.encoding, config.sample_rate, config.channels)
        opened = await self._open_channels(config.channels, config.sample_rate)
        return Opened(
            engine=opened.engine.name,
            engine_version=opened.engine.version,
            model=opened.engine.model,
            languages=(opened.language,) if opened.language else (),
            clock_rate=config.sample_rate if self._raw else 0,
        )

    async def add(self, content: bytes, position: int | None) -> None:
        """Take in audio in the client's encoding; returns once there is room for more. Raises UnsupportedFormat for what cannot be decoded."""
        decoder = self._decoder
        assert decoder is not None
        length = len(content) // self._frame_bytes if self._raw else len(content)
        placement = self._timeline.place(position, length)
        if placement.gap is not None:
            self._on_gap(*placement.gap)
        if placement.trim:
            content = content[placement.trim * self._frame_bytes :] if self._raw else content[placement.trim :]
        if self._raw:
            if content:
                self.add_samples(decoder.feed(content), decoder.sample_rate or 0)
        else:
            await self._feed_container(decoder, content)
        await self.room()

    async def _feed_container(self, decoder: Decoder, content: bytes) -> None:
        """Little by little: a few kilobytes of hostile Opus can hold minutes of audio, and other calls have their turn between."""
        for at in range(0, len(content), FEED_BYTES):
            self.add_samples(decoder.feed(content[at : at + FEED_BYTES]), decoder.sample_rate or 0)
            self._restarts.append((decoder.keep_from_frame, decoder.keep_from_byte))
            if at:
                await asyncio.sleep(0)

    def add_samples(self, samples: Samples, sample_rate: int) -> None:
        """Take in decoded audio of shape (frames, channels). Every call to it after the first has the same rate and channels."""
        frames, given = samples.shape
        if not frames:
            return
        if not self._rate:
            self._set_up(sample_rate, given)
        now = time.monotonic()
        received = 0
        if given > 1 and len(self._channels) == 1:
            samples, given = samples.mean(axis=1, keepdims=True).astype(np.int16), 1
        for channel in self._channels:
            mono = samples.ravel() if given == 1 else np.ascontiguousarray(samples[:, channel.index])
            if channel.resampler is not None:
                mono = channel.resampler.feed(mono)
            if self._on_hold or channel.muted:
                channel.endpointer.skip(mono.size)
            else:
                if not received:
                    received = channel.endpointer.received + mono.size
                    self._arrivals.append((received, now))
                for event in channel.endpointer.feed(mono):
                    self._on_endpoint(channel, event)
        if now - self._acked_at >= ACK_SECONDS:
            self.acknowledge(now)

    def count(self, units: int) -> None:
        """Count audio that is gathered before it is heard (a file), and acknowledge it each second."""
        self._timeline.place(None, units)
        now = time.monotonic()
        if now - self._acked_at >= ACK_SECONDS:
            self._acked_at = now
            self._emit(Ack(self._timeline.received_through, 0), self._timeline.received_through)

    async def expect_channels(self, count: int) -> None:
        """Listen to ``count`` channels, where a file turned out to have more than roles were given."""
        if self._rate == 0 and count > len(self._channels):
            await self._open_channels(count, self._config.sample_rate)

    @property
    def received_through(self) -> int:
        """The position all audio before which was received."""
        return self._timeline.received_through

    async def room(self) -> None:
        """Wait while too much audio waits for its finals."""
        for channel in self._channels:
            if channel.recogniser.crowded:
                await channel.recogniser.room()

    def acknowledge(self, now: float | None = None) -> None:
        """Tell how far the audio is received and which of it may be forgotten."""
        self._acked_at = time.monotonic() if now is None else now
        self._emit(Ack(self._timeline.received_through, self._keep_from()), self._timeline.received_through)

    def flush(self) -> None:
        """End every open utterance now."""
        for channel in self._channels:
            for event in channel.endpointer.flush():
                self._on_endpoint(channel, event)

    def mute(self, index: int | None, muted: bool) -> None:
        """Stop or start listening to a channel, or to all."""
        for channel in self._channels:
            if index is None or channel.index == index:
                if muted:
                    for event in channel.endpointer.flush():
                        self._on_endpoint(channel, event)
                channel.muted = muted

    def hold(self, on_hold: bool) -> None:
        """Stop or start listening to the whole call. Time goes on."""
        if on_hold:
            self.flush()
        self._on_hold = on_hold

    def dtmf(self, digits: str) -> None:
        """Count pressed keys on the customer's channel, or the first. They may be a card number: they are not kept."""
        customer = next((channel for channel in self._channels if channel.figures.role is Role.CUSTOMER), self._channels[0])
        customer.figures.dtmf_digits += len(digits)

    async def finish(self) -> Figures:
        """Take the call to its end: every utterance gets its final. Returns the call's figures."""
        if self._decoder is not None:
            self.add_samples(self._decoder.finish(), self._decoder.sample_rate or 0)
        self.flush()
        for channel in self._channels:
            await channel.recogniser.finish()
        self.figures.duration_seconds = self._seconds(max((channel.endpointer.received for channel in self._channels), default=0))
        self.acknowledge()
        return self.figures

    async def close(self) -> None:
        """Stop all work at once."""
        await asyncio.gather(*(channel.recogniser.close() for channel in self._channels))

    @property
    def _frame_bytes(self) -> int:
        return self._config.channels * (2 if self._config.encoding == "pcm16" else 1)

    async def _open_channels(self, count: int, sample_rate: int) -> transcribe_api.Opened:
        """Open recognisers before the audio is known: raw audio's rate is given, containers are taken to 16 kHz."""
        rate = self._working_rate = sample_rate if self._raw and sample_rate in RATES else WORKING_RATE
        for index in range(len(self._channels), count):
            role = self._config.roles[index] if index < len(self._config.roles) else Role.UNKNOWN
            self._channels.append(self._make_channel(index, role, rate))
            channel = self._channels[index]
            channel.endpointer.incremental = (await channel.recogniser.open()).incremental
        self.figures.channels = [channel.figures for channel in self._channels]
        return self._channels[0].recogniser.opened

    def _make_channel(self, index: int, role: Role, rate: int) -> _Channel:
        voice = VoiceActivity(rate, self._config.threshold_multiplier, self._config.min_energy)
        recogniser = self._recogniser(rate, self._results.listener)
        return _Channel(index, role, Endpointer(voice, self._config.endpoint, rate), recogniser, None)

    def _set_up(self, sample_rate: int, channels: int) -> None:
        """The first samples tell a container's rate."""
        self._rate = sample_rate
        if sample_rate != self._working_rate:
            for channel in self._channels:
                channel.resampler = Resampler(sample_rate, self._working_rate)
        if channels < len(self._channels):
            message = f"the audio has {channels} channel and the call has {len(self._channels)} roles: every channel hears the same"
            self._emit(Warned("FEWER_CHANNELS", message), self._timeline.received_through)

    def _seconds(self, samples: int) -> float:
        return self._base_seconds + samples / self._working_rate

    def _position(self, samples: int) -> int:
        """The client's position of a sample of this run; of containers, the latest place before it that decoding can restart from."""
        frame = samples * self._rate // self._working_rate
        if self._raw:
            return self._base_position + frame
        return next((byte for at, byte in reversed(self._restarts) if at <= frame), 0)

    @property
    def _container_pre_roll(self) -> int:
        """Samples of pre-roll, taken off before a container's byte is looked up; raw positions have theirs taken off in the end."""
        return 0 if self._raw else int(PRE_ROLL_SECONDS * self._working_rate)

    def _on_gap(self, start: int, end: int) -> None:
        self.flush()
        self.figures.gaps += 1
        self._emit(Gap(start, end), end)
        if not self._raw:
            raise UnsupportedFormat(
                f"bytes {start} to {end} of the container are missing: send it without holes, or send raw audio", reason="CONTAINER_GAP"
            )
        for channel in self._channels:
            channel.endpointer.restart()
        self._arrivals.clear()
        self._base_position = end
        self._base_seconds = end / self._config.sample_rate

    def _keep_from(self) -> int:
        """The first position that may be needed again: of what waits for a final or is open, less the pre-roll."""
        needed = []
        for channel in self._channels:
            waiting = channel.recogniser.waiting
            needed.append(
                waiting[0].context.start_position if waiting else self._position(channel.endpointer.keep_from - self._container_pre_roll)
            )
        if not self._raw:
            return min(needed)
        return max(0, min(needed) - int(PRE_ROLL_SECONDS * self._config.sample_rate))

    def _on_endpoint(self, channel: _Channel, event: EndpointEvent) -> None:
        position = self._timeline.received_through
        if isinstance(event, Speech):
            assert channel.utterance is not None
            channel.recogniser.add(channel.utterance, event)
        elif isinstance(event, Started):
            channel.ordinal += 1
            context = OpenUtterance(
                channel.index,
                channel.figures,
                f"{channel.index}-{channel.ordinal}",
                self._seconds(event.start),
                self._seconds(event.speech_start),
                self._position(event.start - self._container_pre_roll),
            )
            channel.utterance = channel.recogniser.begin(context)
            self._emit(SpeechStarted(channel.index, context.start), position)
        elif isinstance(event, Ended):
            self._on_ended(channel, event, position)

    def _on_ended(self, channel: _Channel, event: Ended, position: int) -> None:
        utterance, channel.utterance = channel.utterance, None
        assert utterance is not None
        context: OpenUtterance = utterance.context
        context.end = self._seconds(event.speech_end)
        context.decided_position = position
        context.arrived = next((when for through, when in self._arrivals if through >= event.speech_end), time.monotonic())
        channel.figures.talk_seconds += context.end - context.start
        self._emit(SpeechEnded(channel.index, context.end), position)
        channel.recogniser.end(utterance)
