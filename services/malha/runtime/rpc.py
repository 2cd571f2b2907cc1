"""A service's methods as gRPC handlers: authentication, tracing, metrics, validation and error mapping, once around all of them."""

from __future__ import annotations  # grpc's classes are generic for the type checker only

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Protocol

import grpc
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message

from malha.runtime import logs, metrics, tracing
from malha.runtime.auth import Principal
from malha.runtime.errors import Internal, MalhaError, ResourceExhausted, Unavailable, Unimplemented
from malha.runtime.gate import Gate, Way
from malha.runtime.logs import Event
from malha.runtime.scopes import scope_of
from malha.runtime.status import abort
from malha.runtime.stream import MalformedMessage, Stream, Streams, decoder, first_message
from malha.runtime.validation import stream_validator, validate

log = logs.get("runtime.rpc")


@dataclass(frozen=True, slots=True)
class StreamMethod:
    """A bidirectional method: ``session`` runs one stream and returns when it is over.

    ``exempt`` tells of a stream, before its session runs, that it goes on with what was let in earlier: no quota refuses it.
    """

    session: Callable[[Stream[Any, Any]], Awaitable[None]]
    exempt: Callable[[Stream[Any, Any]], bool] = lambda _: False


@dataclass(frozen=True, slots=True)
class UnaryMethod:
    """A unary method."""

    answer: Callable[[Any, Principal], Awaitable[Message]]


class Service(Protocol):
    """A gRPC service of Malha. ``name`` is its full protobuf name; ``engine`` names what does the work."""

    name: str

    @property
    def engine(self) -> str: ...

    async def start(self) -> None:
        """Load what it needs; the service is SERVING after this returns."""

    async def close(self) -> None: ...

    def methods(self) -> Mapping[str, StreamMethod | UnaryMethod]:
        """By the method's name in the contract; those missing answer UNIMPLEMENTED."""


class Handlers:
    """Makes handlers of calls that come one way. ``draining`` tells whether new streams are refused."""

    def __init__(self, gate: Gate, streams: Streams, draining: Callable[[], bool], way: Way = Way.SOCKET) -> None:
        self._gate = gate
        self._streams = streams
        self._draining = draining
        self._way = way

    def service(self, service: Service) -> grpc.GenericRpcHandler[Any, Any]:
        """All methods of a service's contract."""
        return self._generic(service.name, dict(service.methods()))

    def unimplemented(self, name: str) -> grpc.GenericRpcHandler[Any, Any]:
        """A service whose contract exists and whose code does not yet."""
        return self._generic(name, {})

    def _generic(self, name: str, methods: dict[str, StreamMethod | UnaryMethod]) -> grpc.GenericRpcHandler[Any, Any]:
        descriptor = descriptor_pool.Default().FindServiceByName(name)
        return grpc.method_handlers_generic_handler(
            name, {method.name: self._handler(method, methods.get(method.name)) for method in descriptor.methods}
        )

    def _handler(self, descriptor: MethodDescriptor, method: StreamMethod | UnaryMethod | None) -> grpc.RpcMethodHandler[Any, Any]:
        deserialize = decoder(message_factory.GetMessageClass(descriptor.input_type))
        serialize = message_factory.GetMessageClass(descriptor.output_type).SerializeToString
        service, name = descriptor.containing_service.full_name, descriptor.name
        if descriptor.client_streaming:
            check = stream_validator(descriptor.input_type)

            async def stream(_: AsyncIterator[Any], context: Any) -> None:
                await self._call(
                    service,
                    name,
                    context,
                    lambda principal, metadata: self._stream(service, name, method, context, principal, metadata, check),
                )

            return grpc.stream_stream_rpc_method_handler(stream, deserialize, serialize)

        async def unary(request: Any, context: Any) -> Message:
            answer: Message = await self._call(
                service, name, context, lambda principal, _: self._unary(service, name, method, request, principal)
            )
            return answer

        return grpc.unary_unary_rpc_method_handler(unary, deserialize, serialize)

    async def _stream(
        self,
        service: str,
        name: str,
        method: StreamMethod | UnaryMethod | None,
        context: Any,
        principal: Principal,
        metadata: Mapping[str, str],
        check: Callable[[Message], None],
    ) -> None:
        if not isinstance(method, StreamMethod):
            raise _absent(service, name)
        self._admit()
        opening = await first_message(context, self._streams.limits, check)
        stream: Stream[Any, Any] = Stream(context, opening, principal, metadata, self._streams.limits, service, check)
        async with self._gate.serving(stream, self._way, exempt=method.exempt(stream)):
            await self._streams.run(stream, method.session, service)

    def _admit(self) -> None:
        if self._draining():
            raise Unavailable("this server is stopping: connect again", reason="DRAINING", retry_seconds=0.25)
        if self._streams.full:
            raise ResourceExhausted(
                "this server has all the streams it can serve", reason="TOO_MANY_STREAMS", retry_seconds=1.0, quota="streams"
            )

    async def _unary(
        self, service: str, name: str, method: StreamMethod | UnaryMethod | None, request: Any, principal: Principal
    ) -> Message:
        if not isinstance(method, UnaryMethod):
            raise _absent(service, name)
        if isinstance(request, MalformedMessage):
            raise request
        validate(request)
        await self._gate.count(principal, self._way)
        return await method.answer(request, principal)

    async def _call(self, service: str, method: str, context: Any, run: Callable[[Principal, Mapping[str, str]], Awaitable[Any]]) -> Any:
        """Run one RPC: who calls, under which trace, how it ended."""
        metadata = {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
        started, code, scope = perf_counter(), grpc.StatusCode.OK, scope_of(service, method)
        with tracing.server_span(service, method, metadata) as span:
            try:
                principal = await self._gate.admit(context, metadata, scope, self._way)
                return await run(principal, metadata)
            except asyncio.CancelledError:
                code = grpc.StatusCode.CANCELLED
                log.info(Event.STREAM_LOST, service=service, method=method)
                raise
            except MalhaError as error:
                code = error.code
                log.info(Event.RPC_FAILED, service=service, method=method, code=code.name, reason=error.reason)
                await abort(context, error)
            except Exception as error:
                code = grpc.StatusCode.INTERNAL
                log.error(Event.RPC_DEFECT, cause=error, service=service, method=method)
                await abort(context, Internal("a defect of Malha; its log has the place"))
            finally:
                tracing.end_with(span, code)
                metrics.RPCS.labels(service, method, code.name).inc()
                metrics.RPC_SECONDS.labels(service, method).observe(perf_counter() - started)


def _absent(service: str, method: str) -> Unimplemented:
    return Unimplemented(
        f"{service}/{method} is not served here: its mode leaves it out, or this version of Malha has none",
        reason="NOT_IN_THIS_VERSION",
        metadata={"service": service, "method": method},
    )
