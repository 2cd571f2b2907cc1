"""Two channels that are one: a mono recording that was saved as stereo. Heard as two, everything in it would be said twice, by two people."""

from typing import Final

import numpy as np

from malha.audio.formats.samples import Samples

FLOOR: Final = 2.0
"""RMS of the difference of 16-bit samples that dither and rounding make; speech is never so faint."""
SHARE: Final = 0.125
"""Of a block's own loudness, 18 dB below it, what balance, tape and lossy coding add besides: up to 0.0043 was measured of AAC, 0.09 of a speech
of 1961 (`jfk.flac`). Of two people on a channel each it is 1.4 in every second, and a file is one channel only where no second differs.
"""


def alike(samples: Samples) -> bool:
    """Whether both channels of a block, about a second of shape (frames, 2), are the same but for coding."""
    both = samples.astype(np.float32)
    difference = _rms(both[:, 0] - both[:, 1])
    return difference <= FLOOR or difference <= SHARE * _rms(both)


def _rms(samples: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> float:
    return float(np.sqrt(np.mean(np.square(samples)))) if samples.size else 0.0
