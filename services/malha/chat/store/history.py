"""The messages of a conversation, as Chat reads and writes them. Every function runs in a transaction of the tenant."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from malha.chat.engine import Role, Turn
from malha.runtime.errors import InvalidArgument, NotFound
from malha.store.roles import Connection
from malha.store.text import storable

_FIND: Final = """
    SELECT id FROM conversation WHERE external_id = $1 OR id = $2 ORDER BY external_id IS NOT DISTINCT FROM $1 DESC LIMIT 1 FOR KEY SHARE
"""
_NEWEST: Final = """
    SELECT id, sender_type, text, created_at, question_id, answering FROM message
    WHERE conversation_id = $1 AND sender_type <> 'system' AND ($3::timestamptz IS NULL OR (created_at, id) < ($3, $4::uuid))
    ORDER BY created_at DESC, id DESC LIMIT $2
"""
_COUNT: Final = """
    SELECT count(*) FROM (SELECT FROM message WHERE conversation_id = $1 AND sender_type <> 'system' LIMIT $2) AS kept
"""
_ASKED: Final = """
    SELECT id, sender_type, text, created_at, question_id, answering FROM message
    WHERE conversation_id = $1 AND (external_id = $3 OR ($4 AND sender_type = 'customer' AND text = $2))
    ORDER BY (external_id = $3) IS TRUE DESC, created_at DESC, id DESC LIMIT 1 FOR UPDATE
"""
_ANSWER: Final = "SELECT id, text, cut FROM message WHERE question_id = $1"
_ASK: Final = """
    INSERT INTO message (tenant_id, conversation_id, sender_type, text, answering, external_id, created_at)
    VALUES (malha_tenant(), $1, 'customer', $2, $3, $4, clock_timestamp())
    ON CONFLICT (tenant_id, conversation_id, external_id) DO UPDATE SET answering = EXCLUDED.answering RETURNING id
"""
"""Question and answer of one exchange are two transactions; two of one transaction still have their own times. A conflict: it was asked again while
a server that is about to be lost kept it."""
_TAKE_OVER: Final = "UPDATE message SET answering = $2, external_id = COALESCE($3, external_id) WHERE id = $1"
_HOLDS: Final = """
    UPDATE message SET answering = CASE WHEN $3 THEN NULL ELSE answering END WHERE id = $1 AND answering = $2 RETURNING true
"""
_KEEP: Final = """
    INSERT INTO message (tenant_id, conversation_id, sender_type, sender_id, text, question_id, cut, created_at)
    VALUES (malha_tenant(), $1, 'bot', $2, $3, $4, $5, clock_timestamp())
    ON CONFLICT (tenant_id, question_id) WHERE question_id IS NOT NULL
        DO UPDATE SET text = EXCLUDED.text, sender_id = EXCLUDED.sender_id, cut = EXCLUDED.cut
    RETURNING id
"""
_LAST: Final = """
    SELECT id, sender_type, text, created_at,
        cut OR EXISTS (SELECT FROM message AS question WHERE question.id = message.question_id AND question.answering IS NOT NULL) AS partial
    FROM message WHERE conversation_id = $1 AND sender_type <> 'system'
    ORDER BY created_at DESC, id DESC LIMIT 1
"""
_NEWEST_JOB: Final = "SELECT id, status, reason, ended_at FROM job WHERE conversation_id = $1 AND kind = 'chat' ORDER BY id DESC LIMIT 1"
"""Of Jobs, read here: where the chat stands is one answer, of one moment."""
_ROLES: Final = {"customer": Role.USER, "agent": Role.ASSISTANT, "bot": Role.ASSISTANT}


@dataclass(frozen=True, slots=True)
class Message:
    """A kept message. ``question_id``: what it answers. ``answering``: of a question, who gives its answer as long as that is not whole."""

    id: uuid.UUID
    turn: Turn
    created_at: datetime
    question_id: uuid.UUID | None
    answering: uuid.UUID | None


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """What is kept of an answer: all of it, or a part. ``cut``: all, up to its limit of tokens."""

    id: uuid.UUID
    text: str
    whole: bool
    cut: bool


async def find(connection: Connection, name: str) -> uuid.UUID:
    """The id of a conversation a client calls so, or of that id. Raises NotFound."""
    found: uuid.UUID | None = await connection.fetchval(_FIND, storable(name), _as_uuid(name))
    if found is None:
        raise NotFound("there is no such conversation", reason="CONVERSATION_NOT_FOUND")
    return found


async def count(connection: Connection, conversation: uuid.UUID, most: int) -> int:
    """How many messages would be read as history."""
    counted: int = await connection.fetchval(_COUNT, conversation, most)
    return counted


async def newest(connection: Connection, conversation: uuid.UUID, most: int, before: Message | None = None) -> list[Message]:
    """The last messages, the oldest first; ``before``: of those that are older than it."""
    place = (None, None) if before is None else (before.created_at, before.id)
    rows = await connection.fetch(_NEWEST, conversation, most, *place)
    return [_message(row) for row in reversed(rows)]


async def asked(
    connection: Connection, conversation: uuid.UUID, question: str, name: str, *, by_words: bool
) -> tuple[Message, KeptAnswer | None] | None:
    """The question of this name, or the newest of these words, and what is kept of its answer. Nobody keeps anything of it until the transaction
    ends. Raises InvalidArgument for the name of another message.
    """
    words = storable(question)
    row = await connection.fetchrow(_ASKED, conversation, words, storable(name) or None, by_words)
    if row is None:
        return None
    if (row["sender_type"], row["text"]) != ("customer", words):
        raise InvalidArgument(
            "another message of the conversation has this name: give each its own",
            reason="MESSAGE_EXISTS",
            violations={"message.external_id": "is another's"},
        )
    message = _message(row)
    answer = await connection.fetchrow(_ANSWER, message.id)
    return message, KeptAnswer(answer["id"], answer["text"], message.answering is None, answer["cut"]) if answer is not None else None


async def ask(connection: Connection, conversation: uuid.UUID, question: str, answering: uuid.UUID, name: str) -> uuid.UUID:
    """Keep a question, with who answers it; its id."""
    made: uuid.UUID = await connection.fetchval(_ASK, conversation, storable(question), answering, storable(name) or None)
    return made


async def take_over(connection: Connection, question: uuid.UUID, answering: uuid.UUID, name: str) -> None:
    """From now on ``answering`` alone may keep the answer of a question, and it is asked again under ``name``."""
    await connection.execute(_TAKE_OVER, question, answering, storable(name) or None)


async def keep_answer(
    connection: Connection,
    conversation: uuid.UUID,
    question: uuid.UUID,
    answering: uuid.UUID,
    text: str,
    sender: str,
    *,
    whole: bool,
    cut: bool,
) -> uuid.UUID | None:
    """Keep an answer in place of what is kept of it; its id. None: somebody else gives it by now, or the question is gone."""
    if not await connection.fetchval(_HOLDS, question, answering, whole):
        return None
    made: uuid.UUID = await connection.fetchval(_KEEP, conversation, storable(sender), storable(text), question, cut)
    return made


async def last(connection: Connection, conversation: uuid.UUID) -> Mapping[str, Any] | None:
    """The last message: id, sender_type, text, created_at; partial: it is an answer, and not all of it."""
    row: Mapping[str, Any] | None = await connection.fetchrow(_LAST, conversation)
    return row


async def newest_job(connection: Connection, conversation: uuid.UUID) -> Mapping[str, Any] | None:
    """The newest job that answers in a conversation: id, status, reason, ended_at."""
    row: Mapping[str, Any] | None = await connection.fetchrow(_NEWEST_JOB, conversation)
    return row


def _message(row: Mapping[str, Any]) -> Message:
    return Message(row["id"], Turn(_ROLES[row["sender_type"]], row["text"]), row["created_at"], row["question_id"], row["answering"])


def _as_uuid(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None
