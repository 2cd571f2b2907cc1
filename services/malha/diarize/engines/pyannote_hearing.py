"""One stream as pyannote hears it. Its networks take each chunk of the audio once, as it comes; its clustering takes what they made of it.

pyannote's pipeline is of whole files: two networks over chunks of 10 s, one a second, then clustering of all voices in all chunks. The networks
are nearly all of its cost, and a chunk's answer depends on no other, so a live stream pays no more than a file does, and in the end gets
exactly what the pipeline says of the file. Meanwhile, with each chunk, the clustering is done over the last chunks alone, and its voices take
the names of those they share most time with, a voice nobody knows that of the one most like it; and whenever there are `GROWTH` times as many,
over all chunks, so that what was told wrongly is put right. Before a first chunk is whole, it is heard with silence behind.
"""

from collections.abc import Iterator
from typing import Final, cast

import numpy as np
import numpy.typing as npt
import torch
from pyannote.core import SlidingWindow, SlidingWindowFeature

from malha.diarize.engine import SAMPLE_RATE_HERTZ
from malha.diarize.engines.pyannote_messages import Opening, Said, Told
from malha.diarize.engines.pyannote_pipeline import LoadedPipeline
from malha.diarize.engines.pyannote_voices import KnownVoices, Look
from malha.runtime.worker import PAUSE

RECENT_CHUNKS: Final = 20
GROWTH: Final = 1.4

Array = npt.NDArray[np.float32]


class Hearing:
    """One stream."""

    def __init__(self, loaded: LoadedPipeline, opening: Opening) -> None:
        self._pipeline = loaded.pipeline
        self._batch = loaded.batch
        self._chunk = loaded.chunk
        self._opening = opening
        self._embeds = opening.prints or opening.max_speakers != 1
        self._audio = bytearray()
        """From where the next chunk begins."""
        self._samples = self._samples_looked_at = 0
        self._segmentations: list[Array] = []
        self._embeddings: list[Array] = []
        self._chunks_looked_at = 0
        """At the last look at all of them."""
        self._voices = KnownVoices(opening.max_speakers)

    def feed(self, item: object) -> Iterator[object]:
        """Take more audio; yields `PAUSE` after each batch of chunks, and a `Told`, if any."""
        pcm = cast("bytes", item)
        self._audio += pcm
        self._samples += len(pcm) // 2
        yield from self._compute(1 if self._opening.online else self._batch)
        if self._opening.online and self._samples - self._samples_looked_at >= self._chunk.step:
            self._samples_looked_at = self._samples
            yield self._look_meanwhile()

    def finish(self) -> Iterator[object]:
        """Look at all of it."""
        yield from self._compute(1)
        rest = len(self._audio) // 2
        if rest > self._chunk.samples - self._chunk.step or (rest and not self._segmentations):
            self._keep(*self._infer(self._audio))
            yield PAUSE
        if self._segmentations:
            yield self._look(self._segmentations, self._embeddings, 0)

    def close(self) -> None:
        """Nothing is held that goes on."""

    def _compute(self, least: int) -> Iterator[object]:
        """Have the networks hear the chunks that are whole, at least so many at once."""
        while (whole := self._whole_chunks()) >= least:
            count = min(whole, self._batch)
            samples = self._chunk.samples + (count - 1) * self._chunk.step
            self._keep(*self._infer(self._audio[: 2 * samples]))
            del self._audio[: 2 * count * self._chunk.step]
            yield PAUSE

    def _whole_chunks(self) -> int:
        spare = len(self._audio) // 2 - self._chunk.samples
        return 0 if spare < 0 else 1 + spare // self._chunk.step

    def _infer(self, pcm: bytearray) -> tuple[Array, Array]:
        """What the networks say: (chunks, frames, speakers), (chunks, speakers, dimension). The pipeline pads what is shorter than a chunk."""
        samples = np.frombuffer(bytes(pcm), "<i2").astype(np.float32) / 32_768
        file = {"waveform": torch.from_numpy(samples)[None], "sample_rate": SAMPLE_RATE_HERTZ}
        active = self._pipeline.get_segmentations(file)
        if not self._embeds:
            chunks, _, speakers = active.data.shape
            return active.data, np.ones((chunks, speakers, self._chunk.dimension), np.float32)
        return active.data, self._pipeline.get_embeddings(file, active, exclude_overlap=self._pipeline.embedding_exclude_overlap)

    def _keep(self, segmentations: Array, embeddings: Array) -> None:
        self._segmentations += list(segmentations)
        self._embeddings += list(embeddings)

    def _look_meanwhile(self) -> Told:
        count = len(self._segmentations)
        if not count:
            segmentations, embeddings = self._infer(self._audio)
            return self._look(list(segmentations), list(embeddings), 0)
        if count <= RECENT_CHUNKS or count >= GROWTH * self._chunks_looked_at:
            self._chunks_looked_at = count
            return self._look(self._segmentations, self._embeddings, 0)
        first = count - RECENT_CHUNKS
        return self._look(self._segmentations[first:], self._embeddings[first:], first)

    def _look(self, segmentations: list[Array], embeddings: list[Array], first: int) -> Told:
        """Cluster and tell these chunks, of which the first is the stream's chunk ``first``."""
        begin = first * self._chunk.step_seconds
        window = SlidingWindow(start=0.0, duration=self._chunk.seconds, step=self._chunk.step_seconds)
        heard = {
            "uri": "stream",
            "segmentations": SlidingWindowFeature(np.stack(segmentations), window),
            "embeddings": np.stack(embeddings),
        }
        output = self._pipeline.apply(heard, max_speakers=self._opening.max_speakers or None)
        labels = {label: voice for voice, label in enumerate(output.speaker_diarization.labels())}
        end = self._samples / SAMPLE_RATE_HERTZ
        said = [
            Said(begin + segment.start, min(begin + segment.end, end), labels[label])
            for segment, _, label in output.speaker_diarization.itertracks(yield_label=True)
        ]
        prints = {
            voice: (embedding / length).astype(np.float32)
            for voice, embedding in enumerate(output.speaker_embeddings if self._embeds else ())
            if np.isfinite(length := np.linalg.norm(embedding)) and length > 0
        }
        since = begin + self._chunk.seconds / 2 if first else 0.0
        return self._voices.take(Look(since, said, prints, whole=first == 0))
