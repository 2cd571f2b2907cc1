"""Every table that holds something of a tenant, and how an erasure reaches it. A table in neither list is a defect (and fails a test)."""

from collections.abc import Mapping
from typing import Final

OF_CONVERSATION: Final[Mapping[str, str]] = {
    "feedback": "conversation_id = ANY($1)",
    "interaction": "conversation_id = ANY($1)",
    "insight": "conversation_id = ANY($1)",
    "ai_call": "(conversation_id = ANY($1) OR (conversation_id IS NULL AND session_id = ANY($2)))",
    "ai_cache": "conversation_id = ANY($1)",
    "job": "id IN (SELECT id FROM job WHERE conversation_id = ANY($1) UNION ALL SELECT job.id FROM conversation"
    " JOIN job ON job.conversation_id IS NULL AND job.conversation_name = conversation.external_id WHERE conversation.id = ANY($1))",
    "state": "conversation_id = ANY($1)",
    "message": "conversation_id = ANY($1)",
    "recording": "conversation_id = ANY($1)",
    "recording_key": "conversation_id = ANY($1)",
    "event": "session_id = ANY($2)",
    "segment": "session_id = ANY($2)",
    "live_session": "conversation_id = ANY($1)",
    "conversation": "id = ANY($1)",
}
"""What goes with a conversation, in an order foreign keys allow. $1: conversations, $2: their sessions."""

OF_CUSTOMER: Final[Mapping[str, str]] = {"speaker": "customer_id = $1", "customer": "id = $1"}
"""What goes with a customer, besides the conversations."""

KEPT: Final[Mapping[str, str]] = {
    "tenant": "the tenant itself",
    "token": "who may call: no customer's",
    "webhook": "where the tenant wants to be told: no customer's",
    "webhook_delivery": "ids alone",
    "insight_configuration": "what the tenant has set: no customer's",
    "insight_rule": "what the tenant has set: no customer's",
    "ai_spend": "sums by day",
    "knowledge_document": "what the tenant's operators may quote: no customer's",
    "knowledge_vector": "of those documents",
    "audit": "who did what to which id: no content",
    "tombstone": "ids alone: a restore erases by them",
    "erasure": "ids and counts: the report",
    "legal_hold": "an id and why it is held; an erasure is refused while it is there",
}
"""What an erasure leaves, and why it may."""


def selecting(table: str, condition: str, what: str = "count(*)") -> str:
    """How many rows of a table there are, or ``what`` of them."""
    return f"SELECT {what} FROM {table} WHERE {_used(condition)}"  # noqa: S608 - constants


def deleting(table: str, condition: str) -> str:
    """The statement that deletes them."""
    return f"DELETE FROM {table} WHERE {_used(condition)}"  # noqa: S608 - constants


def _used(condition: str) -> str:
    """PostgreSQL has to know the type of every value, used or not."""
    if "ANY" not in condition:
        return condition
    missing = [f"{value}::uuid[] IS NOT NULL" for value in ("$1", "$2") if value not in condition]
    return " AND ".join([condition, *missing])
