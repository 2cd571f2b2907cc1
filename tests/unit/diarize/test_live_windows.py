"""When a live stream asks for prints: soon where somebody begins to speak, later and together for the rest."""

import numpy as np
from conftest import silence, voice

from malha.diarize.channel import Channel
from malha.diarize.clustering import group
from malha.diarize.engine import DiarizationConfig, Turn
from malha.diarize.engines.resemblyzer import FIRST_FRAMES, LATER_FRAMES, _Stream
from malha.diarize.engines.resemblyzer_messages import Grouping, Windows
from malha.diarize.engines.resemblyzer_questions import Questions
from malha.diarize.speech import FRAME_SECONDS

PIECE_SECONDS = 0.4
RATE = 16_000


class Answering:
    """In the place of the engine host: every window sounds the same, and it is remembered how many were asked for at once."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    async def call(self, arguments: object, item: object, *, timeout_seconds: float, background: bool) -> object:
        del arguments, timeout_seconds, background
        if isinstance(item, Grouping):
            return group(item.prints, item.weights, item.max_speakers)
        assert isinstance(item, Windows)
        self.asked.append(len(item.pcm))
        return np.tile(np.array([1.0, 0.0], np.float32), (len(item.pcm), 1))


async def test_windows_wait_for_each_other_and_turns_for_none() -> None:
    samples = np.concatenate(
        [piece for number in range(6) for piece in (silence(0.6), voice(3.3 if number % 2 else 0.8, seed=number))] + [silence(3.0)]
    )
    planned = Channel()
    windows = [job.window for job in [*planned.hear(samples), *planned.finish()]]
    host, told = Answering(), list[tuple[float, Turn]]()
    stream = _Stream(Questions(host), DiarizationConfig("t"))  # type: ignore[arg-type]  # of the host only `call` is used
    step = int(PIECE_SECONDS * RATE)
    for at in range(0, len(samples), step):
        heard = (at + step) / RATE
        told += [(heard, each) for each in await stream.hear(samples[at : at + step].tobytes()) if isinstance(each, Turn)]
        waited = [stream._channel.frames - job.window.end for job in stream._waiting]
        assert all(frames < LATER_FRAMES + PIECE_SECONDS / FRAME_SECONDS for frames in waited)
        assert all(
            stream._channel.frames - job.window.start < FIRST_FRAMES for job in stream._waiting if job.window.start == job.window.stretch
        )
    assert sum(host.asked) == len(windows)
    assert len(host.asked) <= 9
    for start in {window.stretch * FRAME_SECONDS for window in windows}:
        first = min(second for second, turn in told if turn.start <= start + 0.25 <= turn.end)
        assert first - start <= 2.0


async def test_a_channel_of_one_speaker_has_no_windows_asked_for_by_others() -> None:
    host = Answering()
    questions = Questions(host)  # type: ignore[arg-type]  # of the host only `call` is used
    alone, known, asking = (
        _Stream(questions, config)
        for config in (DiarizationConfig("t", max_speakers=1), DiarizationConfig("t", max_speakers=1, prints=True), DiarizationConfig("t"))
    )
    with alone.in_company(), known.in_company():
        for stream in (alone, known):
            await stream.hear(np.concatenate((silence(0.2), voice(0.6, seed=1), silence(0.4))).tobytes())
            assert len(list(stream._waiting)) == 1
        await asking.hear(np.concatenate((silence(0.2), voice(1.5, seed=2))).tobytes())
    assert host.asked == [len(asking._channel._windows) + 1]
