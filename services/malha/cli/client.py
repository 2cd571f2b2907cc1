"""How the program talks to a running server: by the SDK, and with a clear word where none runs."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from malha.runtime.errors import FailedPrecondition, Unavailable

try:
    from malha import sdk as sdk  # noqa: PLC0414 - the commands take it from here
except ImportError as error:
    raise FailedPrecondition("this command needs the SDK: pip install 'malha-services[local]'", reason="MISSING_EXTRA") from error

START_ONE = "start one with: malha up"


@asynccontextmanager
async def connected(target: str | None) -> AsyncIterator[sdk.Malha]:
    """A client of the server. Raises Unavailable if none answers, and what the SDK raises."""
    try:
        async with sdk.Malha(target) as malha:
            yield malha
    except sdk.TokenMissing as error:
        raise Unavailable(f"no server has run here, so there is no token: {START_ONE}", reason="TOKEN_MISSING") from error
    except sdk.Unavailable as error:
        where = f"at {target}" if target else "here"
        raise Unavailable(
            f"no server answers {where}: {START_ONE}" if not error.reason else error.message, reason=error.reason or "NO_SERVER"
        ) from error
