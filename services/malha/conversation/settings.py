"""Settings of Conversation."""

from pydantic import Field

from malha.runtime.settings import MalhaSettings


class ConversationSettings(MalhaSettings):
    """What is kept of conversations, and how much."""

    conversation_state_bytes: int = Field(
        65_536, ge=1, le=16_777_216, description="Bytes a value of a conversation's state may have, as JSON."
    )
    conversation_state_keys: int = Field(1000, ge=1, le=1_000_000, description="Keys the state of one conversation may have.")
    conversation_sweep_seconds: float = Field(60.0, gt=0, le=86_400, description="How often expired state is cleaned up.")
