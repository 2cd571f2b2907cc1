"""Live before background: the turns of a queue, those of a worker, places at an engine."""

import asyncio
import contextlib

import pytest

from malha.runtime.errors import EngineBusy
from malha.runtime.host_places import Places
from malha.runtime.precedence import LIVE_TURNS, Precedence
from malha.runtime.wire import Kind, encode
from malha.runtime.worker import _Turns


def test_background_work_has_its_turn_when_nothing_live_waits():
    precedence = Precedence()
    assert precedence.background_next(live=False, background=True)
    assert not precedence.background_next(live=True, background=True)
    assert not precedence.background_next(live=False, background=False)


def test_background_work_that_waits_is_overtaken_so_often_and_no_more():
    precedence = Precedence()
    turns = [precedence.background_next(live=True, background=True) for _ in range(3 * (LIVE_TURNS + 1))]
    assert turns == 3 * [*[False] * LIVE_TURNS, True]


def test_turns_are_counted_from_when_background_work_waits():
    precedence = Precedence()
    for _ in range(2 * LIVE_TURNS):
        precedence.background_next(live=True, background=False)
    assert [precedence.background_next(live=True, background=True) for _ in range(LIVE_TURNS)] == [False] * LIVE_TURNS


# The turns of a worker


def turns_of(turns: _Turns, count: int) -> list[int]:
    """Whose turns follow, all of whom have more to do after each."""
    taken = []
    for _ in range(count):
        stream = turns.take()
        assert stream is not None
        taken.append(stream.identifier)
        turns.give_back(stream)
    return taken


def open_streams(live: tuple[int, ...] = (), background: tuple[int, ...] = ()) -> _Turns:
    turns = _Turns(8)
    for kind, identifiers in ((Kind.OPEN_BACKGROUND, background), (Kind.OPEN, live)):
        for identifier in identifiers:
            turns.accept(kind, identifier, encode(kind, identifier, None))
    return turns


def test_live_streams_take_turns_before_background_ones_that_came_first():
    turns = open_streams(live=(1, 2), background=(11, 12, 13))
    assert turns_of(turns, 6) == [1, 2, 1, 2, 1, 2]


def test_background_streams_are_done_one_after_the_other():
    turns = open_streams(background=(11, 12))
    assert turns_of(turns, 3) == [11, 11, 11]
    turns.accept(Kind.CANCEL, 11, b"")
    gone = turns.take()
    assert gone is not None
    assert gone.cancelled
    turns.forget(gone)
    turns.give_back(gone)
    assert turns_of(turns, 2) == [12, 12]


def test_a_live_stream_comes_between_two_turns_of_a_background_one():
    turns = open_streams(background=(11,))
    under_way = turns.take()
    turns.accept(Kind.OPEN, 1, encode(Kind.OPEN, 1, None))
    assert under_way is not None
    turns.give_back(under_way)
    assert turns_of(turns, 1) == [1]


def test_busy_live_streams_leave_background_ones_a_share():
    turns = open_streams(live=(1, 2), background=(11,))
    taken = turns_of(turns, 4 * (LIVE_TURNS + 1))
    assert taken.count(11) == 4
    assert taken[LIVE_TURNS] == 11


def test_a_cancelled_background_stream_goes_first():
    turns = open_streams(live=(1,), background=(11, 12))
    turns.accept(Kind.CANCEL, 12, b"")
    first = turns.take()
    assert first is not None
    assert first.identifier == 12


# Places


class Engine:
    """Places that are taken and given back by the test."""

    def __init__(self, places: int, max_waiting: int = 4) -> None:
        self.places = Places("test", places=places, max_waiting=max_waiting, on_wait=lambda _: None)
        self.inside: list[str] = []
        self._leave: dict[str, asyncio.Event] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def come(self, name: str, *, background: bool = False) -> None:
        """Ask for a place. Raises at once what the places raise at once."""
        self._leave[name] = asyncio.Event()
        self._tasks[name] = asyncio.create_task(self._hold(name, background=background))
        await asyncio.sleep(0)
        if self._tasks[name].done():
            await self._tasks[name]

    async def leave(self, name: str) -> None:
        self._leave[name].set()
        await self._tasks[name]
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    async def give_up(self, name: str) -> None:
        self._tasks[name].cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._tasks[name]

    async def _hold(self, name: str, *, background: bool) -> None:
        async with self.places.take(background=background):
            self.inside.append(name)
            await self._leave[name].wait()
            self.inside.remove(name)


async def test_background_streams_leave_half_of_the_places():
    engine = Engine(4)
    for name in ("b1", "b2", "b3"):
        await engine.come(name, background=True)
    assert engine.inside == ["b1", "b2"]
    await engine.come("l1")
    await engine.come("l2")
    assert engine.inside == ["b1", "b2", "l1", "l2"]
    await engine.leave("l1")
    assert "b3" not in engine.inside
    await engine.leave("b1")
    assert "b3" in engine.inside


async def test_who_is_live_gets_the_place_that_becomes_free():
    engine = Engine(2)
    await engine.come("b1", background=True)
    await engine.come("l1")
    await engine.come("b2", background=True)
    await engine.come("l2")
    await engine.leave("b1")
    assert engine.inside == ["l1", "l2"]
    await engine.leave("l1")
    assert engine.inside == ["l2", "b2"]


async def test_the_only_place_is_for_background_streams_too():
    engine = Engine(1)
    await engine.come("b1", background=True)
    assert engine.inside == ["b1"]


async def test_background_streams_that_wait_leave_room_for_live_ones_to_wait():
    engine = Engine(1, max_waiting=4)
    for name in ("b1", "b2", "b3"):
        await engine.come(name, background=True)
    with pytest.raises(EngineBusy):
        await engine.come("b4", background=True)
    await engine.come("l1")
    await engine.come("l2")
    with pytest.raises(EngineBusy):
        await engine.come("l3")
    assert engine.places.waiting == 4


async def test_a_background_stream_that_gives_up_waiting_keeps_nothing():
    engine = Engine(2)
    await engine.come("b1", background=True)
    await engine.come("b2", background=True)
    await engine.give_up("b2")
    assert engine.places.waiting == 0
    await engine.leave("b1")
    await engine.come("b3", background=True)
    assert engine.inside == ["b3"]


def test_where_ends_are_waited_for_the_stream_that_ended_first_goes_first_and_the_others_in_turn():
    turns = open_streams(live=(1, 2, 3, 4))
    turns.ended_first = True
    for identifier in (3, 2):
        turns.accept(Kind.FINISH, identifier, b"")
    assert turns_of(turns, 2) == [3, 3]
    ended = turns.take()
    assert ended is not None
    turns.forget(ended)
    turns.give_back(ended)
    assert turns_of(turns, 2) == [2, 2]
    ended = turns.take()
    assert ended is not None
    turns.forget(ended)
    turns.give_back(ended)
    assert turns_of(turns, 4) == [1, 4, 1, 4]
