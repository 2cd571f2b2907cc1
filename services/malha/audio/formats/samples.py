"""What every decoder gives: 16-bit samples, the conversions to them, and the errors of input that is not what it says."""

from typing import Any

import numpy as np
import numpy.typing as npt

from malha.runtime.errors import UnsupportedFormat

Samples = npt.NDArray[np.int16]
"""Shape (frames, channels)."""

MIN_RATE_HERTZ = 8_000
MAX_RATE_HERTZ = 48_000
"""The sample rates of a live stream; an uploaded file may go up to ``MAX_FILE_RATE_HERTZ``."""
MAX_FILE_RATE_HERTZ = 192_000
MAX_CHANNELS = 2


def no_samples(channels: int | None) -> Samples:
    """An empty array of the shape that the decoder gives."""
    return np.empty((0, channels or 1), dtype=np.int16)


def to_int16(samples: npt.NDArray[Any]) -> npt.NDArray[np.int16]:
    """Samples of any PCM type as 16 bits, in the same shape.

    Integers keep their upper bits (8-bit PCM is unsigned with its zero at 128). Floats have their full scale at 1.0; what exceeds it is
    clipped, and what is not a number is silence. Raises UnsupportedFormat for types no PCM has.
    """
    match samples.dtype.kind, samples.dtype.itemsize:
        case "i", 2:
            return samples.astype(np.int16, copy=False)
        case "i", 4:
            return (samples >> 16).astype(np.int16)
        case "u", 1:
            shifted: npt.NDArray[np.int16] = (samples.astype(np.int16) - 128) << 8
            return shifted
        case "f", _:
            return _float_to_int16(samples)
        case _:
            raise UnsupportedFormat("samples of this type are not supported: supported are 8, 16, 24 and 32 bit PCM and float")


def _float_to_int16(samples: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.int16]:
    scaled = np.clip(samples, -1.0, 1.0)  # before it is scaled: it might overflow
    scaled *= 32768.0
    np.rint(scaled, out=scaled)
    np.minimum(scaled, 32767.0, out=scaled)
    if np.isnan(scaled).any():
        np.nan_to_num(scaled, copy=False)
    samples16: npt.NDArray[np.int16] = scaled.astype(np.int16)
    return samples16


def check_layout(sample_rate: int, channels: int, *, max_rate: int = MAX_RATE_HERTZ) -> None:
    """Raise UnsupportedFormat unless this is a rate in hertz and a number of channels that Malha reads."""
    if not MIN_RATE_HERTZ <= sample_rate <= max_rate:
        raise UnsupportedFormat(
            f"a sample rate of {sample_rate} Hz is not supported: supported are {MIN_RATE_HERTZ} to {max_rate} Hz",
            metadata={"supported": f"{MIN_RATE_HERTZ}..{max_rate}"},
        )
    if not 1 <= channels <= MAX_CHANNELS:
        raise UnsupportedFormat(
            f"{channels} channels are not supported: supported are 1 and 2 (interleaved)", metadata={"supported": "1, 2"}
        )


def corrupt(what: str) -> UnsupportedFormat:
    """The error for input that breaks its own format; ``what`` never quotes it."""
    return UnsupportedFormat(what, reason="CORRUPT_CONTAINER")
