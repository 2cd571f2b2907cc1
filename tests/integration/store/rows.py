"""One row in every table, for a tenant."""

import uuid
from dataclasses import dataclass

from malha.store.database import Database

FILL = """
INSERT INTO tenant (id, name) VALUES ($1, 'tenant ' || $1::text);
INSERT INTO token (tenant_id, digest) VALUES ($1, sha256($2::text::bytea));
INSERT INTO customer (tenant_id, id, external_id) VALUES ($1, $2, 'c');
INSERT INTO conversation (tenant_id, id, external_id, customer_id) VALUES ($1, $2, 'call', $2);
INSERT INTO live_session (session_id, tenant_id, conversation_id, principal_digest, resume_digest, config) VALUES ($2, $1, $2, '', '', '');
INSERT INTO event (session_id, seq, tenant_id, kind, body) VALUES ($2, 1, $1, 'final', '{}');
INSERT INTO segment (tenant_id, session_id, segment_id, revision, channel, start_seconds, end_seconds, text) VALUES ($1, $2, 's', 1, 0, 0, 1, 'segredo');
INSERT INTO message (tenant_id, conversation_id, sender_type, text) VALUES ($1, $2, 'customer', 'segredo');
INSERT INTO state (tenant_id, conversation_id, key, value) VALUES ($1, $2, 'k', '1');
INSERT INTO insight (tenant_id, id, conversation_id, session_id, type, trigger_seq, rule_version) VALUES ($1, $2, $2, $2, 't', 1, '1');
INSERT INTO feedback (tenant_id, conversation_id, insight_id, stars) VALUES ($1, $2, $2, 5);
INSERT INTO speaker (tenant_id, customer_id, consent, model, embedding) VALUES ($1, $2, '{}', 'm', '{0.5}');
INSERT INTO interaction (tenant_id, conversation_id, session_id, insight_id, kind, seq, transcript) VALUES ($1, $2, $2, $2, 'utterance', 1, 'segredo');
INSERT INTO insight_configuration (tenant_id, revision, body) VALUES ($1, 1, '{}');
INSERT INTO insight_rule (tenant_id, id, version, body) VALUES ($1, 'r', 1, '{}');
INSERT INTO ai_spend (tenant_id, day, deployment) VALUES ($1, current_date, 'd');
INSERT INTO ai_cache (tenant_id, key, conversation_id, body, expires_at) VALUES ($1, sha256($2::text::bytea), $2, '{}', now());
INSERT INTO knowledge_document (tenant_id, knowledge_base, id, text) VALUES ($1, 'k', 'd', 'segredo');
INSERT INTO knowledge_vector (tenant_id, knowledge_base, document_id, piece, model, embedding) VALUES ($1, 'k', 'd', 0, 'm', '{0.5}');
INSERT INTO ai_call (tenant_id, conversation_id, purpose, model, status) VALUES ($1, $2, 'p', 'm', 'ok');
INSERT INTO job (tenant_id, conversation_id, kind) VALUES ($1, $2, 'k');
INSERT INTO webhook (tenant_id, id, url, events, secret) VALUES ($1, $2, 'https://example.com', '{job.done}', 's');
INSERT INTO webhook_delivery (tenant_id, webhook_id, event, object_id, data) VALUES ($1, $2, 'job.done', $2, '{}');
INSERT INTO audit (tenant_id, actor, action) VALUES ($1, 'a', 'b');
INSERT INTO tombstone (tenant_id, kind, object_id) VALUES ($1, 'customer', gen_random_uuid());
INSERT INTO legal_hold (tenant_id, kind, object_id, actor) VALUES ($1, 'customer', gen_random_uuid(), 'a');
INSERT INTO erasure (tenant_id, kind, object_id, actor, cause) VALUES ($1, 'customer', gen_random_uuid(), 'a', 'request');
INSERT INTO recording_key (tenant_id, conversation_id, wrapped, wrapped_by) VALUES ($1, $2, '', '');
INSERT INTO recording (tenant_id, conversation_id, session_id, channel, start_ms, epoch, duration_ms, bytes) VALUES ($1, $2, $2, 0, 0, 1, 1, 1);
"""


@dataclass(frozen=True)
class Filled:
    """A tenant with one row in every table."""

    tenant: uuid.UUID
    item: uuid.UUID
    """The id of its customer, conversation, session and insight. A UUIDv7."""


async def fill(database: Database) -> Filled:
    tenant = uuid.uuid4()
    async with database.tenant_tx(tenant) as connection:
        item = await connection.fetchval("SELECT malha_uuid7()")
        for statement in filter(None, (line.strip() for line in FILL.split(";\n"))):
            numbered = statement.replace("$1", f"'{tenant}'::uuid").replace("$2", f"'{item}'::uuid")
            await connection.execute(numbered)
    return Filled(tenant, item)
