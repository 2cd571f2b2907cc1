"""The client side of the mesh: a name to a channel that reconnects quickly and carries the caller's identity and trace."""

from collections.abc import Callable
from typing import Any, cast

import grpc

from malha.runtime import tracing
from malha.runtime.auth import current_principal
from malha.runtime.inprocess import InProcessChannel
from malha.runtime.relay_client import RelayChannel
from malha.runtime.settings import RuntimeSettings
from malha.runtime.tls import key_pair, roots, server_name

MESSAGE_BYTES = 4 * 1024 * 1024
"""The largest message a server or client of Malha takes."""

Options = tuple[tuple[str, int | str], ...]

OPTIONS: Options = (
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 3_000),  # so long may connecting take; at 50, a server that needed 0.3 s was never reached
    ("grpc.max_reconnect_backoff_ms", 250),  # the default backoff added four seconds after an outage
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.enable_retries", 0),  # a retried stream would replay `open`
    ("grpc.http2.bdp_probe", 0),
    ("grpc.max_receive_message_length", MESSAGE_BYTES),
    ("grpc.use_local_subchannel_pool", 1),
)


class Mesh:
    """Channels by capability name (``transcribe``), one each, made when first asked for.

    A capability's target is its setting ``MALHA_<NAME>_TARGET``; without one it is in this process, where it is served here, else ``default``.
    """

    def __init__(self, settings: RuntimeSettings, default: Callable[[], str]) -> None:
        """Raises FailedPrecondition for files of TLS that are none."""
        self._settings = settings
        self._roots = roots(settings.tls_ca) if settings.tls_ca is not None else None
        self._own = key_pair(settings.tls_certificate, settings.tls_key)
        self._default = default
        self._channels: dict[str, grpc.aio.Channel] = {}
        self._relays: dict[str, RelayChannel] = {}

    def serve(self, capability: str, channel: InProcessChannel) -> None:
        """Tell that this process serves a capability."""
        if not self._target(capability):
            self._channels[capability] = cast("grpc.aio.Channel", channel)

    def channel(self, capability: str) -> grpc.aio.Channel:
        """The channel to a capability."""
        channel = self._channels.get(capability)
        if channel is None:
            channel = self._channels[capability] = self._connect(self._target(capability))
        return channel

    def relay(self, capability: str) -> RelayChannel:
        """A channel to a capability that carries all its calls in one stream, and so to one process."""
        relay = self._relays.get(capability)
        if relay is None:
            relay = self._relays[capability] = RelayChannel(self.channel(capability))
        return relay

    def _target(self, capability: str) -> str:
        return getattr(self._settings, f"{capability}_target", "")

    def _connect(self, target: str) -> grpc.aio.Channel:
        interceptors = _client_interceptors() if tracing.enabled() else None
        trusted, options = (self._roots, OPTIONS) if target else self._default_trust()
        target = target or self._default()
        if trusted is None:
            return grpc.aio.insecure_channel(target, options=options, interceptors=interceptors)
        return grpc.aio.secure_channel(target, grpc.ssl_channel_credentials(trusted), options=options, interceptors=interceptors)

    def _default_trust(self) -> tuple[bytes | None, Options]:
        """Of this machine's own server: the certificate it has, which names who others know it as, not the loopback address."""
        if self._own is None:
            return None, OPTIONS
        return self._own.chain, (*OPTIONS, ("grpc.ssl_target_name_override", server_name(self._own.chain)))

    async def close(self) -> None:
        """Close every channel."""
        for relay in self._relays.values():
            await relay.close()
        for channel in self._channels.values():
            await channel.close(grace=None)
        self._channels.clear()


def identity(*extra: tuple[str, str]) -> tuple[tuple[str, str], ...]:
    """Metadata that passes the present caller's token on, so that the tenant is checked again where the work is done."""
    principal = current_principal.get()
    return (("authorization", f"Bearer {principal.token}"), *extra) if principal else extra


def _client_interceptors() -> list[Any]:
    from opentelemetry.instrumentation.grpc import aio_client_interceptors  # noqa: PLC0415 - only where tracing is on: it patches nothing but is slow to import

    return list(aio_client_interceptors())  # type: ignore[no-untyped-call]  # it has no types
