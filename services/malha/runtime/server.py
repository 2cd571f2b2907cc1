"""A gRPC server with Malha's services: start, serve, drain in two stages, stop."""

from __future__ import annotations  # grpc's classes are generic for the type checker only

import asyncio
import errno
import socket
from collections.abc import Sequence
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer

from malha.runtime import logs
from malha.runtime.auth import Authenticator
from malha.runtime.contracts import ENGINE_KEY
from malha.runtime.errors import FailedPrecondition
from malha.runtime.gate import Gate, Way
from malha.runtime.inprocess import InProcessChannel
from malha.runtime.logs import Event
from malha.runtime.mesh import MESSAGE_BYTES
from malha.runtime.quotas import Quotas
from malha.runtime.reflection import add_reflection
from malha.runtime.relay import RelayServer
from malha.runtime.rpc import Handlers, Service
from malha.runtime.settings import RuntimeSettings, is_loopback
from malha.runtime.stream import StreamLimits, Streams
from malha.runtime.tls import key_pair

log = logs.get("runtime.server")

OPTIONS = (
    ("grpc.so_reuseport", 0),  # two servers would bind one port silently
    ("grpc.max_receive_message_length", MESSAGE_BYTES),
    ("grpc.http2.bdp_probe", 0),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
)


class Server:
    """Serves ``services``; contracts named in ``absent`` answer UNIMPLEMENTED. Without ``quotas`` nobody is limited."""

    def __init__(
        self,
        services: Sequence[Service],
        absent: Sequence[str],
        settings: RuntimeSettings,
        authenticator: Authenticator,
        limits: StreamLimits | None = None,
        quotas: Quotas | None = None,
    ) -> None:
        self._services = services
        self._settings = settings
        self._server = grpc.aio.server(options=OPTIONS)
        self._streams = Streams(settings.max_streams, limits)
        self._gate = Gate(authenticator, quotas)
        self._draining = False
        self._health = _Health(services)
        self._starting: list[asyncio.Task[None]] = []
        self.port = 0
        handlers, inside = self._make_handlers(absent, Way.SOCKET), self._make_handlers(absent, Way.PROCESS)
        self._server.add_generic_rpc_handlers((*handlers, RelayServer(handlers).handler()))
        self.in_process = InProcessChannel(inside)
        """To the services of this server, for clients in this process."""
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        if is_loopback(settings.host):
            add_reflection(self._server, (*(service.name for service in services), *absent, "grpc.health.v1.Health"))

    async def start(self) -> int:
        """Listen, then load the services side by side; each is SERVING once loaded. Returns the bound port.

        Raises FailedPrecondition for an address that is taken or not allowed, Unavailable while the store of tokens is away.
        """
        self.port = self._bind()
        await self._gate.start()
        for service in self._services:
            await self._health.set(service.name, health_pb2.HealthCheckResponse.NOT_SERVING)
        await self._health.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
        await self._server.start()
        log.info(Event.SERVER_LISTENING, port=self.port)
        self._starting = [asyncio.create_task(self._load(service), name=f"load-{service.name}") for service in self._services]
        return self.port

    async def wait_serving(self) -> None:
        """Wait until every service is loaded. Raises the first error of one that could not be."""
        await asyncio.gather(*self._starting)
        await self._health.set("", health_pb2.HealthCheckResponse.SERVING)

    async def _load(self, service: Service) -> None:
        try:
            await service.start()
        except Exception as error:
            log.error(Event.SERVICE_FAILED, cause=error, service=service.name)
            raise
        await self._health.set(service.name, health_pb2.HealthCheckResponse.SERVING)
        log.info(Event.SERVICE_SERVING, service=service.name, engine=service.engine)

    async def stop(self) -> None:
        """Stage one: refuse new streams, tell the open ones to go away and wait for them. Stage two: end what is left and close."""
        log.info(Event.DRAIN_STARTED, streams=len(self._streams))
        await self._health.enter_graceful_shutdown()
        await asyncio.sleep(self._settings.drain_notice_seconds)
        self._draining = True
        self._streams.go_away(self._settings.drain_seconds)
        drained = await self._streams.wait_closed(self._settings.drain_seconds)
        await self._streams.end()
        await self._server.stop(grace=0.25)
        for task in self._starting:
            task.cancel()
        await asyncio.gather(*self._starting, return_exceptions=True)
        for service in self._services:
            await service.close()
        await self._gate.close()
        log.info(Event.DRAIN_ENDED, drained=drained)

    def _make_handlers(self, absent: Sequence[str], way: Way) -> tuple[grpc.GenericRpcHandler[Any, Any], ...]:
        handlers = Handlers(self._gate, self._streams, lambda: self._draining, way)
        return (*map(handlers.service, self._services), *map(handlers.unimplemented, absent))

    def _bind(self) -> int:
        settings = self._settings
        address = f"{settings.host}:{settings.grpc_port}"
        pair = key_pair(settings.tls_certificate, settings.tls_key)
        if not (pair or settings.insecure or is_loopback(settings.host)):
            raise FailedPrecondition(
                f"{settings.host} can be reached from other machines: set MALHA_TLS_CERTIFICATE and MALHA_TLS_KEY, or pass --insecure",
                reason="INSECURE_ADDRESS",
            )
        try:
            if pair is not None:
                port: int = self._server.add_secure_port(address, grpc.ssl_server_credentials([(pair.key, pair.chain)]))
            else:
                port = self._server.add_insecure_port(address)
        except RuntimeError:
            raise FailedPrecondition(
                f"port {settings.grpc_port} on {settings.host} {_why_not(settings.host, settings.grpc_port)}, or set MALHA_GRPC_PORT or MALHA_HOST",
                reason="PORT_TAKEN",
            ) from None
        return port


class _Health(HealthServicer):  # type: ignore[misc]  # grpc_health has no types
    """grpc.health.v1, and beside a service's status, as initial metadata, the engine that does its work."""

    def __init__(self, services: Sequence[Service]) -> None:
        super().__init__()
        self._services = {service.name: service for service in services}

    async def Check(self, request: health_pb2.HealthCheckRequest, context: Any) -> health_pb2.HealthCheckResponse:  # noqa: N802 - the contract's name
        service = self._services.get(request.service)
        if service is not None:
            await context.send_initial_metadata(((ENGINE_KEY, service.engine),))
        return await super().Check(request, context)


def _why_not(host: str, port: int) -> str:
    """Why a port could not be had, which gRPC does not tell."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        socket.create_server((host.strip("[]"), port), family=family).close()
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            return f"cannot be had ({error.strerror}): name an address of this machine"
    return "is taken: stop what uses it"
