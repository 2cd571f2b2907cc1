"""Prometheus metrics of the RPC layer. Labels are names of services, methods and codes: bounded, and never user content."""

from prometheus_client import Counter, Gauge, Histogram

RPCS = Counter("malha_rpcs_total", "RPCs ended, by status code.", ("service", "method", "code"))
RPC_SECONDS = Histogram(
    "malha_rpc_seconds", "Length of RPCs.", ("service", "method"), buckets=(0.005, 0.02, 0.1, 0.5, 2, 10, 60, 300, 1800)
)
STREAMS = Gauge("malha_streams_open", "Streams open now.", ("service",))
MESSAGES = Counter("malha_stream_messages_total", "Messages on streams, by direction.", ("service", "direction"))
DROPPED = Counter("malha_stream_partials_dropped_total", "Partial events replaced or dropped because the reader was behind.", ("service",))
