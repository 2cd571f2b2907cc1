"""The edge as a server: bind, serve, drain."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import uvicorn

from malha.edge.app import create_app
from malha.edge.http_protocol import HttpProtocol
from malha.edge.limits import RateLimit
from malha.edge.protocol import SocketProtocol
from malha.edge.settings import EdgeSettings
from malha.edge.sockets import Sockets
from malha.runtime import logs
from malha.runtime.admin import Admin
from malha.runtime.errors import FailedPrecondition
from malha.runtime.job_files import JobFiles, JobFilesSettings
from malha.runtime.logs import Event
from malha.runtime.mesh import Mesh
from malha.runtime.process import tune_collector
from malha.runtime.settings import RuntimeSettings, is_loopback
from malha.runtime.supervisor import notify_ready
from malha.runtime.tls import key_pair

log = logs.get("edge.server")

IDLE_CONNECTIONS = 1024
"""HTTP connections beyond those of sockets; uvicorn answers more with 503."""
CLOSE_SECONDS = 3
"""How long requests may go on at least once all sockets are gone."""


class EdgeServer:
    """Serves the edge on the running event loop."""

    def __init__(self, settings: EdgeSettings, runtime: RuntimeSettings) -> None:
        self._settings = settings
        self._runtime = runtime
        self._mesh = Mesh(runtime, lambda: f"127.0.0.1:{runtime.grpc_port}")
        self._limit = RateLimit(settings.requests_per_minute)
        self._sockets = Sockets(settings, self._mesh, self._limit)
        self._tasks: list[asyncio.Task[None]] = []
        self._uvicorn: _Uvicorn | None = None
        self.port = 0

    async def start(self) -> int:
        """Listen; the port. Raises FailedPrecondition for an address that is taken or not allowed."""
        listener = self._bind()
        self.port = listener.getsockname()[1]
        self._uvicorn = _Uvicorn(self._config())
        serving = asyncio.create_task(self._uvicorn.serve([listener]), name="edge-uvicorn")
        while not self._uvicorn.started and not serving.done():  # noqa: ASYNC110 - uvicorn tells it by this flag alone
            await asyncio.sleep(0.005)
        if serving.done():
            listener.close()
            raise FailedPrecondition(f"the edge could not start: {serving.exception()}", reason="EDGE_NOT_STARTED") from serving.exception()
        self._tasks = [serving, asyncio.create_task(self._sockets.watch(), name="edge-watch")]
        log.info(Event.SERVER_LISTENING, port=self.port)
        return self.port

    async def stop(self) -> None:
        """Stop accepting, let sockets and requests end for `drain_seconds`, then end what is left."""
        assert self._uvicorn is not None, "stop() follows start()"
        log.info(Event.DRAIN_STARTED, streams=len(self._sockets))
        for listening in self._uvicorn.servers:
            listening.close()
        loop = asyncio.get_running_loop()
        until = loop.time() + self._settings.drain_seconds
        drained = await self._sockets.drain(self._settings.drain_seconds)
        self._uvicorn.config.timeout_graceful_shutdown = max(CLOSE_SECONDS, round(until - loop.time()))  # what requests still have
        self._uvicorn.should_exit = True
        serving, *others = self._tasks
        for task in others:
            task.cancel()
        await asyncio.gather(serving, *others, return_exceptions=True)
        await self._mesh.close()
        log.info(Event.DRAIN_ENDED, drained=drained)

    def _config(self) -> uvicorn.Config:
        settings = self._settings
        files = JobFiles(self._runtime.data_dir, JobFilesSettings().job_files_bytes)
        return uvicorn.Config(
            create_app(settings, self._mesh, self._sockets, self._limit, files, local=is_loopback(settings.host)),
            http=HttpProtocol,
            ws=SocketProtocol,
            ws_max_size=settings.max_frame_bytes,
            ws_per_message_deflate=False,
            ws_ping_interval=settings.ping_seconds,
            ws_ping_timeout=settings.ping_seconds,
            lifespan="off",
            access_log=False,
            log_config=None,
            server_header=False,
            proxy_headers=bool(settings.trusted_proxies),
            forwarded_allow_ips=settings.trusted_proxies,
            limit_concurrency=settings.max_sockets + IDLE_CONNECTIONS,
            timeout_graceful_shutdown=CLOSE_SECONDS,
            ssl_certfile=settings.tls_certificate,
            ssl_keyfile=settings.tls_key,
        )

    def _bind(self) -> socket.socket:
        settings = self._settings
        pair = key_pair(settings.tls_certificate, settings.tls_key, "MALHA_EDGE_TLS")
        if not (pair or self._runtime.insecure or is_loopback(settings.host)):
            raise FailedPrecondition(
                f"{settings.host} can be reached from other machines: set MALHA_EDGE_TLS_CERTIFICATE and MALHA_EDGE_TLS_KEY, or pass --insecure",
                reason="INSECURE_ADDRESS",
            )
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        try:
            return socket.create_server((settings.host.strip("[]"), settings.port), family=family, backlog=2048)
        except OSError as error:
            raise FailedPrecondition(
                f"port {settings.port} on {settings.host} cannot be had ({error.strerror}): stop what uses it, or set MALHA_EDGE_PORT",
                reason="PORT_TAKEN",
            ) from None


class _Uvicorn(uvicorn.Server):
    """uvicorn without signal handlers: the process runner owns them."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(settings: EdgeSettings, runtime: RuntimeSettings, stop: asyncio.Event) -> None:
    """Serve until ``stop`` is set, then drain."""
    server, serving = EdgeServer(settings, runtime), asyncio.Event()
    admin = Admin(settings.admin_port, serving.is_set, "MALHA_EDGE_ADMIN_PORT")
    try:
        port = await server.start()
        serving.set()
        tune_collector()
        scheme = "http" if settings.tls_certificate is None else "https"
        notify_ready({"port": str(port), "admin_port": str(admin.port), "scheme": scheme})
        await stop.wait()
        serving.clear()
        await server.stop()
    finally:
        admin.close()
