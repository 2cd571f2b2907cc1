"""Settings of Jobs."""

from pydantic import Field

from malha.runtime.settings import MalhaSettings


class JobSettings(MalhaSettings):
    """How jobs run and are tried again. Queue `simple`: webhooks. Queue `complex`: what takes a processor, such as transcription."""

    job_simple_concurrency: int = Field(8, ge=1, le=1000, description="Webhooks told at once, over all processes.")
    job_complex_concurrency: int = Field(2, ge=1, le=1000, description="Transcriptions at once, over all processes.")
    job_attempts: int = Field(4, ge=1, le=100, description="How often a transcription is begun before it counts as failed.")
    job_backoff_seconds: float = Field(5.0, gt=0, le=3600, description="Pause before a transcription's second attempt; then doubled.")
    job_seconds: float = Field(6 * 3600.0, gt=0, description="How long one attempt may take.")
    job_lost_seconds: float = Field(15.0, ge=1, le=3600, description="After so long without a sign of life a job goes to another process.")
    job_retention_days: int = Field(90, ge=1, le=36500, description="How long jobs that are over, and what webhooks were told, are listed.")
    webhook_backoff_seconds: float = Field(
        5.0, gt=0, le=3600, description="Pause before a webhook is told again; then doubled, up to an hour."
    )
    webhook_give_up_seconds: float = Field(86_400.0, gt=0, description="How long a webhook is told the same thing again and again.")
    webhook_disable_seconds: float = Field(3 * 86_400.0, gt=0, description="A webhook that fails for so long is disabled.")
    webhooks_per_tenant: int = Field(20, ge=1, le=10_000, description="Webhooks a tenant may have.")
