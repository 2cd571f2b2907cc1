"""How the program talks to a running server: by the SDK, and with a clear word where none runs."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from malha.cli.local_token import local_token
from malha.runtime.errors import FailedPrecondition, Unavailable
from malha.runtime.settings import RuntimeSettings
from malha.runtime.tls import roots

try:
    from malha import sdk as sdk  # noqa: PLC0414 - the commands take it from here
except ImportError as error:
    raise FailedPrecondition("this command needs the SDK: pip install 'malha-services[local]'", reason="MISSING_EXTRA") from error

START_ONE = "start one with: malha up"


@asynccontextmanager
async def connected(target: str | None) -> AsyncIterator[sdk.Malha]:
    """A client of the server: at ``target``, else where MALHA_GRPC_PORT says; by TLS where MALHA_TLS_CA names who is trusted.

    Raises Unavailable if none answers, FailedPrecondition where those roots are none, and what the SDK raises.
    """
    target, trusted = target or _this_machine(), RuntimeSettings().tls_ca
    if trusted is not None:
        roots(trusted)
    try:
        async with sdk.Malha(target, local_token(), ca=trusted) as malha:
            yield malha
    except sdk.Unavailable as error:
        raise Unavailable(
            error.message if error.reason else f"no server answers at {target}: {START_ONE}, or name another with --target",
            reason=error.reason or "NO_SERVER",
        ) from error


def _this_machine() -> str | None:
    """What `malha up` with the same environment and ``.env`` listens on; None, the SDK's default, where it takes any free port."""
    port = RuntimeSettings().grpc_port
    return f"127.0.0.1:{port}" if port else None
