"""Traces by OpenTelemetry: one span an RPC, the caller's trace context taken over. Without an OTLP endpoint nothing is made or sent.

Attributes follow the conventions of ``opentelemetry-instrumentation-grpc``, whose own aio server interceptor breaks read()/write()
handlers and records errors as OK; its client interceptors are used as they are (see mesh.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import grpc
from opentelemetry import propagate, trace

if TYPE_CHECKING:  # the SDK takes 0.3 s to import, and most processes do not trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter

_provider: TracerProvider | None = None


def configure(process: str, endpoint: str, exporter: SpanExporter | None = None) -> None:
    """Export this process's spans to an OTLP endpoint, or to ``exporter``; with neither, tracing stays off."""
    global _provider  # noqa: PLW0603 - the process's one tracer provider, as OpenTelemetry has it
    if not endpoint and exporter is None:
        return
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    _provider = TracerProvider(resource=Resource.create({"service.name": f"malha-{process}"}))
    _provider.add_span_processor(
        BatchSpanProcessor(exporter or OTLPSpanExporter(endpoint=endpoint, insecure=endpoint.startswith("http://")))
    )
    trace.set_tracer_provider(_provider)


def enabled() -> bool:
    """Whether spans are made."""
    return _provider is not None


def shutdown() -> None:
    """Send what is left."""
    if _provider is not None:
        _provider.shutdown()


def propagated() -> tuple[tuple[str, str], ...]:
    """Metadata that takes the present trace along, for calls that grpc's own interceptors do not see. None while tracing is off."""
    if _provider is None:
        return ()
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return tuple(carrier.items())


@contextmanager
def server_span(service: str, method: str, metadata: Mapping[str, str]) -> Iterator[trace.Span | None]:
    """The span of an RPC this process serves; None while tracing is off."""
    if _provider is None:
        yield None
        return
    attributes = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method}
    with _provider.get_tracer("malha").start_as_current_span(
        f"{service}/{method}",
        context=propagate.extract(metadata),
        kind=trace.SpanKind.SERVER,
        attributes=attributes,
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        yield span


def end_with(span: trace.Span | None, code: grpc.StatusCode) -> None:
    """Record the status code; anything but OK and CANCELLED is an error. Its text is not recorded."""
    if span is not None:
        span.set_attribute("rpc.grpc.status_code", code.value[0])
        if code not in (grpc.StatusCode.OK, grpc.StatusCode.CANCELLED):
            span.set_status(trace.Status(trace.StatusCode.ERROR))
