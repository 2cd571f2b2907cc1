"""Places among their tenants' streams that calls keep while they wait for their clients."""

import asyncio
import uuid

from malha.runtime.quotas import Quotas, Slot


class Places:
    """Of the calls that lost their client here. Without quotas there is nothing to keep."""

    def __init__(self, quotas: Quotas | None) -> None:
        self._quotas = quotas
        self._kept: dict[uuid.UUID, Slot] = {}

    def keep(self, session_id: uuid.UUID, tenant: uuid.UUID | str, seconds: float) -> None:
        """Keep a place for a call, so long or until `give`."""
        if self._quotas is not None:
            self.give(session_id)
            slot = self._kept[session_id] = self._quotas.reserve(tenant)
            asyncio.get_running_loop().call_later(seconds, self._expire, session_id, slot)

    def give(self, session_id: uuid.UUID) -> None:
        """Give the place up: the call is back, or over."""
        slot = self._kept.pop(session_id, None)
        if slot is not None:
            slot.release()

    def _expire(self, session_id: uuid.UUID, slot: Slot) -> None:
        if self._kept.get(session_id) is slot:
            self.give(session_id)
