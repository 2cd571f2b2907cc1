"""When the edge wakes a session for its audio."""

import asyncio

from malha.edge.framing import Framer
from malha.edge.pace import BEAT_SECONDS, BUSY_PIECE_SECONDS, PIECE_SECONDS, SHORT_BEAT_SECONDS, SOME_SOCKETS, STAGGER, Pace
from malha.edge.protocol import DUE, _Inbox

BUSY = 400


def inbox(size: int = 0, seconds: float = 5.0, pace: Pace | None = None) -> _Inbox:
    made = _Inbox(asyncio.get_running_loop())
    made.gather(size, seconds, (pace or Pace(lambda: 1, BUSY)).wake)
    return made


async def settle() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


async def test_audio_is_gathered_and_text_is_not() -> None:
    box = inbox(size=100)
    hearing = asyncio.create_task(box.get())
    await settle()
    box.put_nowait(bytes(60))
    await settle()
    assert not hearing.done()
    box.put_nowait(bytes(40))
    assert await hearing == bytes(60)
    assert await box.get() == bytes(40)
    hearing = asyncio.create_task(box.get())
    await settle()
    box.put_nowait({"text": "stop"})
    assert await hearing == {"text": "stop"}


async def test_gathering_ends_in_time_and_says_so_once() -> None:
    box = inbox(size=100, seconds=0.02)
    hearing = asyncio.create_task(box.get())
    await settle()
    box.put_nowait(bytes(10))
    assert await hearing == bytes(10)
    assert await box.get(held=10) is DUE
    hearing = asyncio.create_task(box.get())
    await asyncio.sleep(0.05)
    assert not hearing.done(), "nothing is held, so nothing is due"
    hearing.cancel()


async def test_what_was_due_is_not_told_once_nothing_is_held() -> None:
    """A stop came in the same moment and took the gathered audio along."""
    box = inbox(size=100, seconds=0.02)
    hearing = asyncio.create_task(box.get())
    await settle()
    box.put_nowait(bytes(10))
    assert await hearing == bytes(10)
    box.put_nowait({"text": "stop"})
    assert await box.get(held=10) == {"text": "stop"}
    hearing = asyncio.create_task(box.get())
    await settle()
    assert not hearing.done()
    hearing.cancel()


async def test_what_the_session_holds_counts() -> None:
    box = inbox(size=100)
    hearing = asyncio.create_task(box.get(held=60))
    await settle()
    box.put_nowait(bytes(40))
    assert await hearing == bytes(40)


async def test_a_cancelled_hearer_loses_nothing() -> None:
    box = inbox(size=100)
    hearing = asyncio.create_task(box.get())
    await settle()
    box.put_nowait(bytes(10))
    hearing.cancel()
    await asyncio.gather(hearing, return_exceptions=True)
    assert box.waits
    assert await box.get() == bytes(10)


async def test_a_busy_edge_wakes_in_beats() -> None:
    sockets, loop = [SOME_SOCKETS - 1], asyncio.get_running_loop()
    pace = Pace(lambda: sockets[0], BUSY)
    assert pace.piece_seconds == PIECE_SECONDS
    at_once, first, second = loop.create_future(), loop.create_future(), loop.create_future()
    pace.wake(at_once)
    assert at_once.done()
    sockets[0] = BUSY
    assert pace.piece_seconds == BUSY_PIECE_SECONDS
    pace.wake(first)
    pace.wake(second)
    second.cancel()
    assert not first.done()
    await asyncio.wait_for(first, 100 * BEAT_SECONDS)


async def test_an_edge_with_some_calls_wakes_in_short_beats_and_joins_no_more() -> None:
    loop = asyncio.get_running_loop()
    pace = Pace(lambda: SOME_SOCKETS, BUSY)
    assert pace.piece_seconds == PIECE_SECONDS
    assert pace.stagger() == 1.0
    first, second = loop.create_future(), loop.create_future()
    pace.wake(first)
    pace.wake(second)
    assert not first.done()
    await asyncio.wait_for(first, 1000 * SHORT_BEAT_SECONDS)
    assert second.done(), "of one beat"


async def test_who_waits_for_a_beat_is_woken_though_the_others_leave() -> None:
    sockets, loop = [BUSY], asyncio.get_running_loop()
    pace = Pace(lambda: sockets[0], BUSY)
    first, second = loop.create_future(), loop.create_future()
    pace.wake(first)
    sockets[0] = 1
    pace.wake(second)
    await asyncio.wait_for(asyncio.gather(first, second), 100 * BEAT_SECONDS)


async def test_calls_that_begin_together_are_heard_in_turn() -> None:
    pace = Pace(lambda: BUSY, BUSY)
    assert {pace.stagger() for _ in range(len(STAGGER))} == set(STAGGER)
    assert Pace(lambda: 1, BUSY).stagger() == 1.0


def test_only_the_first_piece_is_shorter() -> None:
    framer = Framer(frame_bytes=2, rate=16_000)
    framer.join_to(0.2, first=0.5)
    assert [bool(framer.add(bytes(1600))) for _ in range(6)] == [False, True, False, False, False, True]


def test_pieces_larger_than_the_first_do_not_keep_it_short() -> None:
    framer = Framer(frame_bytes=2, rate=16_000)
    framer.join_to(0.2, first=0.5)
    assert [bool(framer.add(bytes(3200))) for _ in range(5)] == [True, False, True, False, True]
