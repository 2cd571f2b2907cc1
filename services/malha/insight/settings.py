"""Settings of Insight."""

from pydantic import Field

from malha.runtime.settings import MalhaSettings


class InsightSettings(MalhaSettings):
    """How insights are made."""

    insight_alias: str = Field("", max_length=128, description="Alias of the model that insights ask. Empty: Chat's default.")
    insight_ladder_seconds: float = Field(
        1.6, gt=0, le=60, description="How long after its trigger an insight of the rule engine goes out if the model has not answered."
    )
    insight_model_seconds: float = Field(
        8.0, gt=0, le=120, description="How long the model may take in all; what comes after the ladder is stored, not shown."
    )
    insight_tenant_requests: int = Field(5, ge=1, le=1000, description="Questions to the model at once, for each tenant.")
    insight_min_confidence: float = Field(
        0.6, ge=0, le=1, description="Below this an insight is stored, not shown, unless the tenant says otherwise."
    )
