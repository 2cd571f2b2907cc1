"""A call that is taken over, again and again, finds the utterances an undisturbed one finds: to the sample."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import silence, voice

from malha.api.transcribe.v1 import transcribe_pb2 as transcribe_api
from malha.audio.call import Call, CallConfig
from malha.audio.endpointing import EndpointConfig, Speech
from malha.audio.events import Ack, CallEvent, Segment
from malha.audio.progress import Progress
from malha.audio.recogniser import Listener, Utterance
from malha.bench import speech

Span = tuple[int, float, float, str]


class Recogniser:
    """Answers an utterance with the length of its audio, when it is told to."""

    opened = transcribe_api.Opened()
    crowded = False

    def __init__(self, listener: Listener) -> None:
        self.waiting: list[Utterance] = []
        self._listener = listener

    async def open(self) -> transcribe_api.Opened:
        return self.opened

    async def close(self) -> None:
        pass

    def begin(self, context: Any) -> Utterance:
        self.waiting.append(Utterance(context))
        return self.waiting[-1]

    def add(self, utterance: Utterance, speech: Speech) -> None:
        utterance.pieces.append(speech.pcm)

    def end(self, utterance: Utterance) -> None:
        utterance.ended = True

    def answer(self, keep: int = 0) -> None:
        """All but the newest ``keep``."""
        while self.waiting and self.waiting[0].ended and sum(each.ended for each in self.waiting) > keep:
            utterance = self.waiting.pop(0)
            self._listener.final(utterance, transcribe_api.Final(text=str(utterance.size)))

    async def finish(self) -> None:
        self.answer()


@dataclass
class Caller:
    """Plays one call at one owner after the other. Of each, what it stored and acknowledged last is known to the next."""

    pcm: np.ndarray
    rate: int
    piece: int
    slow: bool = False
    """Whether finals come an utterance later."""
    told: list[Span] = field(default_factory=list)
    stored: Progress | None = None
    keep: tuple[int, int] | None = None
    save: bool = False
    position: int = 0

    async def play(self, losses: Sequence[float]) -> list[Span]:
        for loss in (*losses, len(self.pcm) / self.rate):
            call, recognisers = await self._own()
            until = min(len(self.pcm), round(loss * self.rate))
            while self.position < until:
                content = self.pcm[self.position : self.position + self.piece]
                await call.add(content.tobytes(), self.position)
                self.position += len(content)
                for recogniser in recognisers:
                    recogniser.answer(keep=self.slow)
                if self.position // self.rate != (self.position - len(content)) // self.rate:
                    call.acknowledge()
                if self.save:
                    self.stored, self.save = call.progress(), False
        await call.finish()
        return sorted((channel, round(start, 6), round(end, 6), text) for channel, start, end, text in self.told)

    async def _own(self) -> tuple[Call, list[Recogniser]]:
        recognisers: list[Recogniser] = []

        def make(_rate: int, listener: Listener) -> Any:
            recognisers.append(Recogniser(listener))
            return recognisers[-1]

        progress = None
        if self.stored is not None:
            progress = Progress.of(json.loads(json.dumps(self.stored.columns())))
            assert progress is not None
            progress = progress.starting_at(*self.keep) if self.keep is not None else progress
        self.position = min(self.position, progress.position if progress is not None else 0)
        channels = self.pcm.shape[1]
        config = CallConfig("pcm16", self.rate, channels, (), True, False, False, 1.5, 50.0, EndpointConfig())
        call = Call(config, make, self._tell, progress)
        await call.open()
        return call, recognisers

    def _tell(self, event: CallEvent, _position: int) -> None:
        if isinstance(event, Segment):
            self.told.append((event.channel, event.start, event.end, event.text))
            self.save = True
        elif isinstance(event, Ack):
            if self.stored is None:
                self.save = True
            else:
                self.keep = event.keep_from, event.keep_from_frame


def conversation(seconds: float, rate: int, channels: int) -> np.ndarray:
    """Speech, pauses, and sounds so short and faint that a detector may take them for speech or not."""
    columns = []
    for channel in range(channels):
        random, parts, length = np.random.default_rng(11 + channel), [], 0.0
        while length < seconds:
            pause, faint, talk = random.uniform(0.3, 2.5), random.uniform(0.06, 0.25), random.uniform(0.5, 3.0)
            seed = int(random.integers(1000))
            noise = silence(pause, rate, noise=random.uniform(20, 120), seed=seed)
            blip = (
                voice(faint, rate, loudness=random.uniform(100, 900), seed=seed)
                + silence(faint, rate, noise=60, seed=seed)[: int(faint * rate)]
            )
            parts += [noise, blip.astype(np.int16), silence(0.4, rate, noise=50, seed=seed), voice(talk, rate, seed=seed)]
            length += pause + faint + 0.4 + talk
        columns.append(np.concatenate([*parts, silence(1.0, rate)])[: int(seconds * rate)])
    return np.stack(columns, axis=1)


def losses(seconds: float, seed: int) -> list[float]:
    return np.cumsum(np.random.default_rng(seed).uniform(0.7, 6, int(seconds / 3.4))).tolist()


@pytest.mark.parametrize("slow", [False, True], ids=["finals at once", "finals late"])
@pytest.mark.parametrize(("rate", "channels", "piece"), [(16_000, 1, 1_600), (16_000, 1, 777), (8_000, 2, 800)])
async def test_every_owner_of_a_call_decides_alike(rate: int, channels: int, piece: int, *, slow: bool) -> None:
    pcm = conversation(60, rate, channels)
    expected = await Caller(pcm, rate, piece).play([])
    assert len(expected) >= 10 * channels
    for seed in range(3):
        assert await Caller(pcm, rate, piece, slow).play(losses(60, seed)) == expected


async def test_real_speech_is_cut_alike_by_every_owner(shared_data: Path) -> None:
    pcm = speech.join(speech.recordings(shared_data), "recordings").samples[: 120 * speech.RATE]
    expected = await Caller(pcm, speech.RATE, 1_600).play([])
    assert len(expected) >= 20
    for seed in range(3):
        found = await Caller(pcm, speech.RATE, 1_600).play(losses(120, seed))
        assert len(found) == len(expected)
        differing = [(one, other) for one, other in zip(found, expected, strict=True) if one != other]
        assert all(abs(one[1] - other[1]) <= 0.05 for one, other in differing), differing
        assert len(differing) <= 3, "where ten seconds without a pause were cut"


async def test_resampled_audio_is_cut_alike_by_every_owner() -> None:
    pcm = np.repeat(conversation(40, 16_000, 1), 3, axis=0)
    expected = await Caller(pcm, 48_000, 4_800).play([])
    for seed in range(2):
        found = await Caller(pcm, 48_000, 4_800).play(losses(40, seed))
        assert [(channel, start) for channel, start, *_ in found] == [(channel, start) for channel, start, *_ in expected]
        await asyncio.sleep(0)
