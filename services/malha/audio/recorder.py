"""What keeps a call's audio, where its tenant wants that (`malha.recording` does)."""

import uuid
from typing import Protocol

from malha.audio.vad import Samples


class CallRecorder(Protocol):
    """Records one call as long as one process owns it. Neither method waits or raises."""

    def add(self, channel: int, samples: Samples, seconds: float, rate: int) -> None:
        """Keep samples of shape (frames,) which begin at ``seconds`` of the media. Nobody changes them afterwards."""
        ...

    def close(self) -> None:
        """No more comes."""
        ...


class CallRecordings(Protocol):
    """Begins recordings."""

    async def start(self) -> None: ...

    async def close(self) -> None:
        """Store what is left."""
        ...

    async def open(self, tenant_id: uuid.UUID, conversation_id: uuid.UUID, session_id: uuid.UUID, epoch: int) -> CallRecorder | None:
        """A recorder, where the tenant wants one; None where it does not, or none can be had in time."""
        ...
