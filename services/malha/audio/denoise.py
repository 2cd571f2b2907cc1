"""Noise reduction of one channel: FFmpeg's ``afftdn`` (spectral subtraction) through a PyAV filter graph, with a state of its own.

The filter is told how loud the noise is by who listens for voices anyway: its own tracking took 0.7 dB from noise of -38 dB, this takes 12. It
takes 4 to 5 ms of CPU for each second of audio, on the event loop: for calls from noisy places, not for all.
"""

from fractions import Fraction
from math import log10
from typing import Final

import av
import numpy as np

from malha.audio.vad import Samples

REDUCTION_DB: Final = 12
MARGIN_DB: Final = 4.0
"""Over its mean level noise is still noise."""
LOWEST_DB, HIGHEST_DB = -80.0, -20.0
"""What the filter takes for noise, against full scale."""
STEP_DB: Final = 1.0
DELAY: Final = Fraction(1, 40)
"""Seconds by which the filter is late: two of the three hops of its window."""


class Denoiser:
    """Takes noise away; sample n of what comes out belongs to sample n of what went in."""

    def __init__(self, sample_rate: int) -> None:
        self._rate = sample_rate
        self._late = round(DELAY * sample_rate)
        """Samples of the filter's beginning that stand for nothing and are still to come."""
        self._at = 0
        self._graph = graph = av.filter.Graph()
        source = graph.add_abuffer(format="s16", sample_rate=sample_rate, layout="mono", time_base=Fraction(1, sample_rate))
        self._floor_db = LOWEST_DB
        self._filter = graph.add("afftdn", f"noise_reduction={REDUCTION_DB}:noise_floor={LOWEST_DB}")
        graph.link_nodes(source, self._filter, graph.add("aformat", "sample_fmts=s16"), graph.add("abuffersink"))
        graph.configure()

    def feed(self, samples: Samples, noise_rms: float) -> Samples:
        """Add 16-bit samples; what is ready, 25 ms late in all. ``noise_rms`` is what the channel has where nobody speaks, as far as is known."""
        if not samples.size:
            return samples
        self._expect(noise_rms)
        frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate, frame.pts = self._rate, self._at
        self._at += samples.size
        self._graph.push(frame)
        ready = np.concatenate([np.empty(0, np.int16), *self._pull()])
        late = min(self._late, ready.size)
        self._late -= late
        return ready[late:]

    def _expect(self, noise_rms: float) -> None:
        wanted = 20 * log10(noise_rms / 32_768) + MARGIN_DB if noise_rms > 0 else LOWEST_DB
        wanted = min(max(wanted, LOWEST_DB), HIGHEST_DB)
        if abs(wanted - self._floor_db) >= STEP_DB:
            self._floor_db = wanted
            self._filter.process_command("noise_floor", f"{wanted:.1f}")

    def _pull(self) -> list[Samples]:
        pulled: list[Samples] = []
        while True:
            try:
                pulled.append(self._graph.pull().to_ndarray().ravel().view(np.int16))
            except (av.BlockingIOError, av.EOFError):
                return pulled
