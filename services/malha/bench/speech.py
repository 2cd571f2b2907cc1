"""The audio of a benchmark: a long loop of real speech with the pauses of a call, 16 kHz mono or stereo PCM16.

Made of recordings where there are any (``MALHA_TEST_DATA``, or ``../shared/data`` beside the working directory or the repository), else of utterances the
caller has had spoken. The pauses are drawn with a fixed seed: the same recordings give the same loop.
"""

import os
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

from malha.runtime.errors import InvalidArgument

Samples = npt.NDArray[np.int16]

RATE = 16_000
SUFFIXES = frozenset({".flac", ".ogg", ".wav", ".mp3"})
SHORTEST_PAUSE, LONGEST_PAUSE = 0.5, 2.0
LOOP_SECONDS = 600
NOISE_RMS = 6.0
"""Of the pauses: a quiet line is not digital silence."""
SEED = 20_240_501
REPOSITORY = Path(__file__).resolve().parents[3]


@dataclass(frozen=True, slots=True)
class Loop:
    """Audio that is played over and over. ``samples`` has the shape (frames, channels)."""

    samples: Samples
    source: str
    """For the report: where the speech is from."""

    @property
    def channels(self) -> int:
        return int(self.samples.shape[1])

    @property
    def seconds(self) -> float:
        return len(self.samples) / RATE

    def chunks(self, milliseconds: int) -> list[bytes]:
        """The loop as interleaved little-endian PCM16 of equal length; a shorter rest is left out."""
        frames = RATE * milliseconds // 1000
        return [self.samples[at : at + frames].astype("<i2").tobytes() for at in range(0, len(self.samples) - frames + 1, frames)]


def data_directory() -> Path | None:
    """The folder of recordings, if there is one."""
    named = os.environ.get("MALHA_TEST_DATA")
    places = (Path(named),) if named else tuple(place.parent / "shared" / "data" for place in (Path.cwd(), REPOSITORY))
    return next((place for place in places if (place / "speech").is_dir()), None)


def recordings(directory: Path) -> Iterator[Samples]:
    """Every recording of the folder, mono, in a fixed order."""
    files = sorted(file for file in (directory / "speech").iterdir() if file.suffix in SUFFIXES)
    random.Random(SEED).shuffle(files)  # noqa: S311 - an order, not a secret
    for file in (*files, *sorted((directory / "calls").glob("*.flac"))):
        yield decode(file)


def decode(file: Path, rate: int = RATE) -> Samples:
    """An audio file as mono PCM16. Raises InvalidArgument if it is not readable audio."""
    try:
        with av.open(str(file)) as container:
            resampler = av.AudioResampler(format="s16", layout="mono", rate=rate)
            decoded = [out.to_ndarray()[0] for frame in (*container.decode(audio=0), None) for out in resampler.resample(frame)]
    except (OSError, av.FFmpegError, IndexError) as error:
        raise InvalidArgument(f"{file} is not readable audio", reason="UNREADABLE_AUDIO") from error
    return np.concatenate(decoded) if decoded else np.zeros(0, np.int16)


def join(utterances: Iterable[Samples], source: str, *, stereo: bool = False) -> Loop:
    """Utterances with pauses of half a second to two seconds between them, over a faint noise: up to ten minutes.

    Stereo alternates the talker between the channels.
    """
    draw, pieces, length = random.Random(SEED), [], 0  # noqa: S311 - pauses, not secrets
    for number, utterance in enumerate(utterances):
        pause = int(draw.uniform(SHORTEST_PAUSE, LONGEST_PAUSE) * RATE)
        piece = np.zeros((len(utterance) + pause, 2 if stereo else 1), np.int16)
        piece[: len(utterance), number % 2 if stereo else 0] = utterance
        pieces.append(piece)
        length += len(piece)
        if length >= LOOP_SECONDS * RATE:
            break
    joined = np.concatenate(pieces)[: LOOP_SECONDS * RATE]
    noise = np.random.default_rng(SEED).normal(0.0, NOISE_RMS, joined.shape)
    return Loop(np.clip(joined + noise, -32_768, 32_767).astype(np.int16), source)
