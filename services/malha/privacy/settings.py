"""Settings of erasure and retention. How long a tenant keeps what is in the tenant's settings."""

from pydantic import Field

from malha.runtime.settings import MalhaSettings


class PrivacySettings(MalhaSettings):
    """How retention is enforced."""

    retention_sweep_seconds: float = Field(
        3600.0, gt=0, le=7 * 86_400, description="How often what tenants keep no longer is erased, by the process that serves Conversation."
    )
