"""What came of one trigger: an utterance, a tick, the operator's wish."""

import uuid
from dataclasses import dataclass, field

from malha.insight.interaction_store import Interaction


@dataclass(slots=True, eq=False)
class Turn:
    """One trigger. What silence or the operator leads to belongs to what was said last: turns may share an interaction, and what was told of it."""

    began: float
    """By the monotonic clock: latencies count from here."""
    media_seconds: float
    interaction: Interaction | None = None
    told: list[str] = field(default_factory=list)
    """Messages, of all turns that share the interaction."""
    stages: dict[str, float] = field(default_factory=dict)
    """Seconds by name."""
    unstored: int = 0
    """Insights decided and not stored yet."""

    @property
    def id(self) -> uuid.UUID | None:
        """Of its interaction."""
        return self.interaction.id if self.interaction is not None else None
