"""From an engine's PCM to what the client asked for: resampled, as PCM, G.711, a WAV stream, Opus in Ogg or MP3."""

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

import numpy as np
import soxr
from numpy.typing import NDArray

from malha.synthesize.encoders import MP3_HERTZ, OPUS_HERTZ, Encoder, Mp3, OggOpus

_UNKNOWN_SIZE: Final = 0xFFFFFFFF
_SAMPLE_BYTES: Final = 2


class Coding(Enum):
    """How samples are written."""

    PCM16 = "pcm16"
    MULAW = "mulaw"
    ALAW = "alaw"
    WAV = "wav"
    OGG = "ogg"
    MP3 = "mp3"


ENCODERS: Final[Mapping[Coding, Callable[[int], Encoder]]] = {Coding.OGG: OggOpus, Coding.MP3: Mp3}
"""Of the compressed codings, made with a rate. They take milliseconds for a second of speech; the others microseconds."""
RATES: Final[Mapping[Coding, tuple[int, ...]]] = {Coding.OGG: OPUS_HERTZ, Coding.MP3: MP3_HERTZ}
"""The only rates a coding has. The others take any."""


@dataclass(frozen=True, slots=True)
class OutputFormat:
    """The audio a client gets; one channel."""

    coding: Coding
    sample_rate_hertz: int

    @property
    def compressed(self) -> bool:
        """Whether writing it takes so long that it is no business of an event loop."""
        return self.coding in ENCODERS


class SpeechWriter:
    """Writes one stream's speech, sentence by sentence. Sentences begin and end in silence, so each is resampled on its own.

    Not for two threads at once.
    """

    def __init__(self, output: OutputFormat, source_hertz: int) -> None:
        self.samples = 0
        """Written so far, at the output's rate."""
        self._coding = output.coding
        self._rate = output.sample_rate_hertz
        self._encoder = ENCODERS[self._coding](self._rate) if output.compressed else None
        self._resampler = soxr.ResampleStream(source_hertz, self._rate, 1, dtype="int16") if source_hertz != self._rate else None

    @property
    def seconds(self) -> float:
        """Length of what was written so far."""
        return self.samples / self._rate

    def header(self) -> bytes:
        """What comes before the first sample."""
        if self._encoder is not None:
            return self._encoder.header()
        return wav_header(self._rate) if self._coding is Coding.WAV else b""

    def write(self, pcm: bytes) -> bytes:
        """Take 16-bit PCM at the source's rate. With resampling, a few milliseconds of it stay until more comes, or `end_sentence`."""
        return self._encode(self._resample(pcm, last=False))

    def end_sentence(self) -> bytes:
        """What is left of the sentence."""
        tail = self._resample(b"", last=True)
        if self._resampler is not None:
            self._resampler.clear()
        return self._encode(tail)

    def finish(self) -> bytes:
        """What comes behind the last sentence."""
        return self._encoder.finish() if self._encoder is not None else b""

    def _resample(self, pcm: bytes, *, last: bool) -> NDArray[np.int16]:
        samples = np.frombuffer(pcm, np.int16)
        if self._resampler is None:
            return samples
        resampled: NDArray[np.int16] = self._resampler.resample_chunk(samples, last=last)
        return resampled

    def _encode(self, samples: NDArray[np.int16]) -> bytes:
        self.samples += len(samples)
        if self._encoder is not None:
            return self._encoder.encode(samples)
        match self._coding:
            case Coding.MULAW:
                return MULAW_OF[samples.view(np.uint16)].tobytes()
            case Coding.ALAW:
                return ALAW_OF[samples.view(np.uint16)].tobytes()
            case _:
                return samples.tobytes()


def wav_header(sample_rate_hertz: int) -> bytes:
    """A RIFF/WAVE header for 16-bit mono PCM of unknown length, as readers of live streams expect it."""
    byte_rate = sample_rate_hertz * _SAMPLE_BYTES
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, sample_rate_hertz, byte_rate, _SAMPLE_BYTES, 8 * _SAMPLE_BYTES)
    return b"RIFF" + struct.pack("<I", _UNKNOWN_SIZE) + b"WAVE" + form + b"data" + struct.pack("<I", _UNKNOWN_SIZE)


def _mulaw_table() -> NDArray[np.uint8]:
    """ITU-T G.711 mu-law of each 16-bit sample, by its two's complement: 14 bits, biased by 33, in 8 segments of 16 steps, inverted."""
    samples = _all_samples() >> 2
    biased = np.minimum(np.abs(samples), 8158) + 33
    segment = _segments(biased, 5)
    codes: NDArray[np.int32] = ~(((samples < 0) << 7) | (segment << 4) | ((biased >> (segment + 1)) & 0x0F)) & 0xFF
    return codes.astype(np.uint8)


def _alaw_table() -> NDArray[np.uint8]:
    """ITU-T G.711 A-law of each 16-bit sample, by its two's complement: 13 bits in 8 segments of 16 steps, even bits inverted."""
    samples = _all_samples() >> 3
    magnitude = np.where(samples < 0, ~samples, samples)
    segment = _segments(magnitude, 4)
    codes: NDArray[np.int32] = (((samples >= 0) << 7) | (segment << 4) | ((magnitude >> np.maximum(segment, 1)) & 0x0F)) ^ 0x55
    return codes.astype(np.uint8)


def _all_samples() -> NDArray[np.int32]:
    return np.arange(1 << 16, dtype=np.uint16).view(np.int16).astype(np.int32)


def _segments(magnitudes: NDArray[np.int32], lowest_bit: int) -> NDArray[np.int32]:
    """0 to 7, by the highest bit that is set; ``lowest_bit`` and those below it are segment 0."""
    segments: NDArray[np.int32] = np.clip(np.frexp(magnitudes)[1] - 1 - lowest_bit, 0, 7).astype(np.int32)
    return segments


MULAW_OF: Final = _mulaw_table()
ALAW_OF: Final = _alaw_table()
