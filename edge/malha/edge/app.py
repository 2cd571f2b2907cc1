"""The edge's addresses, and what stands before all of them."""

import asyncio
from time import perf_counter

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from malha.edge import metrics, openapi, transcoder
from malha.edge.calls import Tokens, bearer
from malha.edge.chat_completions import Completions
from malha.edge.chat_conversations import Conversations
from malha.edge.chat_errors import is_compatible, openai_error
from malha.edge.counter import Counter
from malha.edge.embeddings import Embeddings
from malha.edge.errors import EdgeStopping, UnsupportedMedia, UpgradeRequired
from malha.edge.health import Health
from malha.edge.jobs import CREATE_NAME, JobUploads
from malha.edge.limits import RateLimit
from malha.edge.ocr import DocumentUploads
from malha.edge.page import page
from malha.edge.replies import error_response, on_error
from malha.edge.settings import EdgeSettings
from malha.edge.sockets import Sockets
from malha.edge.speech import Speech
from malha.edge.transcriptions import Transcriptions
from malha.edge.upload_door import Refusal, UploadDoor
from malha.edge.uploads import Uploads
from malha.runtime import tracing
from malha.runtime.errors import MalhaError, NotFound
from malha.runtime.job_files import JobFiles
from malha.runtime.mesh import Mesh

STREAM = "/api/v1/asr/stream"
COUNTER = "/ws"
HEALTH = "/api/v1/health"
UNAUTHORIZED = 401


def create_app(settings: EdgeSettings, mesh: Mesh, sockets: Sockets, limit: RateLimit, files: JobFiles, *, local: bool) -> Starlette:
    """The ASGI application. ``local``: it can be reached from this machine alone."""
    tokens, rest = Tokens(mesh), transcoder.routes(settings, mesh)
    door = UploadDoor(settings, tokens)
    create_job = next(route.endpoint for route in rest if route.name == CREATE_NAME)
    routes = [
        Route("/", page),
        Route(HEALTH, Health(mesh).report),
        Route("/api/v1/openapi.json", openapi.endpoint(tokens, local=local)),
        Route("/api/v1/asr", Uploads(settings, mesh, door).transcribe, methods=["POST"]),
        Route("/api/v1/tts", Speech(settings, mesh).speak, methods=["POST"]),
        Route("/api/v1/ocr", DocumentUploads(settings, mesh, door).read, methods=["POST"]),
        Route("/api/v1/jobs", JobUploads(settings, mesh, door, files, create_job).create, methods=["POST"]),
        *(
            Route(f"{base}/audio/transcriptions", Transcriptions(settings, mesh, door).transcribe, methods=["POST"])
            for base in ("/v1", "/api/v1")
        ),
        *chat_routes(settings, mesh),
        WebSocketRoute(STREAM, sockets),
        WebSocketRoute(COUNTER, Counter(sockets, tokens)),
        *rest,
    ]
    middleware = [Middleware(Guard, limit=limit, most_bytes=settings.max_upload_bytes)]
    if settings.allowed_origins:  # before the guard: what it refuses, a page must be able to read
        middleware.insert(
            0,
            Middleware(
                CORSMiddleware,
                allow_origins=settings.allowed_origins,
                allow_methods=["DELETE", "GET", "PATCH", "POST", "PUT"],
                allow_headers=["*"],  # OpenAI's own client sends a dozen of its own
            ),
        )
    app = Starlette(
        routes=routes,
        middleware=middleware,
        exception_handlers=dict.fromkeys((MalhaError, HTTPException, ClientDisconnect, Exception), on_error),
    )
    app.router.default = _nowhere
    return app


async def _nowhere(scope: Scope, receive: Receive, send: Send) -> None:
    """No such address. A WebSocket Starlette itself would answer 403, as if its token were wrong."""
    told = error_response(NotFound("there is nothing at this address; GET /api/v1/openapi.json lists what there is"))
    if scope["type"] == "http" and scope["path"] in (STREAM, COUNTER):
        told = error_response(
            UpgradeRequired("this is a WebSocket's address: the request lacks `Upgrade: websocket`, which proxies must pass on"),
            {"Upgrade": "websocket"},
        )
    await told(scope, receive, send)


def chat_routes(settings: EdgeSettings, mesh: Mesh) -> list[Route]:
    """Where models are talked to: as OpenAI's clients do, and in conversations that are kept."""
    completions, conversations, embeddings = Completions(settings, mesh), Conversations(settings, mesh), Embeddings(settings, mesh)
    compatible = [
        route
        for base in ("/v1", "/api/v1")
        for route in (
            Route(f"{base}/chat/completions", completions.complete, methods=["POST"]),
            Route(f"{base}/embeddings", embeddings.embed, methods=["POST"]),
            Route(f"{base}/models", completions.models),
            Route(f"{base}/models/{{alias:path}}", completions.model),
        )
    ]
    return [
        *compatible,
        Route("/api/v1/conversations/{conversation_id}/continue", conversations.go_on, methods=["POST"]),
        Route("/api/v1/conversations/{conversation_id}/continue-stream", conversations.stream, methods=["POST"]),
    ]


class Guard:
    """Limits, measures and traces every HTTP request. Probes are not limited; sockets see to themselves."""

    def __init__(self, app: ASGIApp, limit: RateLimit, most_bytes: int) -> None:
        """``most_bytes``: of a body whose client is refused, what is read so that it can be told."""
        self._app = app
        self._limit = limit
        self._most_bytes = most_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status, begun = perf_counter(), 500, False

        async def told(message: Message) -> None:
            nonlocal status, begun
            if message["type"] == "http.response.start":
                status, begun = message["status"], True
            await send(message)

        headers = Headers(scope=scope)  # the first of several, as the endpoints have it
        token, address = bearer(headers.get("authorization", "")), (scope.get("client") or ("",))[0]
        try:
            with tracing.server_span("malha.edge", scope["method"], headers):
                await self._answer(scope, receive, told, token, address)
        except asyncio.CancelledError:  # the time that a stop leaves requests is over
            if begun:
                raise
            await _told(EdgeStopping("this edge has stopped: send it again", retry_seconds=1), scope)(scope, receive, told)
        finally:
            if token and status == UNAUTHORIZED:
                self._limit.fail(address)
            route = getattr(scope.get("route"), "path", "none")
            metrics.REQUESTS.labels(route, str(status)).inc()
            metrics.REQUEST_SECONDS.labels(route).observe(perf_counter() - started)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, token: str, address: str) -> None:
        try:
            self._admit(scope, token, address)
        except MalhaError as error:
            await Refusal(_told(error, scope), self._most_bytes)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _admit(self, scope: Scope, token: str, address: str) -> None:
        if scope["path"] != HEALTH:
            self._limit.take(token, address)
        if Headers(scope=scope).get("content-encoding", "identity").lower() != "identity":
            raise UnsupportedMedia("bodies are read as they are: send this one without a Content-Encoding")


def _told(error: MalhaError, scope: Scope) -> Response:
    """As clients of this address know errors."""
    return openai_error(error) if is_compatible(scope["path"]) else error_response(error)
