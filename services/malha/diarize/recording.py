"""A recording to enrol: a WAV file read and resampled to what engines hear. Nothing but the standard library reads it."""

import io
import wave
from typing import Final

import numpy as np
import numpy.typing as npt
import soxr

from malha.diarize.engine import SAMPLE_RATE_HERTZ
from malha.runtime.errors import UnsupportedFormat

LOWEST_HERTZ, HIGHEST_HERTZ = 8_000, 48_000
_SAMPLE_BYTES: Final = 2


def read_wav(content: bytes, most_seconds: float) -> npt.NDArray[np.int16]:
    """Mono 16 kHz samples of the first ``most_seconds``. Raises UnsupportedFormat."""
    try:
        with wave.open(io.BytesIO(content)) as file:
            channels, width, rate = file.getnchannels(), file.getsampwidth(), file.getframerate()
            readable = channels in {1, 2} and width == _SAMPLE_BYTES and LOWEST_HERTZ <= rate <= HIGHEST_HERTZ
            data = file.readframes(int(most_seconds * rate)) if readable else b""
    except (wave.Error, EOFError) as error:
        raise _unreadable("it is no RIFF/WAVE file of PCM") from error
    if not readable:
        raise _unreadable("it needs PCM of 16 bits, one or two channels, 8,000 to 48,000 Hz")
    whole = len(data) // (_SAMPLE_BYTES * channels) * channels
    samples = np.frombuffer(data, "<i2", whole).reshape(-1, channels)
    mono = samples[:, 0] if channels == 1 else np.round(samples.mean(axis=1)).astype(np.int16)
    return mono if rate == SAMPLE_RATE_HERTZ else soxr.resample(mono, rate, SAMPLE_RATE_HERTZ)


def _unreadable(why: str) -> UnsupportedFormat:
    return UnsupportedFormat(f"audio cannot be read: {why}", reason="NO_WAV", violations={"audio": why})
