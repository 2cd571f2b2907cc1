"""Started by whoever needs it first."""

import asyncio

import pytest

from malha.runtime.starting import Starting


class Slow:
    def __init__(self, failures: int = 0) -> None:
        self.starts = self.closes = 0
        self.failures = failures

    async def start(self) -> str:
        self.starts += 1
        await asyncio.sleep(0.01)
        if self.starts <= self.failures:
            raise OSError
        return "told"

    async def close(self) -> None:
        self.closes += 1


async def test_all_who_need_it_wait_for_one_start() -> None:
    slow = Slow()
    starting = Starting(slow.start, slow.close)
    assert await asyncio.gather(*(starting.started() for _ in range(5))) == ["told"] * 5
    await starting.close()
    assert (slow.starts, slow.closes) == (1, 1)


async def test_a_start_that_fails_is_tried_again_by_the_next() -> None:
    slow = Slow(failures=1)
    starting = Starting(slow.start, slow.close)
    with pytest.raises(OSError):
        await starting.started()
    assert await starting.started() == "told"


async def test_who_gives_up_waiting_does_not_end_the_start() -> None:
    slow = Slow()
    starting = Starting(slow.start, slow.close)
    waiting = asyncio.create_task(starting.started())
    await asyncio.sleep(0)
    waiting.cancel()
    assert await starting.started() == "told"
    assert slow.starts == 1


async def test_what_was_never_started_is_not_closed() -> None:
    slow = Slow()
    await Starting(slow.start, slow.close).close()
    assert slow.closes == 0
