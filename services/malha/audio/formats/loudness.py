"""How loud a recording is. Speech that was recorded at too low a level lies below what is taken for speech at all, and is made louder first."""

from typing import Final

import numpy as np

from malha.audio.formats.samples import Samples

BLOCK_SECONDS: Final = 0.1
LOUD_BLOCKS: Final = 10
"""Speech is as loud as the quietest of so many blocks, the loudest there are; of a recording under ten seconds, of a tenth of them: a click is shorter."""
QUIET: Final = 300.0
"""RMS of 16-bit samples, -41 dB of full scale: six times the least energy of speech (`min_energy`). Louder recordings stay as they are."""
LEAST: Final = 4.0
"""Below this is what rounding and dither leave."""
STANDS_OUT: Final = 4.0
"""Speech is so many times as loud as the quietest tenth of a recording; a hum or a hiss is not."""
WANTED: Final = 2_000.0
MOST_WANTED: Final = 8_000.0
"""What the loudest block becomes at most: nothing is clipped."""
LEAST_GAIN, MOST_GAIN = 2.0, 64.0


class Loudness:
    """Gathered from a recording's beginning on, until it is loud ``enough`` or has ended."""

    def __init__(self, sample_rate: int) -> None:
        self._block = round(sample_rate * BLOCK_SECONDS)
        self._levels: list[float] = []
        self._loud = 0

    def add(self, samples: Samples) -> None:
        """About a second, of shape (frames, channels); the louder channel counts."""
        whole = samples[: len(samples) // self._block * self._block].astype(np.float32)
        levels = np.sqrt(np.square(whole.reshape(-1, self._block, samples.shape[1])).mean(axis=1)).max(axis=1)
        self._levels += levels.tolist()
        self._loud += int((levels >= QUIET).sum())

    @property
    def enough(self) -> bool:
        """Whether the rest need not be known."""
        return self._loud >= LOUD_BLOCKS

    @property
    def gain(self) -> float:
        """By what the samples are to be multiplied; 1 for all but quiet speech."""
        levels = sorted(self._levels, reverse=True)
        if self.enough or not levels:
            return 1.0
        speech, noise = levels[min(LOUD_BLOCKS - 1, len(levels) // 10)], levels[len(levels) * 9 // 10]
        if not LEAST <= speech < QUIET or speech < STANDS_OUT * noise:
            return 1.0
        gain = min(WANTED / speech, MOST_WANTED / levels[0], MOST_GAIN)
        return gain if gain >= LEAST_GAIN else 1.0


def amplified(samples: Samples, gain: float) -> Samples:
    """The samples, louder; what would exceed full scale is clipped."""
    if gain == 1:
        return samples
    limits = np.iinfo(np.int16)
    return (samples * np.float32(gain)).clip(limits.min, limits.max).astype(np.int16)
