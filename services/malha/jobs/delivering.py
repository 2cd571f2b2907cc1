"""Tells webhooks: signed, tried again for a day, given up for good where nobody answers for longer."""

import hashlib
import hmac
import time
import uuid
from datetime import UTC
from typing import Final

import orjson
from prometheus_client import Counter

from malha.jobs import webhook_store as store
from malha.jobs.settings import JobSettings
from malha.runtime import logs
from malha.runtime.errors import MalhaError
from malha.runtime.logs import Event
from malha.runtime.outbound import Outbound
from malha.store.database import Database

log = logs.get("jobs.webhooks")

TOLD = Counter("malha_webhooks_told", "Attempts at telling webhooks, by how they ended: delivered, failed.", ["outcome"])

SIGNATURE: Final = "Malha-Signature"
DELIVERY: Final = "Malha-Delivery"
_LONGEST_PAUSE: Final = 3600.0
_GONE: Final = 410
_STORE_PAUSE: Final = 5.0


class Delivering:
    """Runs deliveries: a `malha.jobs.worker.Runner`."""

    def __init__(self, database: Database, settings: JobSettings, outbound: Outbound) -> None:
        self._database = database
        self._settings = settings
        self._outbound = outbound

    async def run(self, tenant: uuid.UUID, item: uuid.UUID) -> float | None:
        """Tell a webhook; when to try again."""
        try:
            async with self._database.tenant_tx(tenant) as connection:
                told = await store.delivery(connection, item)
            if told is None:
                return None
            failure, gone = await self._post(told)
            TOLD.labels("failed" if failure else "delivered").inc()
            async with self._database.tenant_tx(tenant) as connection:
                if not failure:
                    await store.delivered(connection, told)
                    return None
                pause = min(self._settings.webhook_backoff_seconds * 2.0 ** min(told.attempts, 30), _LONGEST_PAUSE)
                for_good = told.age_seconds + pause > self._settings.webhook_give_up_seconds
                disabled = await store.failed(
                    connection, told, failure, for_good=for_good, disable_seconds=self._settings.webhook_disable_seconds, gone=gone
                )
        except MalhaError:
            return _STORE_PAUSE  # what was told is told again: its id says so
        if disabled:
            log.warning(Event.WEBHOOK_DISABLED, webhook=str(told.webhook_id), reason=failure)
        return None if for_good or disabled else pause

    async def _post(self, told: store.Delivery) -> tuple[str, bool]:
        """Why it failed, empty where it did not; and whether the webhook wants nothing more."""
        content = body(told)
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "Malha",
            DELIVERY: str(told.id),
            SIGNATURE: signature(told.secret, int(time.time()), content),
        }
        try:
            answer = await self._outbound.post(told.url, content, headers)
        except MalhaError as error:
            return error.reason, False
        if 200 <= answer.status < 300:
            return "", False
        return f"HTTP_{answer.status}", answer.status == _GONE


def body(told: store.Delivery) -> bytes:
    """What is posted, the same each time."""
    created = told.created_at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return orjson.dumps({"id": str(told.id), "type": told.event, "create_time": created, "data": told.data})


def signature(secret: str, seconds: int, content: bytes) -> str:
    """The value of ``Malha-Signature``: whoever knows the secret computes the same over what came, and refuses an old time."""
    signed = hmac.digest(secret.encode(), b"%d." % seconds + content, hashlib.sha256).hex()
    return f"t={seconds},v1={signed}"
