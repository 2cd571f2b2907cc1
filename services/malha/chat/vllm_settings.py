"""Settings of the vLLM that ``malha serve llm`` starts."""

import shlex

from pydantic import Field, field_validator

from malha.runtime.placement import PlacementSettings


class VllmSettings(PlacementSettings):
    """How vLLM is run, whatever it serves."""

    vllm_command: str = Field(
        "", description="How to start vLLM, such as /opt/vllm/bin/vllm. Empty: the one of this environment, else .venvs/vllm/bin/vllm."
    )
    vllm_arguments: str = Field("", description="More arguments of `vllm serve`, such as --gpu-memory-utilization 0.8 --max-num-seqs 64.")
    vllm_ready_seconds: float = Field(900.0, gt=0, description="How long vLLM may take to load its model before it is started again.")
    vllm_drain_seconds: int = Field(30, ge=0, le=3600, description="How long answers may go on after a stop is asked for.")

    @field_validator("vllm_command", "vllm_arguments")
    @classmethod
    def _quoted_rightly(cls, value: str) -> str:
        shlex.split(value)
        return value
