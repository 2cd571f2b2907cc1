-- The first schema. A statement ends with a semicolon before an empty line. Runs as malha_owner.
-- Every table: row-level security forced, the tenant first in its key (foreign keys bypass row-level security).

CREATE FUNCTION malha_tenant() RETURNS uuid LANGUAGE sql STABLE PARALLEL SAFE
RETURN NULLIF(current_setting('malha.tenant', true), '')::uuid;

-- RFC 9562 version 7: milliseconds since 1970, then random bits. gen_random_uuid() has version 4 = 0b0100; two more bits make it 7.
CREATE FUNCTION malha_uuid7() RETURNS uuid LANGUAGE sql VOLATILE PARALLEL SAFE
RETURN encode(
    set_bit(set_bit(
        overlay(uuid_send(gen_random_uuid())
            PLACING substring(int8send(floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3) FROM 1 FOR 6),
        52, 1), 53, 1), 'hex')::uuid;

-- The smallest UUIDv7 of a moment: what bounds a day's partition.
CREATE FUNCTION malha_uuid7_floor(moment timestamptz) RETURNS uuid LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (lpad(to_hex(floor(extract(epoch FROM moment) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid;

CREATE TABLE tenant (
    id uuid PRIMARY KEY DEFAULT malha_uuid7(),
    name text NOT NULL UNIQUE CHECK (length(name) BETWEEN 1 AND 200),
    settings jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE token (
    tenant_id uuid NOT NULL REFERENCES tenant ON DELETE CASCADE,
    id uuid NOT NULL DEFAULT malha_uuid7(),
    digest bytea NOT NULL UNIQUE CHECK (length(digest) = 32), -- SHA-256
    name text NOT NULL DEFAULT '',
    scopes text[] NOT NULL DEFAULT '{}',
    counter text,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    revoked_at timestamptz,
    PRIMARY KEY (tenant_id, id)
);

CREATE TABLE customer (
    tenant_id uuid NOT NULL REFERENCES tenant ON DELETE CASCADE,
    id uuid NOT NULL DEFAULT malha_uuid7(),
    external_id text, -- what the client calls it
    name text NOT NULL DEFAULT '',
    email text NOT NULL DEFAULT '',
    phone text NOT NULL DEFAULT '',
    source text NOT NULL DEFAULT '',
    status text NOT NULL DEFAULT 'active',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, external_id)
);

CREATE INDEX customer_email ON customer (tenant_id, email) WHERE email <> '';

CREATE INDEX customer_phone ON customer (tenant_id, phone) WHERE phone <> '';

CREATE TABLE conversation (
    tenant_id uuid NOT NULL REFERENCES tenant ON DELETE CASCADE,
    id uuid NOT NULL DEFAULT malha_uuid7(),
    external_id text, -- what the client calls it
    customer_id uuid,
    channel text NOT NULL DEFAULT 'voice' CHECK (channel IN ('voice', 'whatsapp', 'site')),
    status text NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'closed', 'abandoned')),
    subject text NOT NULL DEFAULT '',
    session_id uuid, -- its newest session
    started_at timestamptz NOT NULL DEFAULT now(),
    ended_at timestamptz,
    duration_seconds double precision CHECK (duration_seconds >= 0), -- of the media, not of the clock
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, external_id),
    FOREIGN KEY (tenant_id, customer_id) REFERENCES customer ON DELETE SET NULL (customer_id)
);

CREATE INDEX conversation_newest ON conversation (tenant_id, started_at DESC, id DESC);

CREATE INDEX conversation_customer ON conversation (tenant_id, customer_id, started_at DESC, id DESC);

CREATE INDEX conversation_status ON conversation (tenant_id, status, started_at DESC, id DESC);

CREATE INDEX conversation_session ON conversation (tenant_id, session_id);

-- Updated at every group commit: half-filled pages and no index on what changes then keep those updates in place (HOT).
CREATE TABLE live_session (
    session_id uuid PRIMARY KEY, -- UUIDv7 minted by the caller
    tenant_id uuid NOT NULL,
    conversation_id uuid NOT NULL,
    principal_digest bytea NOT NULL,
    resume_digest bytea NOT NULL,
    epoch bigint NOT NULL DEFAULT 1,
    last_seq bigint NOT NULL DEFAULT 0,
    config bytea NOT NULL, -- the serialized `open`
    committed jsonb NOT NULL DEFAULT '{}', -- position per channel
    segment_ordinals jsonb NOT NULL DEFAULT '{}',
    noise_floors jsonb NOT NULL DEFAULT '{}',
    flags jsonb NOT NULL DEFAULT '{}', -- muted, held, insights
    state text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'detached', 'closed', 'abandoned')),
    owner text NOT NULL DEFAULT '',
    detached_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (tenant_id, conversation_id) REFERENCES conversation ON DELETE CASCADE
) WITH (fillfactor = 50);

CREATE INDEX live_session_conversation ON live_session (tenant_id, conversation_id);

CREATE INDEX live_session_active ON live_session (tenant_id) WHERE state IN ('open', 'detached');

CREATE INDEX live_session_detached ON live_session (detached_at) WHERE state = 'detached';

-- Append-only: what a client was told, in its order.
CREATE TABLE event (
    session_id uuid NOT NULL,
    seq bigint NOT NULL CHECK (seq > 0),
    tenant_id uuid NOT NULL,
    kind text NOT NULL,
    segment_id text,
    revision integer,
    position bigint,
    body jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (session_id, seq)
) PARTITION BY RANGE (session_id);

CREATE TABLE event_default PARTITION OF event DEFAULT;

ALTER TABLE event_default ENABLE ROW LEVEL SECURITY;

ALTER TABLE event_default FORCE ROW LEVEL SECURITY;

-- Attaching locks out nobody who writes to another day; days whose rows already lie in the default partition stay there.
CREATE FUNCTION ensure_event_partitions(days_ahead integer) RETURNS integer LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    today date := (now() AT TIME ZONE 'UTC')::date;
    day date;
    lowest uuid;
    beyond uuid;
    made integer := 0;
BEGIN
    IF days_ahead NOT BETWEEN 0 AND 366 THEN
        RAISE EXCEPTION 'days_ahead is from 0 to 366' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('malha.ensure_event_partitions'));
    FOR day IN SELECT generate_series(today - 1, today + days_ahead, interval '1 day')::date LOOP
        lowest := malha_uuid7_floor(day::timestamp AT TIME ZONE 'UTC');
        beyond := malha_uuid7_floor((day + 1)::timestamp AT TIME ZONE 'UTC');
        CONTINUE WHEN to_regclass(format('public.event_%s', to_char(day, 'YYYYMMDD'))) IS NOT NULL;
        CONTINUE WHEN EXISTS (SELECT FROM public.event_default WHERE session_id >= lowest AND session_id < beyond);
        EXECUTE format('CREATE TABLE public.event_%s (LIKE public.event INCLUDING DEFAULTS INCLUDING CONSTRAINTS,'
            ' CHECK (session_id >= %L AND session_id < %L))', to_char(day, 'YYYYMMDD'), lowest, beyond);
        EXECUTE format('ALTER TABLE public.event_%s ENABLE ROW LEVEL SECURITY', to_char(day, 'YYYYMMDD'));
        EXECUTE format('ALTER TABLE public.event_%s FORCE ROW LEVEL SECURITY', to_char(day, 'YYYYMMDD'));
        EXECUTE format('ALTER TABLE public.event ATTACH PARTITION public.event_%s FOR VALUES FROM (%L) TO (%L)',
            to_char(day, 'YYYYMMDD'), lowest, beyond);
        made := made + 1;
    END LOOP;
    RETURN made;
END
$$;

-- The current state of each segment; `event` holds how it came to be.
CREATE TABLE segment (
    tenant_id uuid NOT NULL,
    session_id uuid NOT NULL,
    segment_id text NOT NULL,
    revision integer NOT NULL,
    channel integer NOT NULL,
    role text NOT NULL DEFAULT '',
    start_seconds double precision NOT NULL,
    end_seconds double precision NOT NULL,
    text text NOT NULL,
    words jsonb NOT NULL DEFAULT '[]',
    confidence real,
    speaker text NOT NULL DEFAULT '',
    state text NOT NULL DEFAULT 'final' CHECK (state IN ('final', 'amended')),
    updated_at timestamptz NOT NULL DEFAULT now(),
    search tsvector GENERATED ALWAYS AS (to_tsvector('simple', left(text, 100000))) STORED,
    PRIMARY KEY (tenant_id, session_id, segment_id),
    CHECK (end_seconds >= start_seconds)
);

CREATE INDEX segment_order ON segment (tenant_id, session_id, start_seconds, segment_id);

CREATE INDEX segment_search ON segment USING gin (search);

CREATE TABLE message (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL DEFAULT malha_uuid7(),
    conversation_id uuid NOT NULL,
    external_id text,
    sender_type text NOT NULL CHECK (sender_type IN ('customer', 'agent', 'bot', 'system')),
    sender_id text NOT NULL DEFAULT '',
    text text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    search tsvector GENERATED ALWAYS AS (to_tsvector('simple', left(text, 100000))) STORED,
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, conversation_id, external_id),
    FOREIGN KEY (tenant_id, conversation_id) REFERENCES conversation ON DELETE CASCADE
);

CREATE INDEX message_order ON message (tenant_id, conversation_id, created_at, id);

CREATE INDEX message_search ON message USING gin (search);

CREATE TABLE state (
    tenant_id uuid NOT NULL,
    conversation_id uuid NOT NULL,
    key text NOT NULL CHECK (length(key) BETWEEN 1 AND 200),
    value jsonb NOT NULL,
    expires_at timestamptz,
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, conversation_id, key),
    FOREIGN KEY (tenant_id, conversation_id) REFERENCES conversation ON DELETE CASCADE
);

CREATE INDEX state_expires ON state (tenant_id, expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE insight (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL DEFAULT malha_uuid7(),
    conversation_id uuid NOT NULL,
    session_id uuid NOT NULL,
    type text NOT NULL,
    trigger_seq bigint NOT NULL,
    rule_version text NOT NULL,
    status text NOT NULL DEFAULT 'pending',
    body jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, session_id, type, trigger_seq, rule_version),
    FOREIGN KEY (tenant_id, conversation_id) REFERENCES conversation ON DELETE CASCADE
);

CREATE INDEX insight_conversation ON insight (tenant_id, conversation_id, created_at, id);

CREATE INDEX insight_pending ON insight (tenant_id, session_id) WHERE status = 'pending';

CREATE TABLE feedback (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL DEFAULT malha_uuid7(),
    conversation_id uuid NOT NULL,
    insight_id uuid,
    thumb smallint CHECK (thumb IN (-1, 1)),
    stars smallint CHECK (stars BETWEEN 1 AND 5),
    nps smallint CHECK (nps BETWEEN 0 AND 10),
    comment text NOT NULL DEFAULT '',
    problem boolean NOT NULL DEFAULT false,
    action text CHECK (action IN ('shown', 'used', 'edited', 'ignored')),
    author text NOT NULL DEFAULT '',
    at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, conversation_id) REFERENCES conversation ON DELETE CASCADE,
    FOREIGN KEY (tenant_id, insight_id) REFERENCES insight ON DELETE SET NULL (insight_id)
);

CREATE INDEX feedback_conversation ON feedback (tenant_id, conversation_id, at, id);

CREATE INDEX feedback_newest ON feedback (tenant_id, at DESC, id DESC);

CREATE INDEX feedback_insight ON feedback (tenant_id, insight_id) WHERE insight_id IS NOT NULL;

CREATE TABLE speaker (
    tenant_id uuid NOT NULL REFERENCES tenant ON DELETE CASCADE,
    id uuid NOT NULL DEFAULT malha_uuid7(),
    customer_id uuid,
    name text NOT NULL DEFAULT '',
    consent jsonb NOT NULL, -- who agreed, when, to what: without it there is no voice print
    model text NOT NULL, -- that made the embedding
    embedding real[] NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, customer_id) REFERENCES customer ON DELETE CASCADE
);

CREATE INDEX speaker_customer ON speaker (tenant_id, customer_id);

CREATE TABLE interaction (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL DEFAULT malha_uuid7(),
    conversation_id uuid NOT NULL,
    session_id uuid,
    insight_id uuid,
    kind text NOT NULL,
    actor text NOT NULL DEFAULT '',
    body jsonb NOT NULL DEFAULT '{}',
    at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, conversation_id) REFERENCES conversation ON DELETE CASCADE,
    FOREIGN KEY (tenant_id, insight_id) REFERENCES insight ON DELETE SET NULL (insight_id)
);

CREATE INDEX interaction_conversation ON interaction (tenant_id, conversation_id, at, id);

CREATE INDEX interaction_insight ON interaction (tenant_id, insight_id) WHERE insight_id IS NOT NULL;

CREATE TABLE ai_call (
    tenant_id uuid NOT NULL REFERENCES tenant ON DELETE CASCADE,
    id uuid NOT NULL DEFAULT malha_uuid7(),
    conversation_id uuid,
    session_id uuid,
    purpose text NOT NULL,
    model text NOT NULL,
    prompt_version text NOT NULL DEFAULT '',
    status text NOT NULL,
    reason text NOT NULL DEFAULT '', -- why it failed
    input_tokens integer,
    output_tokens integer,
    latency_seconds double precision,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, conversation_id) REFERENCES conversation ON DELETE CASCADE
);

CREATE INDEX ai_call_newest ON ai_call (tenant_id, created_at DESC, id DESC);

CREATE INDEX ai_call_conversation ON ai_call (tenant_id, conversation_id);

CREATE TABLE job (
    tenant_id uuid NOT NULL REFERENCES tenant ON DELETE CASCADE,
    id uuid NOT NULL DEFAULT malha_uuid7(),
    conversation_id uuid,
    kind text NOT NULL,
    status text NOT NULL DEFAULT 'queued' CHECK (status IN ('queued', 'running', 'done', 'failed', 'cancelled')),
    progress real NOT NULL DEFAULT 0 CHECK (progress BETWEEN 0 AND 1),
    attempts integer NOT NULL DEFAULT 0,
    input jsonb NOT NULL DEFAULT '{}',
    result jsonb,
    reason text NOT NULL DEFAULT '', -- why it failed
    created_at timestamptz NOT NULL DEFAULT now(),
    started_at timestamptz,
    ended_at timestamptz,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, conversation_id) REFERENCES conversation ON DELETE CASCADE
);

CREATE INDEX job_newest ON job (tenant_id, created_at DESC, id DESC);

CREATE INDEX job_conversation ON job (tenant_id, conversation_id);

-- Audit and tombstones outlive what they tell of: no foreign keys, no update, no delete.
CREATE TABLE audit (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL DEFAULT malha_uuid7(),
    actor text NOT NULL, -- the token's id
    action text NOT NULL,
    object_type text NOT NULL DEFAULT '',
    object_id text NOT NULL DEFAULT '',
    details jsonb NOT NULL DEFAULT '{}',
    at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id)
);

CREATE INDEX audit_newest ON audit (tenant_id, at DESC, id DESC);

-- What was erased. A restore erases it again.
CREATE TABLE tombstone (
    tenant_id uuid NOT NULL,
    kind text NOT NULL CHECK (kind IN ('customer', 'conversation', 'session', 'speaker')),
    object_id uuid NOT NULL,
    erased_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, kind, object_id)
);

-- Row-level security. malha_owner migrates and owns the functions below; nobody logs in as it.
DO $$
DECLARE
    relation text;
BEGIN
    FOREACH relation IN ARRAY ARRAY['token', 'customer', 'conversation', 'live_session', 'event', 'segment', 'message', 'state',
        'insight', 'feedback', 'speaker', 'interaction', 'ai_call', 'job', 'audit', 'tombstone'] LOOP
        EXECUTE format('CREATE POLICY app ON %I TO malha_app'
            ' USING (tenant_id = (SELECT NULLIF(current_setting(''malha.tenant'', true), '''')::uuid))', relation);
    END LOOP;
    CREATE POLICY app ON tenant TO malha_app USING (id = (SELECT NULLIF(current_setting('malha.tenant', true), '')::uuid));
    FOREACH relation IN ARRAY ARRAY['live_session', 'event', 'segment'] LOOP
        EXECUTE format('CREATE POLICY ingest ON %I TO malha_ingest USING (true)', relation);
    END LOOP;
    FOREACH relation IN ARRAY ARRAY['tenant', 'token', 'customer', 'conversation', 'live_session', 'event', 'event_default', 'segment',
        'message', 'state', 'insight', 'feedback', 'speaker', 'interaction', 'ai_call', 'job', 'audit', 'tombstone'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', relation);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', relation);
        EXECUTE format('CREATE POLICY owner ON %I TO malha_owner USING (true)', relation);
    END LOOP;
END
$$;

GRANT SELECT, INSERT, UPDATE ON tenant TO malha_app;

GRANT SELECT, INSERT, UPDATE, DELETE ON token, customer, conversation, live_session, segment, message, state, insight, feedback, speaker,
    interaction, ai_call, job TO malha_app;

GRANT SELECT, INSERT, DELETE ON event TO malha_app;

GRANT SELECT, INSERT ON audit, tombstone TO malha_app;

GRANT SELECT, INSERT, UPDATE ON live_session, segment TO malha_ingest;

GRANT SELECT, INSERT ON event TO malha_ingest;

GRANT SELECT ON schema_revision TO malha_app;

-- Before a tenant is known.
CREATE FUNCTION malha_find_token(given bytea)
RETURNS TABLE (tenant_id uuid, tenant_name text, token_id uuid, scopes text[], counter text, expires_at timestamptz, revoked_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
BEGIN ATOMIC
    SELECT token.tenant_id, tenant.name, token.id, token.scopes, token.counter, token.expires_at, token.revoked_at
    FROM token JOIN tenant ON tenant.id = token.tenant_id WHERE token.digest = given;
END;

CREATE FUNCTION malha_find_tenant(given text) RETURNS uuid LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
RETURN (SELECT id FROM tenant WHERE name = given);

-- For work that has to be done for every tenant, each in a transaction of its own.
CREATE FUNCTION malha_tenants() RETURNS TABLE (id uuid, name text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
BEGIN ATOMIC
    SELECT tenant.id, tenant.name FROM tenant ORDER BY tenant.name;
END;

-- Where the tenant said something. Under a policy no index serves `@@`, which is not leakproof, so this reads as malha_owner and
-- names the tenant itself; without one it finds nothing. Newest first; at most 10,000 hits of each kind are looked at. A hit's conversation
-- is looked up last and one by one: how many hits there are is not foreseen, and a join would read all sessions.
CREATE FUNCTION malha_search(query tsquery, most integer)
RETURNS TABLE (conversation_id uuid, session_id uuid, segment_id text, message_id uuid, at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
BEGIN ATOMIC
    SELECT coalesce(hit.conversation_id, (SELECT live_session.conversation_id FROM live_session
            WHERE live_session.session_id = hit.session_id AND live_session.tenant_id = malha_tenant())),
        hit.session_id, hit.segment_id, hit.message_id, hit.at
    FROM (
        SELECT * FROM (
            (SELECT NULL::uuid AS conversation_id, segment.session_id, segment.segment_id, NULL::uuid AS message_id, segment.updated_at AS at
             FROM segment WHERE segment.search @@ query AND segment.tenant_id = malha_tenant() LIMIT 10000)
            UNION ALL
            (SELECT message.conversation_id, NULL, NULL, message.id, message.created_at
             FROM message WHERE message.search @@ query AND message.tenant_id = malha_tenant() LIMIT 10000)
        ) AS found ORDER BY found.at DESC LIMIT most
    ) AS hit ORDER BY hit.at DESC;
END;

REVOKE EXECUTE ON FUNCTION malha_find_token(bytea), malha_find_tenant(text), malha_tenants(), malha_search(tsquery, integer),
    ensure_event_partitions(integer) FROM PUBLIC;

GRANT EXECUTE ON FUNCTION malha_find_token(bytea), malha_find_tenant(text), malha_tenants(), malha_search(tsquery, integer),
    ensure_event_partitions(integer) TO malha_app;

GRANT EXECUTE ON FUNCTION ensure_event_partitions(integer) TO malha_ingest;

SELECT ensure_event_partitions(7);
