"""Samples as a WAV file."""

import io
import wave

import numpy as np


def wav(samples: np.ndarray, rate: int = 16_000, channels: int = 1) -> bytes:
    """16-bit PCM; several channels lie interleaved in ``samples``."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(channels)
        writer.setsampwidth(2)
        writer.setframerate(rate)
        writer.writeframes(samples.astype("<i2").tobytes())
    return file.getvalue()
