"""One call: audio in the client's format becomes utterances, their transcripts and the figures of the call.

A call knows no protobuf and no network but Transcribe's; service.py turns what it tells into the contract's events.
"""

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from malha.api.transcribe.v1 import transcribe_pb2 as transcribe_api
from malha.audio.channel import Channel
from malha.audio.endpointing import EndpointConfig, Endpointer
from malha.audio.events import Ack, CallEvent, Figures, Gap, Opened, Role, Warned
from malha.audio.formats.base import RAW_ENCODINGS, Decoder, create_decoder
from malha.audio.formats.resample import Resampler
from malha.audio.progress import Progress, Turn
from malha.audio.recogniser import ChannelRecogniser, Listener
from malha.audio.recorder import CallRecorder
from malha.audio.results import Results
from malha.audio.speakers import CallSpeakers
from malha.audio.texts import CallTexts
from malha.audio.timeline import Timeline
from malha.audio.track import Track
from malha.audio.utterances import Utterances
from malha.audio.vad import RATES, START, Footing, Samples, VoiceActivity
from malha.runtime.errors import UnsupportedFormat

ACK_SECONDS = 1.0
WORKING_RATE = 16_000
FEED_BYTES = 4_096
"""How much of a container is decoded before other calls have their turn."""
HEADER_BYTES = 65_536
"""Containers with a longer header than this cannot be resumed."""


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
    denoise: bool = False


RecogniserFactory = Callable[[int, Listener], ChannelRecogniser]
"""Makes the recogniser of one channel for audio of a sample rate."""


class Call:
    """A call from its first audio to its last final. One task at a time may use it."""

    def __init__(
        self,
        config: CallConfig,
        recogniser: RecogniserFactory,
        emit: Callable[[CallEvent, int], None],
        progress: Progress | None = None,
        texts: CallTexts | None = None,
        speakers: CallSpeakers | None = None,
    ) -> None:
        """``emit(event, position)`` is told every event, with how far the audio had come when it was decided. ``progress`` is where an
        earlier owner of the call was. ``texts`` decides how what is said may be shown; None: as it was recognised. ``speakers`` hears who speaks, where that is wanted.
        """
        self.recorder: CallRecorder | None = None
        """Where its tenant wants the call recorded. What is muted or on hold is not."""
        self.insights = progress is None or progress.insights
        """Whether they are wanted, where the call has any."""
        self.figures = Figures([]) if progress is None else Figures([], gaps=progress.gaps, failed_segments=progress.failed_segments)
        self._config = config
        self._recogniser = recogniser
        self._emit = emit
        self._raw = config.encoding in RAW_ENCODINGS
        self._resumed = progress
        self._timeline = Timeline(progress.position if progress is not None else 0)
        self._texts = texts
        self._speakers = speakers
        self._results = Results(emit, self.figures, self._timeline, texts, live=config.live)
        self._decoder: Decoder | None = None
        self._channels: list[Channel] = []
        self._rate = 0
        working = config.sample_rate if self._raw and config.sample_rate in RATES else WORKING_RATE
        rate = config.sample_rate if self._raw else progress.rate if progress is not None else working
        start = (progress.frame, progress.position) if progress is not None else (0, 0)
        self._track = Track(raw=self._raw, working_rate=working, rate=rate, start=start)
        self._header = bytearray(progress.header if progress is not None else b"")
        self._gap_through = progress.gap_through if progress is not None else 0
        """Where the last gap that was told ended."""
        self._utterances = Utterances(emit, self._timeline, self._track)
        self._acked_at = time.monotonic()

    async def open(self) -> Opened:
        """Connect the recognisers. Raises UnsupportedFormat, or what Transcribe answers."""
        config = self._config
        if config.encoding != "pcm":
            self._decoder = self._make_decoder()
        opened = await self._open_channels(config.channels)
        return Opened(
            engine=opened.engine.name,
            engine_version=opened.engine.version,
            model=opened.engine.model,
            languages=(opened.language,) if opened.language else (),
            clock_rate=config.sample_rate if self._raw else 0,
            aligns=opened.align,
        )

    def _make_decoder(self) -> Decoder:
        config, resumed = self._config, self._resumed
        decoder = create_decoder(config.encoding, config.sample_rate, config.channels)
        if resumed is not None and not self._raw and resumed.position:
            if not resumed.header:
                raise UnsupportedFormat("this container cannot be read from the middle: open a new call", reason="CONTAINER_GAP")
            decoder.feed(resumed.header)
            decoder.restart(resumed.position, resumed.frame)
        return decoder

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
        if not decoder.header_bytes and len(self._header) < HEADER_BYTES:
            self._header += content
        for at in range(0, len(content), FEED_BYTES):
            self.add_samples(decoder.feed(content[at : at + FEED_BYTES]), decoder.sample_rate or 0)
            self._track.restart_at(decoder.keep_from_frame, decoder.keep_from_byte)
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
            if channel.heard_through:
                mono = channel.prime(mono, self._track)
            if channel.ahead:
                mono = self._turn_again(channel, mono)
            if channel.deaf:
                channel.endpointer.skip(mono.size)
            else:
                if not received:
                    received = channel.endpointer.received + mono.size
                    self._utterances.came(received, now)
                self._hear(channel, mono)
        if now - self._acked_at >= ACK_SECONDS:
            self.acknowledge(now)

    def _hear(self, channel: Channel, mono: Samples) -> None:
        if self.recorder is not None:
            began = self._track.seconds(channel.endpointer.received)
            self.recorder.add(channel.index, mono, began, self._track.working_rate)
        if self._speakers is not None:
            self._speakers.add(mono, self._track.seconds(channel.endpointer.received), self._track.working_rate)
        for event in channel.endpointer.feed(mono):
            self._utterances.take(channel, event)

    def _turn_again(self, channel: Channel, mono: Samples) -> Samples:
        """Mute, hold and listen where an earlier owner did; what is left."""
        while channel.ahead:
            before = max(self._track.samples(channel.ahead[0].frame) - channel.endpointer.received, 0)
            if before > mono.size:
                break
            if channel.deaf:
                channel.endpointer.skip(before)
            else:
                self._hear(channel, mono[:before])
            mono = mono[before:]
            self._turn(channel, channel.ahead.popleft())
        return mono

    def count(self, units: int) -> None:
        """Count audio that is gathered before it is heard (a file), and acknowledge it each second."""
        self._timeline.place(None, units)
        now = time.monotonic()
        if now - self._acked_at >= ACK_SECONDS:
            self._acked_at = now
            self._emit(Ack(self._timeline.received_through, 0, 0), self._timeline.received_through)

    async def expect_file(self, channels: int, *, twins: bool, gain: float) -> None:
        """Before the first audio of a file: listen to its ``channels``, though roles were given for fewer.

        ``twins``: it has two, which are the same, and ``channels`` is 1. Who is on which nobody knows then; speakers are told apart as in any mono
        call. ``gain``: by what its samples were multiplied.
        """
        if self._rate:
            return
        if gain != 1:
            told = f"the recording is quiet: it is heard {20 * math.log10(gain):.0f} dB louder"
            self._emit(Warned("QUIET_AUDIO", told), self._timeline.received_through)
        if twins:
            await self._hear_one()
        elif channels > len(self._channels):
            await self._open_channels(channels)

    async def _hear_one(self) -> None:
        self._emit(
            Warned("EQUAL_CHANNELS", "both channels of the file are the same: they are heard as one"), self._timeline.received_through
        )
        first, *others = self._channels
        for channel in others:
            first.figures.role = Role.UNKNOWN
            await channel.recogniser.close()
        self._channels, self.figures.channels = [first], [first.figures]

    @property
    def received_through(self) -> int:
        """The position all audio before which was received."""
        return self._timeline.received_through

    @property
    def seconds(self) -> float:
        """Media time, from the start of the call."""
        return self._track.seconds(max((channel.endpointer.received for channel in self._channels), default=0))

    @property
    def resumed_from(self) -> tuple[int, int]:
        """(position, frame) where an earlier owner's audio is heard on from; zeros for a call that began here."""
        return (self._resumed.position, self._resumed.frame) if self._resumed is not None else (0, 0)

    async def room(self) -> None:
        """Wait while too much audio waits for its finals."""
        for channel in self._channels:
            if channel.recogniser.crowded:
                await channel.recogniser.room()
        if self._speakers is not None:
            await self._speakers.room()

    def acknowledge(self, now: float | None = None) -> None:
        """Tell how far the audio is received and which of it may be forgotten."""
        self._acked_at = time.monotonic() if now is None else now
        self._emit(Ack(self._timeline.received_through, *self._kept()), self._timeline.received_through)

    def flush(self) -> None:
        """End every open utterance now."""
        for channel in self._channels:
            self._flush(channel)

    def mute(self, index: int | None, muted: bool) -> None:
        """Stop or start listening to a channel, or to all. Who mutes one that is none is told: all is heard on."""
        if muted and index is not None and index >= len(self._channels):
            self._emit(Warned("NO_SUCH_CHANNEL", f"the call has no channel {index}: nothing was muted"), self._timeline.received_through)
        for channel in self._channels:
            if index is None or channel.index == index:
                self._turn(channel, channel.said(self._now(channel), muted=muted))

    def hold(self, on_hold: bool) -> None:
        """Stop or start listening to the whole call. Time goes on."""
        for channel in self._channels:
            self._turn(channel, channel.said(self._now(channel), on_hold=on_hold))

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
        if self._texts is not None:
            self._texts.finish()
        if self._speakers is not None:
            await self._speakers.finish()
        self.figures.duration_seconds = self.seconds
        self.acknowledge()
        return self.figures

    async def close(self) -> None:
        """Stop all work at once."""
        if self.recorder is not None:
            self.recorder.close()
        if self._texts is not None:
            self._texts.close()
        if self._speakers is not None:
            await self._speakers.close()
        await asyncio.gather(*(channel.recogniser.close() for channel in self._channels))

    @property
    def _frame_bytes(self) -> int:
        return self._config.channels * (2 if self._config.encoding == "pcm16" else 1)

    async def _open_channels(self, count: int) -> transcribe_api.Opened:
        """Open recognisers before the audio is known: raw audio's rate is given, containers are taken to 16 kHz."""
        for index in range(len(self._channels), count):
            role = self._config.roles[index] if index < len(self._config.roles) else Role.UNKNOWN
            channel = self._make_channel(index, role)
            self._channels.append(channel)
            channel.endpointer.incremental = (await channel.recogniser.open()).incremental
        self.figures.channels = [channel.figures for channel in self._channels]
        return self._channels[0].recogniser.opened

    def _make_channel(self, index: int, role: Role) -> Channel:
        rate, resumed = self._track.working_rate, self._resumed
        known = resumed.channels[index] if resumed is not None and index < len(resumed.channels) else None
        footing = Footing(self._track.samples(known.footing.frame), *known.footing[1:]) if known is not None else START
        voice = VoiceActivity(rate, self._config.threshold_multiplier, self._config.min_energy, footing)
        recogniser = self._recogniser(rate, self._results.listener)
        channel = Channel(index, role, Endpointer(voice, self._config.endpoint, rate, denoise=self._config.denoise), recogniser)
        if known is not None:
            channel.restore(known)
        return channel

    def _set_up(self, sample_rate: int, channels: int) -> None:
        """The first samples tell a container's rate."""
        self._rate = self._track.rate = sample_rate
        if self._speakers is not None:
            self._speakers.apart = len(self._channels) > 1
        if sample_rate != self._track.working_rate:
            for channel in self._channels:
                channel.resampler = Resampler(sample_rate, self._track.working_rate)
        if channels < len(self._channels):
            message = f"the audio has {channels} channel and the call has {len(self._channels)}: every channel hears the same"
            self._emit(Warned("FEWER_CHANNELS", message), self._timeline.received_through)

    def _turn(self, channel: Channel, turn: Turn) -> None:
        if turn.deaf:
            self._flush(channel)
        channel.turn(turn)

    def _now(self, channel: Channel) -> int:
        return self._track.frame(channel.endpointer.received)

    def _flush(self, channel: Channel) -> None:
        for event in channel.endpointer.flush():
            self._utterances.take(channel, event)

    def _on_gap(self, start: int, end: int) -> None:
        self.flush()
        if end > self._gap_through:  # else an earlier owner has told it
            self._gap_through = end
            self.figures.gaps += 1
            self._emit(Gap(start, end), end)
        if not self._raw:
            raise UnsupportedFormat(
                f"bytes {start} to {end} of the container are missing: send it without holes, or send raw audio", reason="CONTAINER_GAP"
            )
        for channel in self._channels:
            channel.restart(self._track)
        self._utterances.restart()
        self._track.begin(end)

    def _kept(self) -> tuple[int, int]:
        """(position, frame) from which on audio may be needed again."""
        return self._track.kept(min(channel.needed(self._track) for channel in self._channels))

    def progress(self) -> Progress:
        """How far the call has come, as of the last final told."""
        position, frame = self._kept()
        header_bytes = self._decoder.header_bytes if self._decoder is not None else 0
        return Progress(
            position=position,
            frame=frame,
            rate=self._track.rate,
            channels=tuple(channel.progress(self._track) for channel in self._channels),
            gaps=self.figures.gaps,
            gap_through=self._gap_through,
            failed_segments=self.figures.failed_segments,
            insights=self.insights,
            header=bytes(self._header[:header_bytes]),
        )
