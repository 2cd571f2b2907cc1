"""A question whose answer outlives its server: where that one is lost midway, Chat is asked the same again with what was received, and goes on."""

import asyncio
import random
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, repeat
from typing import Final

from malha.api.chat.v1 import chat_pb2 as api
from malha.edge.calls import Bidi
from malha.edge.errors import ServiceAway
from malha.edge.resuming import OPENED_SECONDS, PAUSES, RESUME_SECONDS
from malha.runtime.errors import DeadlineExceeded, MalhaError, ResourceExhausted, Unavailable
from malha.runtime.ids import uuid7

AWAY: Final = (Unavailable, DeadlineExceeded)
"""What a server that is asked again may say that will be otherwise in a while. So is a limit that is reached, where it says when."""
DRAINING: Final = "DRAINING"
"""Why a server that stops takes no more questions: the next one does."""


class ChatCall:
    """A question on Chat's stream as `Bidi` has it, but that losing the server is not an end: `read` asks again. ``connect`` starts a stream."""

    def __init__(self, connect: Callable[[], Bidi], requests: Sequence[api.ChatRequest]) -> None:
        """``requests``: the whole stream, its last message the question."""
        self._connect = connect
        self._requests = requests
        self._whole = bool(requests[0].open.response_schema)
        self._call: Bidi | None = None
        self._reached = False
        """Whether there was a server to be asked: one that never was there is told of at once."""
        self._opened = False
        """By the server that is being asked."""
        self._told = False
        self._text: list[str] = []
        self._name = str(uuid7())
        """Of the question, by which Chat knows that the same is asked again."""
        self._setback: _Setback | None = None

    async def read(self) -> api.ChatResponse | None:
        """The next event, None after the last. `opened` comes again from each server. Raises what the question failed with for good."""
        while True:
            try:
                response = await self._read()
            except MalhaError as error:
                if self._told:
                    return None  # how the stream ends is nobody's concern
                if not self._may_ask_again(error):
                    raise
                self.cancel()
                self._setback = self._setback or _Setback()
                await self._setback.wait(error)
                continue
            self._note(response)
            return response

    def cancel(self) -> None:
        """Give the question up, unless it is over. Nobody reads meanwhile."""
        if self._call is not None:
            self._call.cancel()
        self._call, self._opened = None, False

    async def _read(self) -> api.ChatResponse | None:
        patience = OPENED_SECONDS if self._setback is not None and not self._opened else None
        try:
            async with asyncio.timeout(patience):
                call = self._call or await self._ask()
                response: api.ChatResponse | None = await call.read()
        except TimeoutError:
            raise ServiceAway("the service does not answer: try again") from None
        if response is None and not self._told:
            raise ServiceAway("the service ended the answer without a word: try again")
        return response

    async def _ask(self) -> Bidi:
        """Say all of it in one step, where there is room: a relay then carries it in one message."""
        opening, *others = self._to_ask()
        call = self._call = self._connect()
        await call.open(opening)
        self._reached = True
        for request in others:
            if not await call.write(request.SerializeToString()):
                break  # `read` tells why
        return call

    def _to_ask(self) -> Iterator[api.ChatRequest]:
        *before, question, finish = self._requests
        yield from before
        again = api.ChatRequest()
        again.CopyFrom(question)
        again.message.received, again.message.external_id = "".join(self._text), self._name
        yield again
        yield finish

    def _may_ask_again(self, error: MalhaError) -> bool:
        if self._whole and self._text:
            return False
        if self._opened:
            return isinstance(error, Unavailable)
        if self._setback is not None:
            return isinstance(error, AWAY) or (isinstance(error, ResourceExhausted) and error.retry_seconds is not None)
        return error.reason == DRAINING or (self._reached and isinstance(error, ServiceAway))

    def _note(self, response: api.ChatResponse | None) -> None:
        kind = None if response is None else response.WhichOneof("event")
        if response is not None and kind == "delta":
            self._text.append(response.delta.text)
            self._setback = None
        self._opened = self._opened or kind == "opened"
        self._told = self._told or kind == "message_end"


class _Setback:
    """A time without progress: one loss, or several in a row."""

    def __init__(self) -> None:
        self._until = asyncio.get_running_loop().time() + RESUME_SECONDS
        self._pauses = chain(PAUSES, repeat(PAUSES[-1]))

    async def wait(self, lost: MalhaError) -> None:
        """Until it makes sense to ask again, as a server said. Raises ``lost`` once that has taken too long, or would."""
        told = 0.0 if isinstance(lost, ServiceAway) else lost.retry_seconds or 0.0
        if asyncio.get_running_loop().time() + told > self._until:
            raise lost
        await asyncio.sleep(told + next(self._pauses) * random.uniform(0.5, 1.0))  # noqa: S311 - many answers were lost at once
