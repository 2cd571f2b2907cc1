"""A call that outlives its server: the edge keeps what the server may need again, and goes on with another on behalf of its client."""

import asyncio
import random
from collections.abc import Callable
from itertools import chain, repeat

from malha.api.audio.v1 import audio_pb2 as api
from malha.edge.calls import Bidi
from malha.edge.errors import ServiceAway
from malha.edge.framing import Framer, Piece
from malha.edge.kept import Kept
from malha.runtime import logs
from malha.runtime.errors import DeadlineExceeded, MalhaError, ResourceExhausted, Unavailable
from malha.runtime.logs import Event

log = logs.get("edge.resuming")

RESUME_SECONDS = 60.0
"""A session that is not resumed by then has been finished by its servers."""
OPENED_SECONDS = 10.0
PAUSES = (0.0, 0.05, 0.1, 0.25, 0.5)


class ResumableCall:
    """A call of Audio as `Bidi` has it. Where its server can resume, losing that one is not an end: `read` connects again.

    ``connect`` starts a connection. ``on_resumed`` is told what the new server said, and how many seconds the call was without one.
    """

    def __init__(self, connect: Callable[[], Bidi], framer: Framer, on_resumed: Callable[[api.Opened, float], None]) -> None:
        self._connect = connect
        self._framer = framer
        self._on_resumed = on_resumed
        self._kept = Kept(framer.second_units)
        self._call = connect()
        self._connected = True
        self._over = False
        self._closed = False
        self._shown = ""
        """The token a client came back with itself."""
        self._had_ended = False
        """Before the client came back to it: what it does not have yet is told, and nothing where it has all."""
        self._token = ""
        self._last_seq = 0
        self._catching_up: asyncio.Task[None] | None = None

    async def open(self, request: api.StreamRequest) -> None:
        """Begin: with `open`, or with the client's own `resume`. Raises what the call failed with."""
        self._last_seq, self._shown = request.resume.after_seq, request.resume.token
        await self._call.open(request)

    async def write(self, piece: Piece) -> bool:
        """Hand a piece of audio on, now or once there is a server again; False if the call is over, which `read` then explains."""
        self._kept.add(piece)
        if self._connected:
            await self._call.write(piece[0])
        return not self._over

    async def say(self, request: api.StreamRequest) -> bool:
        """Hand a control on, in its place among the audio."""
        self._kept.say(self._framer.position, request)
        if self._connected:
            await self._call.write(request.SerializeToString())
        return not self._over

    async def read(self) -> api.StreamResponse | None:
        """The next event, None after the last. Raises what the call failed with for good."""
        while True:
            try:
                response: api.StreamResponse | None = await self._call.read()
                if response is None and not (self._closed or self._had_ended):
                    raise ServiceAway("the call's server ended it without a word: call again")
            except MalhaError as error:
                if self._closed:
                    return None  # it had told all
                if not self._may_resume(error):
                    self._over = True
                    raise
                await self._resume(error)
                continue
            if response is None:
                return None
            self._note(response)
            if not (self._token and response.HasField("go_away")):  # it is ours to go elsewhere
                return response

    async def close(self) -> None:
        """Give the call up, unless it is over. Whoever reads or writes it is cancelled already."""
        self._over = True
        self._call.cancel()
        await self._stop_catching_up()

    def _note(self, response: api.StreamResponse) -> None:
        kind = response.WhichOneof("event")
        self._last_seq = max(self._last_seq, response.seq)
        if kind == "ack":
            self._kept.forget(response.ack.received_through, response.ack.keep_from, response.ack.keep_from_frame)
        elif kind == "opened":
            self._had_ended = bool(self._shown) and not response.opened.resume_token
            self._take_token(response.opened)
            if response.opened.resume_from:
                self._framer.begin_at(response.opened.resume_from)
                self._kept.begin_at(response.opened.resume_from, response.opened.resume_from_frame)
        elif kind == "closed":
            self._closed = True

    def _take_token(self, opened: api.Opened) -> None:
        """The newest. Of a call that had ended there is none: the one that was shown is good for its events."""
        self._token = opened.resume_token or self._token or self._shown

    def _may_resume(self, error: MalhaError) -> bool:
        return bool(self._token) and isinstance(error, Unavailable)

    async def _resume(self, lost: MalhaError) -> None:
        """Connect again. Raises ``lost`` if that takes too long, or what the server refuses it with."""
        self._connected = False
        self._call.cancel()
        await self._stop_catching_up()
        loop = asyncio.get_running_loop()
        began = loop.time()
        for pause in chain(PAUSES, repeat(PAUSES[-1])):
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - many calls were lost at once
            if loop.time() - began > RESUME_SECONDS:
                self._over = True
                raise lost
            try:
                opened = await self._try_resume()
            except MalhaError as error:
                if not isinstance(error, Unavailable | ResourceExhausted | DeadlineExceeded):
                    self._over = True
                    raise
                continue
            self._take_token(opened)
            self._catching_up = asyncio.create_task(self._catch_up(), name="edge-catch-up")
            log.info(Event.CALL_RESUMED, session=opened.session_id, seconds=round(loop.time() - began, 3))
            self._on_resumed(opened, loop.time() - began)
            return

    async def _try_resume(self) -> api.Opened:
        position, frame = self._kept.keep_from
        resume = api.Resume(token=self._token, after_seq=self._last_seq, have_from=position, have_from_frame=frame)
        call = self._connect()
        try:
            async with asyncio.timeout(OPENED_SECONDS):
                await call.open(api.StreamRequest(resume=resume))
                response = await call.read()
        except TimeoutError:
            call.cancel()
            raise ServiceAway("the call's server does not answer: call again") from None
        except BaseException:
            call.cancel()
            raise
        if response is None or not response.HasField("opened"):
            call.cancel()
            raise ServiceAway("the call's server ended it without a word: call again")
        self._call = call
        opened: api.Opened = response.opened
        return opened

    async def _catch_up(self) -> None:
        """Send again what the new server needs; from then on audio goes its way at once."""
        call, kept = self._call, self._kept
        for request in kept.state():
            await call.write(request)
        number = kept.begin
        while (number := max(number, kept.begin)) < kept.end:  # an ack may let go of what was to be sent
            if (request := kept.request(number)) and not await call.write(request):
                return  # the reader finds out
            number += 1
        self._connected = True

    async def _stop_catching_up(self) -> None:
        if self._catching_up is not None:
            self._catching_up.cancel()
            await asyncio.gather(self._catching_up, return_exceptions=True)
            self._catching_up = None
