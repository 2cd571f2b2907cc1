"""Windows of live streams that go to a worker together: whose they are, and what becomes of them where the question fails."""

import asyncio

import numpy as np
import pytest

from malha.diarize.channel import Job
from malha.diarize.engines.resemblyzer_messages import Windows
from malha.diarize.engines.resemblyzer_questions import TOGETHER, Questions, Waiting
from malha.diarize.windows import Window
from malha.runtime.errors import EngineCrashed


class Answering:
    """In the place of the engine host: a window's print is its audio. Answers once it may."""

    def __init__(self) -> None:
        self.asked: list[list[int]] = []
        self.may_answer = asyncio.Event()
        self.failures = 0
        """So many questions fail first."""

    async def call(self, arguments: object, item: object, *, timeout_seconds: float, background: bool) -> object:
        del arguments, timeout_seconds, background
        assert isinstance(item, Windows)
        self.asked.append([pcm[0] for pcm in item.pcm])
        await self.may_answer.wait()
        if self.failures:
            self.failures -= 1
            raise EngineCrashed("as the test wants it")
        return np.array([[pcm[0]] for pcm in item.pcm], np.float32)


@pytest.fixture
def host() -> Answering:
    return Answering()


@pytest.fixture
def questions(host: Answering) -> Questions:
    return Questions(host)  # type: ignore[arg-type]  # of the host only `call` is used


def waiting(*numbers: int, questions: Questions | None = None) -> Waiting:
    made = Waiting()
    made.jobs = jobs(*numbers)
    if questions is not None:
        questions.join(made)
    return made


def jobs(*numbers: int) -> list[Job]:
    return [Job(Window(0, number, number + 60), bytes([number])) for number in numbers]


def answered(of: Waiting) -> list[int]:
    """The windows whose prints came, which are their own."""
    found = [(job.pcm[0], int(embedding[0])) for jobs, prints in of.answered for job, embedding in zip(jobs, prints, strict=True)]
    assert all(number == embedding for number, embedding in found)
    return [number for number, _ in found]


async def test_what_others_wait_for_goes_along_as_far_as_there_is_room(host: Answering, questions: Questions) -> None:
    first = waiting(1, questions=questions)
    small, large, left = waiting(11, 12, questions=questions), waiting(*range(20, 20 + TOGETHER), questions=questions), waiting(31)
    questions.join(left)
    questions.leave(left)
    host.may_answer.set()
    await questions.ask(first, background=False)
    assert host.asked == [[1, 11, 12]]
    assert (answered(first), answered(small)) == ([1], [11, 12])
    assert (first.jobs, small.jobs, len(large.jobs), len(left.jobs)) == ([], [], TOGETHER, 1)


async def test_a_recording_takes_nobody_along(host: Answering, questions: Questions) -> None:
    recording, live = waiting(1), waiting(11, questions=questions)
    host.may_answer.set()
    await questions.ask(recording, background=True)
    assert host.asked == [[1]]
    assert len(live.jobs) == 1


async def test_a_stream_waits_for_what_is_asked_of_it_already(host: Answering, questions: Questions) -> None:
    first, other = waiting(1, questions=questions), waiting(11, questions=questions)
    asking = asyncio.create_task(questions.ask(first, background=False))
    await asyncio.sleep(0)
    other.jobs += jobs(12)
    waits = asyncio.create_task(questions.ask(other, background=False))
    await asyncio.sleep(0)
    assert host.asked == [[1, 11]]
    host.may_answer.set()
    await asyncio.gather(asking, waits)
    assert host.asked == [[1, 11], [12]]
    assert answered(other) == [11, 12]


@pytest.mark.parametrize("cancelled", [True, False])
async def test_others_ask_again_for_what_failed_with_another(host: Answering, questions: Questions, *, cancelled: bool) -> None:
    first, other = waiting(1, questions=questions), waiting(11, questions=questions)
    asking = asyncio.create_task(questions.ask(first, background=False))
    await asyncio.sleep(0)
    other.jobs += jobs(12)
    questions.leave(first)
    waits = asyncio.create_task(questions.ask(other, background=False))
    await asyncio.sleep(0)
    if cancelled:
        asking.cancel()
    else:
        host.failures = 1
        host.may_answer.set()
    with pytest.raises(asyncio.CancelledError if cancelled else EngineCrashed):
        await asking
    host.may_answer.set()
    await waits
    assert host.asked == [[1, 11], [11, 12]]
    assert answered(other) == [11, 12]
    assert first.answered == []
