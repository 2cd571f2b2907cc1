"""What PocketSphinx needs done to audio before it hears it: a noise floor, and to know whether it came through a telephone.

Synthetic and noise-gated speech has spectral holes and digital silence that the acoustic model never met: between words, above the
telephone's 4 kHz. Filled with noise well below the speech, which recordings of people have by themselves, its word error rate falls by
three quarters. Both decisions are taken once, on the first second of an utterance, and depend on nothing else.
"""

from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from malha.transcribe.engine import SAMPLE_RATE_HERTZ

OPENING_SECONDS: Final = 1.0
"""What is looked at before anything is decided or decoded; more, if nothing was said in it."""
LONGEST_OPENING_SECONDS: Final = 3.0
NOISE_BELOW_SPEECH_DB: Final = 36.0
_BYTES_A_SECOND: Final = 2 * SAMPLE_RATE_HERTZ
_FRAME: Final = 320
_HANN_POWER: Final = 0.1875
"""Makes a frame's summed spectrum the mean square of its samples (half of it, as only positive frequencies are summed)."""
_FIRST_ABOVE: Final = 4_300 * _FRAME // SAMPLE_RATE_HERTZ
"""The first line above the telephone's band and what resamplers leave right above it."""
_EMPTY_BAND_DB: Final = -52.0
"""Below speech. Measured in the loudest tenth of frames: telephone -59 and less, a broadcast of 1961 -46, other speech above -40."""
_ROUNDING_DB: Final = -94.0
"""Rounding to 16 bits leaves so much in the band, whatever the speech's level."""
_LOUDEST_DB, _QUIETEST_DB, _AUDIBLE_DB = -6.0, -70.0, -50.0
_NOISE_SAMPLES: Final = 1 << 16
_PINK_FROM_HERTZ: Final = 60
_FULL_SCALE: Final = 32_768.0


@dataclass(frozen=True, slots=True)
class Conditioning:
    """What is done to one utterance: noise of this level (of full scale, 0 for none) is added. ``narrow``: nothing above 4 kHz."""

    noise: float
    narrow: bool

    def apply(self, pcm: bytes, position: int) -> bytes:
        """16-bit PCM that begins ``position`` samples into the utterance, with its noise."""
        if not self.noise:
            return pcm
        samples = np.frombuffer(pcm, np.int16)
        noise = _pink_noise()
        start = position % _NOISE_SAMPLES
        wanted = np.take(noise, np.arange(start, start + samples.size), mode="wrap")
        mixed = samples + wanted * np.float32(self.noise * _FULL_SCALE)
        return np.clip(np.rint(mixed), -32_768, 32_767).astype(np.int16).tobytes()


def examine(pcm: bytes) -> Conditioning | None:
    """Decide on the opening of an utterance (16 kHz mono 16-bit PCM, from its first sample); None while there is too little to tell by."""
    if len(pcm) < OPENING_SECONDS * _BYTES_A_SECOND:
        return None
    conditioning, audible = _examine(pcm)
    return conditioning if audible or len(pcm) >= LONGEST_OPENING_SECONDS * _BYTES_A_SECOND else None


def examine_whole(pcm: bytes) -> Conditioning:
    """Decide on an utterance that ended within its opening."""
    return _examine(pcm)[0]


def _examine(pcm: bytes) -> tuple[Conditioning, bool]:
    """What to do, and whether speech was heard."""
    samples = np.frombuffer(pcm, np.int16).astype(np.float32) / _FULL_SCALE
    frames = samples[: samples.size - samples.size % _FRAME].reshape(-1, _FRAME)
    if not frames.size:
        return Conditioning(noise=0.0, narrow=False), False
    spectra = np.abs(np.fft.rfft(frames * np.hanning(_FRAME), axis=1)) ** 2 / (_FRAME**2 * _HANN_POWER)
    spectra[:, :2] = 0.0  # a constant offset is not sound
    loud, quiet = np.percentile(spectra.sum(1), (90, 10))
    above = np.percentile(spectra[:, _FIRST_ABOVE:].sum(1), 90)
    speech = float(np.clip(loud, _power(_QUIETEST_DB), _power(_LOUDEST_DB)))
    wanted = max(speech * _power(-NOISE_BELOW_SPEECH_DB) - float(quiet), 0.0)
    narrow = loud > _power(_QUIETEST_DB) and above < max(speech * _power(_EMPTY_BAND_DB), _power(_ROUNDING_DB))
    return Conditioning(noise=float(np.sqrt(wanted)), narrow=bool(narrow)), bool(loud > _power(_AUDIBLE_DB))


def _power(decibels: float) -> float:
    return float(10.0 ** (decibels / 10.0))


@cache
def _pink_noise() -> NDArray[np.float32]:
    """Noise of unit power that falls by 3 dB an octave. The same on every machine: `RandomState` is frozen by NumPy's promise."""
    white = np.random.RandomState(1).standard_normal(_NOISE_SAMPLES)
    spectrum = np.fft.rfft(white)
    frequency = np.fft.rfftfreq(_NOISE_SAMPLES, 1 / SAMPLE_RATE_HERTZ)
    pink = np.fft.irfft(spectrum / np.sqrt(np.maximum(frequency, _PINK_FROM_HERTZ)), _NOISE_SAMPLES)
    unit: NDArray[np.float32] = (pink / pink.std()).astype(np.float32)
    return unit
