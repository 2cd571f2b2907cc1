"""What is said in a call, made here: long enough for calls that are lost on the way."""

import numpy as np
from conftest import silence, voice

RATE = 16_000


def conversation(seconds: float = 24.0, channels: int = 1, seed: int = 5) -> np.ndarray:
    """Utterances of one to two seconds with pauses, on each channel at its own times. Shape (frames, channels)."""
    columns = []
    for channel in range(channels):
        random, parts, length = np.random.default_rng(seed + channel), [], 0.0
        while length < seconds:
            pause, speech = random.uniform(0.6, 1.2), random.uniform(0.8, 1.8)
            parts += [silence(pause, RATE, seed=int(random.integers(1000))), voice(speech, RATE, seed=int(random.integers(1000)))]
            length += pause + speech
        columns.append(np.concatenate([*parts, silence(1.0, RATE)])[: int(seconds * RATE)])
    return np.stack(columns, axis=1)
