"""Two channels that are one: a mono recording that was saved as stereo. Heard as two, everything in it would be said twice, by two people."""

from typing import Final

import numpy as np

from malha.audio.formats.samples import Samples

FLOOR: Final = 2.0
"""RMS of the difference of 16-bit samples that dither and rounding make; speech is never so faint."""
SHARE: Final = 0.01
"""Of a block's own loudness, 40 dB below it, what a lossy coding's stereo adds besides: up to 0.0043 was measured of AAC and 0.0011 of Opus.
Who speaks so much more faintly than somebody else in the same second is not recognised on any channel.
"""


def alike(samples: Samples) -> bool:
    """Whether both channels of a block, about a second of shape (frames, 2), are the same but for coding."""
    both = samples.astype(np.float32)
    difference = _rms(both[:, 0] - both[:, 1])
    return difference <= FLOOR or difference <= SHARE * _rms(both)


def _rms(samples: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> float:
    return float(np.sqrt(np.mean(np.square(samples)))) if samples.size else 0.0
