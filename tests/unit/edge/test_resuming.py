"""A call that goes on with another server: what is sent again, whatever is said meanwhile, and nothing left running after it."""

import asyncio
from collections.abc import Callable
from typing import cast

from malha.api.audio.v1 import audio_pb2 as api
from malha.edge.calls import Bidi
from malha.edge.errors import ServiceAway
from malha.edge.framing import Framer, audio_request
from malha.edge.resuming import ResumableCall

PIECE = audio_request(bytes(3200))
UNITS = 1600


class Server:
    """One connection to Audio. Tells ``events``, then waits; ``on_write`` is called before a request is taken."""

    def __init__(self, *events: api.StreamResponse, lost: bool = False, on_write: Callable[[], None] = lambda: None) -> None:
        self.heard: list[api.StreamRequest] = []
        self.waits = asyncio.Event()
        self._events = list(events)
        self._lost = lost
        self._on_write = on_write

    async def open(self, request: api.StreamRequest) -> None:
        self.heard.append(request)

    async def write(self, request: bytes) -> bool:
        self._on_write()
        await asyncio.sleep(0)
        self.heard.append(api.StreamRequest.FromString(request))
        return True

    async def read(self) -> api.StreamResponse | None:
        if self._events:
            return self._events.pop(0)
        if self._lost:
            raise ServiceAway("lost")
        self.waits.set()
        await asyncio.Event().wait()
        return None

    def cancel(self) -> None:
        self.waits.set()

    def tell(self, event: api.StreamResponse) -> None:
        self._events.append(event)


def opened(token: str) -> api.StreamResponse:
    return api.StreamResponse(opened=api.Opened(resume_token=token))


def resumable(*servers: Server) -> ResumableCall:
    left = list(servers)
    return ResumableCall(lambda: cast("Bidi", left.pop(0)), Framer(frame_bytes=2, rate=16_000), lambda *_: None)


async def lost_after(call: ResumableCall, pieces: int) -> asyncio.Task[object]:
    """Audio is handed on, the server is lost; the task reads on."""
    await call.open(api.StreamRequest(open=api.Open()))
    assert await call.read() is not None
    for number in range(pieces):
        await call.write((PIECE, number * UNITS, UNITS))
    return asyncio.create_task(call.read())


async def test_an_ack_that_lets_go_of_all_that_was_to_be_sent_again_does_not_stop_the_audio() -> None:
    first = Server(opened("a"), lost=True)

    def forget() -> None:
        call._note(api.StreamResponse(ack=api.Ack(keep_from=10 * UNITS, keep_from_frame=10 * UNITS)))

    second = Server(opened("b"), on_write=forget)
    call = resumable(first, second)
    reading = await lost_after(call, 5)
    async with asyncio.timeout(30):
        await second.waits.wait()
        while call._catching_up is not None and not call._catching_up.done():
            await asyncio.sleep(0.01)
        await call.write((PIECE, 10 * UNITS, UNITS))
    assert len(second.heard) == 3, "to resume, what was sent again before the ack, and what followed"
    assert second.heard[-1].audio.content == bytes(3200)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    await call.close()


async def test_a_call_that_is_given_up_leaves_nothing_running() -> None:
    stuck = asyncio.Event()

    class Stuck(Server):
        async def write(self, request: bytes) -> bool:
            stuck.set()
            await asyncio.Event().wait()
            return True

    before = asyncio.all_tasks()
    call = resumable(Server(opened("a"), lost=True), Stuck(opened("b")))
    reading = await lost_after(call, 5)
    await asyncio.wait_for(stuck.wait(), 30)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    await call.close()
    assert asyncio.all_tasks() == before
    assert not await call.write((PIECE, 5 * UNITS, UNITS)), "it says that it is over"
