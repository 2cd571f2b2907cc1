"""Endpointing of one channel: from voice activity to utterances.

An utterance starts once 4 of 6 frames are voiced and ends after `hangover` of silence. One that grows past `batch_window` is cut at the
next pause of 150 ms; one that reaches `max_batch_window` is cut where the last second is quietest, and goes on after the cut.
All positions are sample indices of the channel since its run began (a run ends at a gap).
"""

from collections import deque
from dataclasses import dataclass

import numpy as np

from malha.audio.denoise import Denoiser
from malha.audio.vad import FRAME_SECONDS, Footing, Samples, VoiceActivity

START_WINDOW_FRAMES, START_VOICED_FRAMES = 6, 4
START_MASK = (1 << START_WINDOW_FRAMES) - 1
LEAD_SECONDS, TAIL_SECONDS = 0.2, 0.1
"""Audio kept around an utterance: soft consonants lie outside what a detector calls voice."""
PAUSE_SECONDS = 0.15
QUIET_SEARCH_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class EndpointConfig:
    """When utterances end, in seconds."""

    hangover_seconds: float = 0.3
    batch_window_seconds: float = 5.0
    max_batch_window_seconds: float = 10.0


@dataclass(frozen=True, slots=True)
class Started:
    """An utterance began. ``speech_start`` is its first voiced sample, ``start`` the first sample of its audio."""

    start: int
    speech_start: int


@dataclass(frozen=True, slots=True)
class Speech:
    """More audio of the utterance: 16-bit PCM, right after what came before it."""

    pcm: bytes


@dataclass(frozen=True, slots=True)
class Ended:
    """The utterance is over. ``speech_end`` is the acoustic end: the end of its last voiced frame, or the place of the cut.

    ``continues`` tells that speech goes on: the next `Started` begins where this one ends.
    """

    speech_end: int
    continues: bool


EndpointEvent = Started | Speech | Ended


class Endpointer:
    """Cuts one channel into utterances."""

    def __init__(self, voice: VoiceActivity, config: EndpointConfig, sample_rate: int, *, denoise: bool = False) -> None:
        """With ``denoise`` utterances are told without noise. What is voice is judged by the audio as it came, as by every owner of the call."""
        self._voice = voice
        self._rate = sample_rate
        self._denoise = denoise
        self._frame = voice.frame_samples
        self._hangover = _frames(config.hangover_seconds)
        self._batch = _frames(config.batch_window_seconds)
        self._max = max(_frames(config.max_batch_window_seconds), self._batch)
        self._pause = _frames(PAUSE_SECONDS)
        self._lead = int(LEAD_SECONDS * sample_rate)
        self._tail = int(TAIL_SECONDS * sample_rate)
        self._search = _frames(QUIET_SEARCH_SECONDS)
        self._audio = self._make_audio()
        self.incremental = False
        """Whether an utterance's audio is told as it comes; if not, all of it just before its `Ended`."""
        self._begin_run()

    def _begin_run(self) -> None:
        self._frames = 0
        self._phase = 0
        """The sample where frame 0 begins: frames are counted on over audio that was not heard."""
        self._history = 0
        self._speaking = False
        self._start_frame = 0
        self._last_voiced = 0
        self._told = 0
        self._floor = 0
        self._energies: deque[float] = deque(maxlen=self._search)

    @property
    def received(self) -> int:
        """Samples received in this run."""
        return self._audio.end

    @property
    def keep_from(self) -> int:
        """The first sample this endpointer may still need."""
        return (
            min(self._told, self._audio.end)
            if self._speaking
            else max(self._floor, self._audio.end - self._lead - START_WINDOW_FRAMES * self._frame)
        )

    def footings(self) -> list[Footing]:
        """Places to hear this channel again from, since this was asked last."""
        return self._voice.footings()

    @property
    def speaking(self) -> bool:
        """Whether an utterance is open."""
        return self._speaking

    def feed(self, samples: Samples) -> list[EndpointEvent]:
        """Add audio; what it decides."""
        self._audio.append(samples)
        events: list[EndpointEvent] = []
        voiced, energies = self._voice.feed(samples)
        if not self._passes(voiced, energies):
            self._follow(voiced, energies, events)
        if not self._speaking:
            self._audio.drop_before(self.keep_from)
        elif self.incremental:
            self._tell(self._sayable(), events)
        return events

    def _passes(self, voiced: list[bool], energies: list[float]) -> bool:
        """Take in frames that cannot decide anything, at once: silence outside an utterance, and speech far from an end or a cut."""
        count = len(voiced)
        if not self._speaking:
            if True in voiced:
                return False
            self._history = self._history << count & START_MASK
        elif self._frames + count - self._last_voiced < self._hangover and self._frames + count - self._start_frame < self._batch:
            if True in voiced:
                self._last_voiced = self._frames + count - voiced[::-1].index(True)
        else:
            return False
        self._frames += count
        self._energies.extend(energies)
        return True

    def _follow(self, voiced: list[bool], energies: list[float], events: list[EndpointEvent]) -> None:
        """Take in frames one by one."""
        for voice, energy in zip(voiced, energies, strict=True):
            self._frames += 1
            self._energies.append(energy)
            if self._speaking:
                if voice:
                    self._last_voiced = self._frames
                self._end_if_due(events)
            else:
                self._history = (self._history << 1 | voice) & START_MASK
                if voice and self._history.bit_count() >= START_VOICED_FRAMES:
                    events.append(self._start())

    def flush(self) -> list[EndpointEvent]:
        """End the open utterance now, at what was received."""
        events: list[EndpointEvent] = []
        if self._speaking:
            silent = self._frames - self._last_voiced >= self._pause
            self._end(self._audio.end, min(self._sample(self._last_voiced), self._audio.end) if silent else self._audio.end, events)
        return events

    def skip(self, samples: int) -> None:
        """Let ``samples`` of unheard audio pass (mute, hold). The open utterance must have been flushed."""
        if samples:
            self._audio.skip(samples)
            self._voice.reset(self._audio.end)
            self._history = 0
            self._go_on()

    def prime(self, samples: Samples) -> None:
        """Take in audio that was heard before, by another process: only the detector and the noise floor learn from it, from their footing on."""
        self._voice.feed(samples[max(0, self._voice.at - self._audio.end) :])
        self._audio.skip(samples.size)
        self._go_on()

    def _go_on(self) -> None:
        """Utterances lie in what follows."""
        self._frames, self._phase = divmod(self._voice.at, self._frame)
        self._floor = self._audio.end

    def restart(self) -> None:
        """Begin a new run at sample 0: audio is missing before it. The open utterance must have been flushed."""
        self._voice.reset(0)
        self._audio = self._make_audio()
        self._begin_run()

    def _make_audio(self) -> "_Audio":
        return _CleanAudio(self._rate, self._voice) if self._denoise else _Audio()

    def _start(self) -> Started:
        first = self._history.bit_length()
        self._start_frame = self._frames - first
        self._last_voiced = self._frames
        self._speaking = True
        speech_start = max(self._sample(self._start_frame), self._floor)
        self._told = max(speech_start - self._lead, self._floor, self._audio.start)
        return Started(self._told, speech_start)

    def _end_if_due(self, events: list[EndpointEvent]) -> None:
        silence, length = self._frames - self._last_voiced, self._frames - self._start_frame
        if silence >= self._hangover or (length >= self._batch and silence >= self._pause):
            speech_end = self._sample(self._last_voiced)
            self._end(min(speech_end + self._tail, self._audio.end), speech_end, events)
        elif length >= self._max:
            self._cut(events)

    def _end(self, end: int, speech_end: int, events: list[EndpointEvent]) -> None:
        self._tell(end, events)
        self._speaking = False
        self._history = 0
        self._floor = max(end, self._told)
        events.append(Ended(speech_end, continues=False))

    def _cut(self, events: list[EndpointEvent]) -> None:
        energies = np.fromiter(self._energies, np.float64)
        quietest = self._frames - energies.size + int(energies.argmin())
        cut = max(self._sample(quietest) + self._frame // 2, self._told)
        self._tell(cut, events)
        events.append(Ended(cut, continues=True))
        self._floor, self._start_frame = cut, (cut - self._phase) // self._frame
        events.append(Started(cut, cut))

    def _sayable(self) -> int:
        """How far audio may be told: short of where a cut could still fall, once one is near."""
        near = self._start_frame + self._max - self._search
        if self._frames < near:
            return self._audio.end
        return max(self._told, min(self._audio.end, self._sample(near)))

    def _sample(self, frame: int) -> int:
        """The sample of the run where a frame begins."""
        return frame * self._frame + self._phase

    def _tell(self, end: int, events: list[EndpointEvent]) -> None:
        if end > self._told:
            events.append(Speech(self._audio.read(self._told, end)))
            self._told = end
            self._audio.drop_before(end)


def _frames(seconds: float) -> int:
    return max(1, round(seconds / FRAME_SECONDS))


class _Audio:
    """The audio that may still be needed: pieces as they came, without copies, addressed by sample index."""

    def __init__(self) -> None:
        self.start = 0
        self.end = 0
        self._pieces: deque[tuple[int, Samples]] = deque()

    def append(self, samples: Samples) -> None:
        if samples.size:
            self._pieces.append((self.end, samples))
            self.end += samples.size

    def skip(self, samples: int) -> None:
        self._pieces.clear()
        self.end += samples
        self.start = self.end

    def read(self, start: int, end: int) -> bytes:
        return b"".join(
            piece[max(start - at, 0) : end - at].tobytes() for at, piece in self._pieces if at < end and at + piece.size > start
        )

    def drop_before(self, start: int) -> None:
        pieces = self._pieces
        while pieces and pieces[0][0] + pieces[0][1].size <= start:
            pieces.popleft()
        self.start = pieces[0][0] if pieces else self.end


class _CleanAudio(_Audio):
    """Audio that is read without its noise, but for the last moment, which the filter has not done: that is read as it came."""

    def __init__(self, sample_rate: int, voice: VoiceActivity) -> None:
        super().__init__()
        self._rate = sample_rate
        self._voice = voice
        self._denoiser: Denoiser | None = None
        self._clean = _Audio()

    def append(self, samples: Samples) -> None:
        if self._denoiser is None:
            self._denoiser = Denoiser(self._rate)
        super().append(samples)
        self._clean.append(self._denoiser.feed(samples, self._voice.noise_floor))

    def skip(self, samples: int) -> None:
        super().skip(samples)
        self._denoiser, self._clean = None, _Audio()
        self._clean.skip(self.end)

    def read(self, start: int, end: int) -> bytes:
        ready = min(max(start, self._clean.end), end)
        return self._clean.read(start, ready) + super().read(ready, end)

    def drop_before(self, start: int) -> None:
        super().drop_before(start)
        self._clean.drop_before(start)
