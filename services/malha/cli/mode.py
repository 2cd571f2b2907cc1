"""How much of Malha ``live`` serves."""

from typing import Literal

from pydantic import Field

from malha.runtime.settings import MalhaSettings

CORE = ("audio", "transcribe", "insight", "chat", "conversation", "synthesize")
"""A call, its text, advice and speech."""


class ModeSettings(MalhaSettings):
    """Settings of whoever serves ``live``."""

    mode: Literal["core", "full"] = Field(
        "full",
        description=f"What `malha up` and `malha serve live` serve: core is {', '.join(CORE)}; full is all that is installed.",
    )

    def serves(self, capability: str) -> bool:
        """Whether ``live`` has this capability."""
        return self.mode == "full" or capability in CORE
