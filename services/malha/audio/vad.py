"""Voice activity of one channel, frame by frame: an adaptive energy gate in front of the WebRTC detector.

The gate settles most frames of silence for the price of a comparison; only what is louder than the channel's own noise reaches the
detector (Gaussian mixture models over six sub-bands, https://webrtc.googlesource.com/src, common_audio/vad).
"""

from math import sqrt

import numpy as np
import numpy.typing as npt
import webrtcvad

FRAME_SECONDS = 0.02
RATES = (8_000, 16_000)
"""Sample rates the detector works at here; other rates are resampled to 16 kHz first."""

AGGRESSIVENESS = 2
FLOOR_FALL, FLOOR_RISE, FLOOR_CREEP = 0.2, 0.02, 0.0005
"""How fast the noise floor follows a quieter frame, a louder one without voice, and one with voice (music, a hum the detector takes for voice)."""

OFFSET_PACE = 0.02

Samples = npt.NDArray[np.int16]


class VoiceActivity:
    """Tells for each 20 ms frame whether somebody speaks, and how loud it is."""

    def __init__(self, sample_rate: int, threshold_multiplier: float, min_energy: float, noise_floor: float = 0.0) -> None:
        self.frame_samples = int(sample_rate * FRAME_SECONDS)
        self.noise_floor = noise_floor
        """RMS of the channel while nobody speaks, in 16-bit units."""
        self._rate = sample_rate
        self._ones = np.ones(self.frame_samples, np.float32)
        self._multiplier = threshold_multiplier
        self._min_energy = min_energy
        self._is_speech = webrtcvad.Vad(AGGRESSIVENESS).is_speech
        self._offset = 0.0
        self._rest: Samples = np.empty(0, np.int16)

    def feed(self, samples: Samples) -> list[tuple[bool, float]]:
        """(voiced, RMS) of each whole frame; what does not fill a frame waits for the next call.

        ``samples`` is a contiguous mono int16 array of any length.
        """
        if self._rest.size:
            samples = np.concatenate((self._rest, samples))
        size = self.frame_samples
        count = samples.size // size
        whole = count * size
        self._rest = samples[whole:]
        if not count:
            return []
        heard = samples[:whole]
        frames = heard.astype(np.float32).reshape(count, size)
        sums = np.vecdot(frames, self._ones).tolist()
        squares = np.vecdot(frames, frames).tolist()
        pcm, size_bytes = heard.data.cast("B"), size * 2
        floor, multiplier, min_energy, offset = self.noise_floor, self._multiplier, self._min_energy, self._offset
        found = []
        at = 0
        for total, square in zip(sums, squares, strict=True):
            # Cheap lines and cards have a constant offset; it is no loudness. It drifts, so it is followed.
            offset += (total / size - offset) * (OFFSET_PACE if offset else 1.0)
            power = square / size - offset * offset
            energy = sqrt(power) if power > 0 else 0.0
            voiced = energy > min_energy and energy > floor * multiplier and self._is_speech(pcm[at : at + size_bytes], self._rate)
            floor += (energy - floor) * (FLOOR_CREEP if voiced else FLOOR_FALL if energy < floor else FLOOR_RISE)
            found.append((voiced, energy))
            at += size_bytes
        self.noise_floor, self._offset = floor, offset
        return found

    def reset(self) -> None:
        """Forget the incomplete frame: the audio that follows is not its continuation. The noise floor stays."""
        self._rest = np.empty(0, np.int16)
