"""What Malha's Whisper is measured against: faster-whisper as it comes, in a worker of the same host with the same threads and priority."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import numpy.typing as npt
from faster_whisper import BatchedInferencePipeline, WhisperModel

from malha.transcribe.engine import SAMPLE_RATE_HERTZ

WORKER: Final = "malha.bench.batching_rivals:Rival"
COMPUTE_TYPE: Final = "int8"
_ASKED: Final = {"language": "pt", "beam_size": 1, "temperature": 0.0, "without_timestamps": True, "vad_filter": False}
"""What Malha's engine does too: one beam, no timestamps, a known language, no second opinion on what is speech."""


@dataclass(frozen=True, slots=True)
class RivalOptions:
    """How a rival loads its model."""

    model_directory: Path
    threads: int
    batched: bool
    """Whether utterances go through BatchedInferencePipeline together, or through WhisperModel one by one."""


class Rival:
    """A loaded model. A stream takes sequences of utterances (16 kHz 16-bit PCM) and gives their texts."""

    def __init__(self, options: RivalOptions) -> None:
        self._model = WhisperModel(str(options.model_directory), device="cpu", compute_type=COMPUTE_TYPE, cpu_threads=options.threads)
        self._batched = BatchedInferencePipeline(self._model) if options.batched else None

    def open(self, arguments: object) -> "Rival":
        del arguments
        return self

    def feed(self, item: object) -> Iterator[object]:
        utterances = [(np.frombuffer(pcm, "<i2") / 32_768).astype(np.float32) for pcm in cast("Sequence[bytes]", item)]
        yield self._one_by_one(utterances) if self._batched is None else _together(self._batched, utterances)

    def finish(self) -> Iterator[object]:
        return iter(())

    def close(self) -> None:
        """Nothing is kept between utterances."""

    def _one_by_one(self, utterances: Sequence[npt.NDArray[np.float32]]) -> list[str]:
        told = (self._model.transcribe(utterance, condition_on_previous_text=False, **_ASKED)[0] for utterance in utterances)
        return ["".join(segment.text for segment in segments).strip() for segments in told]


def _together(pipeline: Any, utterances: Sequence[npt.NDArray[np.float32]]) -> list[str]:
    """The pipeline batches pieces of one recording: that is what the utterances are made into, a clip each."""
    ends = np.cumsum([len(utterance) for utterance in utterances]) / SAMPLE_RATE_HERTZ
    clips = [{"start": start, "end": end} for start, end in zip([0.0, *ends], ends, strict=False)]
    segments, _ = pipeline.transcribe(np.concatenate(utterances), clip_timestamps=clips, batch_size=len(utterances), **_ASKED)
    return [segment.text.strip() for segment in segments]
