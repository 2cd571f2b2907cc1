"""Between the contract's messages and rows: jobs and webhooks."""

import uuid
from datetime import datetime
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from malha.api.jobs.v1 import jobs_pb2 as api
from malha.jobs.store import JobRow
from malha.jobs.webhook_store import WebhookRow
from malha.runtime.auth import Principal
from malha.runtime.errors import FailedPrecondition

STATUSES: Final = {
    "queued": api.JOB_STATUS_QUEUED,
    "running": api.JOB_STATUS_RUNNING,
    "done": api.JOB_STATUS_DONE,
    "failed": api.JOB_STATUS_FAILED,
    "cancelled": api.JOB_STATUS_CANCELLED,
}
TRANSCRIBE: Final = "transcribe"
CHAT: Final = "chat"
_KINDS: Final = {TRANSCRIBE: api.JOB_KIND_TRANSCRIBE, CHAT: api.JOB_KIND_CHAT}


def tenant_of(principal: Principal) -> uuid.UUID:
    """The caller's tenant. Raises FailedPrecondition where this server keeps nothing."""
    if principal.tenant_id is None:
        raise FailedPrecondition("this server keeps nothing: set MALHA_DATABASE_URL, or run `malha up`", reason="STORE_NOT_CONFIGURED")
    return principal.tenant_id


def job_message(kept: JobRow) -> api.Job:
    result = kept.result or {}
    return api.Job(
        id=str(kept.id),
        kind=_KINDS.get(kept.kind, api.JOB_KIND_UNSPECIFIED),
        status=STATUSES[kept.status],
        progress=round(kept.progress, 3),
        attempts=kept.attempts,
        conversation_id=str(kept.conversation_id or ""),
        session_id=str(kept.session_id or "") if kept.kind == TRANSCRIBE and kept.status == "done" else "",
        reason=kept.reason,
        message=result.get("message", ""),
        warnings=[api.JobWarning(reason=each["reason"], message=each["message"]) for each in result.get("warnings", ())],
        create_time=timestamp(kept.created_at),
        start_time=timestamp(kept.started_at),
        end_time=timestamp(kept.ended_at),
    )


def webhook_message(kept: WebhookRow) -> api.Webhook:
    return api.Webhook(
        id=str(kept.id),
        url=kept.url,
        events=kept.events,
        create_time=timestamp(kept.created_at),
        failing_since=timestamp(kept.failing_since),
        disable_time=timestamp(kept.disabled_at),
    )


def timestamp(moment: datetime | None) -> Timestamp | None:
    if moment is None:
        return None
    message = Timestamp()
    message.FromDatetime(moment)
    return message
