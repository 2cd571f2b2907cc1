"""Opus packets as the containers carry them: the identification header (RFC 7845) and decoding by libopus (RFC 6716)."""

import struct
from dataclasses import dataclass

import av
import numpy as np

from malha.audio.formats.samples import MAX_CHANNELS, Samples, corrupt, no_samples
from malha.runtime.errors import FailedPrecondition, UnsupportedFormat

OPUS_RATE_HERTZ = 48_000
"""Opus always decodes at this rate, whatever rate its header names."""
MAX_PACKET_FRAMES = 5_760
"""120 ms, the longest packet."""
MAX_BURST_SECONDS = 120
"""A packet of two bytes may stand for 120 ms: without a bound a small hostile message would become gigabytes of samples."""
MAX_BAD_PACKETS = 25
"""So many damaged packets in a row are not damage: they are not Opus."""

_HEAD = struct.Struct("<8sBBHIhB")
_MAGIC = b"OpusHead"


@dataclass(frozen=True, slots=True)
class OpusHead:
    """The identification header of a stream, RFC 7845 section 5.1."""

    channels: int
    pre_skip: int
    """Frames at 48 kHz to drop from the start: the encoder's delay."""
    input_rate: int
    gain: int
    """To apply to the output, in 1/256 dB."""

    @classmethod
    def parse(cls, data: bytes) -> "OpusHead":
        """Raises UnsupportedFormat if this is no such header, or has more than two channels."""
        if len(data) < _HEAD.size or not data.startswith(_MAGIC):
            raise corrupt("the Opus identification header is missing or too short")
        _, version, channels, pre_skip, input_rate, gain, family = _HEAD.unpack_from(data)
        if version >> 4:
            raise corrupt("the Opus identification header has an unknown version")
        if family != 0 or not 1 <= channels <= MAX_CHANNELS:
            raise UnsupportedFormat("Opus with more than two channels is not supported: supported are mono and stereo")
        return cls(channels, pre_skip, input_rate, gain)

    def pack(self) -> bytes:
        return _HEAD.pack(_MAGIC, 1, self.channels, self.pre_skip, self.input_rate, self.gain, 0)


def packet_frames(packet: bytes) -> int:
    """Frames at 48 kHz a packet stands for, from its table of contents (RFC 6716 section 3.1); 0 if it is malformed."""
    if not packet:
        return 0
    configuration, count_code = packet[0] >> 3, packet[0] & 0x03
    if configuration < 12:  # SILK: 10, 20, 40, 60 ms
        frames = (480, 960, 1920, 2880)[configuration & 0x03]
    elif configuration < 16:  # hybrid: 10, 20 ms
        frames = (480, 960)[configuration & 0x01]
    else:  # CELT: 2.5, 5, 10, 20 ms
        frames = 120 << (configuration & 0x03)
    if count_code == 0:
        count = 1
    elif count_code < 3:
        count = 2
    else:
        count = packet[1] & 0x3F if len(packet) > 1 else 0
    total = frames * count
    return total if total <= MAX_PACKET_FRAMES else 0


class OpusDecoder:
    """Decodes packets in order; the samples gather until they are taken.

    The pre-skip is dropped here, not by the library, so that decoding can restart in the middle of a stream. libopus is used rather than
    FFmpeg's own decoder: 35 kB instead of 220 kB for each stream, and it gives 16 bits.
    """

    def __init__(self, head: OpusHead) -> None:
        try:
            self._codec = av.CodecContext.create("libopus", "r")
        except av.codec.codec.UnknownCodecError as error:
            raise FailedPrecondition("this build of PyAV has no libopus: install the 'av' wheel from PyPI") from error
        self._codec.extradata = OpusHead(head.channels, 0, head.input_rate, head.gain).pack()
        self.channels = head.channels
        self.frames = 0
        """Frames given since the start of the stream, those not taken yet included."""
        self._skip = head.pre_skip
        self._bad = 0
        self._pending: list[Samples] = []
        self._pending_frames = 0

    def restart(self, frame: int, *, skipped: bool) -> None:
        """The next packet's first frame is number ``frame``. ``skipped``: the pre-skip lies before it."""
        self.frames = frame
        self._pending, self._pending_frames = [], 0
        if skipped:
            self._skip = 0

    def push(self, packet: bytes) -> int:
        """Decode a packet and return the frames it stands for. A damaged one becomes silence, so that the times after it stay right.

        Raises UnsupportedFormat when too many in a row are damaged, or when more than ``MAX_BURST_SECONDS`` wait to be taken.
        """
        frames = packet_frames(packet)
        samples = self._decode(packet, frames)
        if self._skip:
            cut = min(self._skip, len(samples))
            self._skip -= cut
            samples = samples[cut:]
        self._pending.append(samples)
        self._pending_frames += len(samples)
        self.frames += len(samples)
        if self._pending_frames > MAX_BURST_SECONDS * OPUS_RATE_HERTZ:
            raise UnsupportedFormat(f"more than {MAX_BURST_SECONDS} s of audio came at once: send smaller pieces", reason="AUDIO_BURST")
        return frames

    def drop_tail(self, frames: int) -> None:
        """Drop the last ``frames`` that were pushed and not taken: a container's end trimming."""
        samples = self.take()
        kept = samples[: max(len(samples) - frames, 0)]
        self.frames -= len(samples) - len(kept)
        self._pending, self._pending_frames = [kept], len(kept)

    def take(self) -> Samples:
        """All samples pushed since the last call, at 48 kHz."""
        pending, self._pending, self._pending_frames = self._pending, [], 0
        return np.concatenate(pending) if pending else no_samples(self.channels)

    def _decode(self, packet: bytes, frames: int) -> Samples:
        try:
            decoded = self._codec.decode(av.Packet(packet)) if frames else []
        except av.FFmpegError:
            decoded = []
        if decoded:
            self._bad = 0
            return self._copy(decoded[0])
        self._bad += 1
        if self._bad > MAX_BAD_PACKETS:
            raise corrupt("the audio is not Opus, as the container says: its packets cannot be decoded")
        return np.zeros((frames, self.channels), dtype=np.int16)

    def _copy(self, frame: av.AudioFrame) -> Samples:
        """The samples out of the library's buffer, which is longer than they are and goes back to its pool (kept, it costs 10 kB a packet)."""
        plane = memoryview(frame.planes[0])
        view = np.frombuffer(plane, dtype=np.int16, count=frame.samples * self.channels)
        return view.reshape(-1, self.channels).copy()
