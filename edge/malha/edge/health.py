"""``GET /api/v1/health``: what each capability's server says about itself."""

import asyncio
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from starlette.requests import Request
from starlette.responses import Response

from malha.edge.contracts import SERVICES
from malha.edge.replies import json_response
from malha.runtime.contracts import ENGINE_KEY
from malha.runtime.mesh import Mesh
from malha.runtime.version import VERSION

ASK_SECONDS = 1.0
FRESH_SECONDS = 1.0
NEEDED = ("audio", "transcribe")
"""Without these no call can be served."""

_STATUSES = {
    health_pb2.HealthCheckResponse.SERVING: "serving",
    health_pb2.HealthCheckResponse.NOT_SERVING: "not_serving",
    health_pb2.HealthCheckResponse.SERVICE_UNKNOWN: "absent",
}


class Health:
    """Asks all capabilities at once, at most once a second however many ask it. Needs no token: probes have none."""

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh
        self._lock = asyncio.Lock()
        self._known: dict[str, Any] = {}
        self._until = 0.0

    async def report(self, _: Request) -> Response:
        """The endpoint: 200, or 503 where no call could be served."""
        capabilities = await self._capabilities()
        able = all(capabilities[name]["status"] == "serving" for name in NEEDED)
        body = {"status": "serving" if able else "not_serving", "version": VERSION, "capabilities": capabilities}
        return json_response(body, 200 if able else 503, {"Cache-Control": "no-store"})

    async def _capabilities(self) -> dict[str, Any]:
        async with self._lock:
            now = asyncio.get_running_loop().time()
            if now >= self._until:
                answers = await asyncio.gather(*(self._ask(name) for name in SERVICES))
                self._known = dict(zip(SERVICES, answers, strict=True))
                self._until = now + FRESH_SECONDS
            return self._known

    async def _ask(self, name: str) -> dict[str, Any]:
        stub: Any = health_pb2_grpc.HealthStub(self._mesh.channel(name))
        call = stub.Check(health_pb2.HealthCheckRequest(service=SERVICES[name].full_name), timeout=ASK_SECONDS)
        try:
            answer, told = await call, await call.initial_metadata()
        except grpc.aio.AioRpcError as error:
            known = error.code() in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNIMPLEMENTED)
            return {"status": "absent" if known else "unreachable", "engine": None}
        engine = next((value for key, value in told if key == ENGINE_KEY), None)
        return {"status": _STATUSES.get(answer.status, "not_serving"), "engine": engine or None}
