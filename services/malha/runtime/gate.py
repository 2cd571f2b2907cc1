"""What stands before every RPC: limits of the caller's address, authentication, scope, quota. And what ends a stream whose token ended."""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Mapping
from enum import Enum, auto
from typing import Any, Final

from malha.runtime import logs
from malha.runtime.auth import Authenticator, Principal, current_principal, digest_of
from malha.runtime.errors import MalhaError, Unauthenticated
from malha.runtime.logs import Event
from malha.runtime.quotas import UNLIMITED, Quotas
from malha.runtime.stream import Stream

log = logs.get("runtime.gate")

CHECK_SECONDS: Final = 10.0
"""Between two looks at the tokens of open streams."""


class Way(Enum):
    """How a call came here."""

    SOCKET = auto()
    """On a connection of its own, or in a relay: then the relay's peer is its own."""
    PROCESS = auto()
    """From a service of this process, on behalf of a caller who was let in and counted where he came in."""


class Gate:
    """Lets calls in. One per server."""

    def __init__(self, authenticator: Authenticator, quotas: Quotas | None = None) -> None:
        self._authenticator = authenticator
        self._quotas = quotas or Quotas(UNLIMITED)
        self._watch = TokenWatch(authenticator)
        self._watching: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Raises Unavailable while a store that is needed is away."""
        await self._authenticator.start()
        self._watching = asyncio.create_task(self._watch.run(), name="token-watch")

    async def close(self) -> None:
        """Look after nothing more."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait({self._watching})
        await self._quotas.close()
        await self._authenticator.close()

    async def admit(self, context: Any, metadata: Mapping[str, str], scope: str, way: Way) -> Principal:
        """Who calls, if he may. Raises ResourceExhausted, Unauthenticated, Unavailable, PermissionDenied."""
        authorization = metadata.get("authorization", "")
        if way is Way.PROCESS and (caller := current_principal.get()) is not None and authorization == f"Bearer {caller.token}":
            caller.check_scope(scope)
            return caller
        principal = await self._authenticate(authorization, context.peer())
        principal.check_scope(scope)
        current_principal.set(principal)
        return principal

    async def count(self, principal: Principal, way: Way) -> None:
        """Count a unary call for its tenant. Raises ResourceExhausted."""
        if way is Way.SOCKET:
            await self._quotas.count(principal)

    @contextlib.asynccontextmanager
    async def serving(self, stream: Stream[Any, Any], way: Way, *, exempt: bool) -> AsyncIterator[None]:
        """For as long as this is entered a stream has its place among its tenant's, and ends when its token does.

        One that is ``exempt`` is not refused a place. Raises ResourceExhausted.
        """
        if way is Way.PROCESS:
            yield
            return
        slot = self._quotas.reserve(stream.principal.tenant_key) if exempt else await self._quotas.enter(stream.principal)
        try:
            with self._watch.watching(stream):
                yield
        finally:
            slot.release()

    async def _authenticate(self, authorization: str, peer: str) -> Principal:
        addresses = self._quotas.addresses
        address = addresses.limited(peer)
        addresses.take(address)
        try:
            return await self._authenticator.authenticate(authorization, lambda: addresses.check_failures(address))
        except Unauthenticated:
            addresses.fail(address)
            raise


class TokenWatch:
    """Ends streams whose token was revoked, has expired or is gone."""

    def __init__(self, authenticator: Authenticator, seconds: float = CHECK_SECONDS) -> None:
        self._authenticator = authenticator
        self._seconds = seconds
        self._streams: defaultdict[bytes, set[Stream[Any, Any]]] = defaultdict(set)

    @contextlib.contextmanager
    def watching(self, stream: Stream[Any, Any]) -> Iterator[None]:
        """Look after a stream."""
        digest = digest_of(stream.principal.token)
        self._streams[digest].add(stream)
        try:
            yield
        finally:
            streams = self._streams[digest]
            streams.discard(stream)
            if not streams:
                del self._streams[digest]

    async def run(self) -> None:
        """Look every so often, until cancelled. A store that is away ends nobody."""
        while True:
            await asyncio.sleep(self._seconds)
            try:
                await self.look()
            except MalhaError as error:
                log.warning(Event.TOKENS_UNCHECKED, reason=error.reason, tokens=len(self._streams))
            except Exception as error:
                log.error(Event.TOKENS_UNCHECKED, cause=error, tokens=len(self._streams))

    async def look(self) -> None:
        """Ask for the tokens of all open streams at once, and end what has to end. Raises Unavailable."""
        for digest, reason in (await self._authenticator.ended(list(self._streams))).items():
            streams = list(self._streams.get(digest, ()))
            log.info(Event.TOKEN_ENDED, reason=reason.reason, streams=len(streams))
            for stream in streams:
                stream.end(reason)
