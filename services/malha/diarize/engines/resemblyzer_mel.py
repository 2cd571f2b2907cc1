"""What the network hears: 40 mel bands of 25 ms each 10 ms, as ``librosa.feature.melspectrogram`` makes them for resemblyzer.

Power, not its logarithm, on Slaney's scale (Auditory Toolbox, 1998): 66.7 Hz a mel up to 1 kHz, then 27 mels for each factor of 6.4, every
triangle of the same area. Frames are centred on their time, with zeros beyond the ends of the audio.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

SAMPLE_RATE: Final = 16_000
HOP: Final = 160
WINDOW: Final = 400
BANDS: Final = 40

_LINEAR_HERTZ: Final = 200.0 / 3
_BREAK_HERTZ: Final = 1000.0
_LOG_STEP: Final = np.log(6.4) / 27

Array = npt.NDArray[np.float32]


def mel_spectrogram(samples: Array) -> Array:
    """(samples,) between -1 and 1 to (frames, 40), with a frame for each begun 10 ms and one more."""
    padded = np.zeros(len(samples) + WINDOW, np.float32)
    padded[WINDOW // 2 : len(samples) + WINDOW // 2] = samples
    # A view, as sliding_window_view makes one, whose checks cost a fifth of what the transform does.
    frames: Array = np.ndarray((1 + len(samples) // HOP, WINDOW), np.float32, padded, strides=(HOP * padded.itemsize, padded.itemsize))
    spectrum = np.fft.rfft(frames * _HANN, axis=1, norm="forward")
    power = spectrum.real**2 + spectrum.imag**2
    return (power @ _FILTERS).astype(np.float32, copy=False)


def _mel(hertz: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    logarithmic = _BREAK_HERTZ / _LINEAR_HERTZ + np.log(np.maximum(hertz, 1e-9) / _BREAK_HERTZ) / _LOG_STEP
    return np.where(hertz < _BREAK_HERTZ, hertz / _LINEAR_HERTZ, logarithmic)


def _hertz(mel: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    above = mel - _BREAK_HERTZ / _LINEAR_HERTZ
    return np.where(above < 0, mel * _LINEAR_HERTZ, _BREAK_HERTZ * np.exp(_LOG_STEP * above))


def _filters() -> Array:
    """(201 frequencies, 40 bands)."""
    frequencies = np.fft.rfftfreq(WINDOW, 1 / SAMPLE_RATE)
    corners = _hertz(np.linspace(0.0, _mel(np.array(SAMPLE_RATE / 2)), BANDS + 2))
    rise = (frequencies[:, None] - corners[None, :-2]) / (corners[1:-1] - corners[:-2])
    fall = (corners[None, 2:] - frequencies[:, None]) / (corners[2:] - corners[1:-1])
    triangles = np.maximum(0.0, np.minimum(rise, fall))
    return (triangles * 2 / (corners[2:] - corners[:-2])).astype(np.float32)


_HANN: Final = (WINDOW * (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW))).astype(np.float32)
"""Times what ``norm="forward"`` divides by: a transform that is to be scaled stays in single precision, which is five times as fast; without it
numpy computes in double."""
_FILTERS: Final = _filters()
