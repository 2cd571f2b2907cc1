"""Figures of Insight."""

from typing import Final

from prometheus_client import Counter, Histogram

from malha.runtime.metrics import TenantLabels

INSIGHTS = Counter("malha_insights_total", "Insights thought of, by type and what became of them.", ["type", "outcome"])
TRANSCRIPT_TO_EMIT = Histogram(
    "insight_transcript_to_emit_seconds",
    "From the final (or tick, or wish) that triggered an insight to the insight.",
    ["type", "degraded"],
    buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 1.6, 2.0, 5.0),
)
BY_TENANT = Counter("malha_insights_by_tenant_total", "Insights told, by tenant; beyond the first hundred: `other`.", ["tenant"])

_TENANTS: Final = TenantLabels()


def told(tenant: str) -> None:
    """Count an insight of a tenant. Labels are bounded."""
    BY_TENANT.labels(_TENANTS.of(tenant)).inc()
