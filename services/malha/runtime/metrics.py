"""Prometheus metrics of the RPC layer. Labels are names of services, methods and codes: bounded, and never user content."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

MOST_TENANTS: Final = 100
OTHER_TENANTS: Final = "other"

RPCS = Counter("malha_rpcs_total", "RPCs ended, by status code.", ("service", "method", "code"))
RPC_SECONDS = Histogram(
    "malha_rpc_seconds", "Length of RPCs.", ("service", "method"), buckets=(0.005, 0.02, 0.1, 0.5, 2, 10, 60, 300, 1800)
)
STREAMS = Gauge("malha_streams_open", "Streams open now.", ("service",))
MESSAGES = Counter("malha_stream_messages_total", "Messages on streams, by direction.", ("service", "direction"))
DROPPED = Counter("malha_stream_partials_dropped_total", "Partial events replaced or dropped because the reader was behind.", ("service",))
INSIGHT_FEEDBACK = Counter(
    "malha_insight_feedback_total", "What operators did with insights, told on a stream or over REST.", ("type", "action")
)
"""Here, because two capabilities are told: Insight and Conversation."""


class TenantLabels:
    """Tenants as a label: the first hundred by themselves, all others together."""

    def __init__(self) -> None:
        self._known: set[str] = set()

    def of(self, tenant: str) -> str:
        """The label's value."""
        if tenant not in self._known and len(self._known) < MOST_TENANTS:
            self._known.add(tenant)
        return tenant if tenant in self._known else OTHER_TENANTS
