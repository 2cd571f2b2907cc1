-- Recordings, legal holds, and what was erased.

-- Wins over erasure and retention.
CREATE TABLE legal_hold (
    tenant_id uuid NOT NULL REFERENCES tenant ON DELETE CASCADE,
    kind text NOT NULL CHECK (kind IN ('customer', 'conversation')),
    object_id uuid NOT NULL,
    reason text NOT NULL DEFAULT '',
    actor text NOT NULL,
    placed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, kind, object_id)
);

-- Whoever serves may not delete what is held, by whichever way. A restore, as malha_owner, may: it repeats what was erased after a hold.
CREATE FUNCTION malha_refuse_held() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF current_user = 'malha_app' AND EXISTS (
        SELECT FROM legal_hold WHERE tenant_id = OLD.tenant_id AND (
            (kind = TG_TABLE_NAME AND object_id = OLD.id)
            OR (kind = 'customer' AND object_id::text = to_jsonb(OLD) ->> 'customer_id'))
    ) THEN
        RAISE EXCEPTION 'a legal hold is set' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN OLD;
END
$$;

CREATE TRIGGER refuse_held BEFORE DELETE ON customer FOR EACH ROW EXECUTE FUNCTION malha_refuse_held();

CREATE TRIGGER refuse_held BEFORE DELETE ON conversation FOR EACH ROW EXECUTE FUNCTION malha_refuse_held();

-- What was erased, for the report: ids and counts, nothing of what it was. Rows first, then files: `ended_at` once both are gone.
CREATE TABLE erasure (
    tenant_id uuid NOT NULL,
    kind text NOT NULL CHECK (kind IN ('customer', 'conversation')),
    object_id uuid NOT NULL,
    customer_id uuid, -- whose erasure this one is part of
    actor text NOT NULL,
    cause text NOT NULL CHECK (cause IN ('request', 'retention')),
    counts jsonb NOT NULL DEFAULT '{}', -- rows by table
    objects jsonb NOT NULL DEFAULT '{}', -- ids by kind
    began_at timestamptz NOT NULL DEFAULT now(),
    ended_at timestamptz,
    PRIMARY KEY (tenant_id, kind, object_id)
);

CREATE INDEX erasure_customer ON erasure (tenant_id, customer_id) WHERE customer_id IS NOT NULL;

CREATE INDEX erasure_unfinished ON erasure (tenant_id) WHERE ended_at IS NULL;

-- Without this row nobody can hear a conversation's recording again.
CREATE TABLE recording_key (
    tenant_id uuid NOT NULL,
    conversation_id uuid NOT NULL,
    wrapped bytea NOT NULL, -- AES-256-GCM under the key in the data directory
    wrapped_by text NOT NULL, -- which key that was
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, conversation_id),
    FOREIGN KEY (tenant_id, conversation_id) REFERENCES conversation ON DELETE CASCADE
);

-- A file: up to a minute of one channel.
CREATE TABLE recording (
    tenant_id uuid NOT NULL,
    conversation_id uuid NOT NULL,
    session_id uuid NOT NULL,
    channel integer NOT NULL,
    start_ms bigint NOT NULL CHECK (start_ms >= 0), -- in the time of the media
    epoch bigint NOT NULL, -- of the session's owner: one that takes over overwrites nothing
    duration_ms bigint NOT NULL CHECK (duration_ms >= 0),
    bytes bigint NOT NULL,
    written_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, session_id, channel, start_ms, epoch),
    FOREIGN KEY (tenant_id, conversation_id) REFERENCES recording_key ON DELETE CASCADE
);

CREATE INDEX recording_conversation ON recording (tenant_id, conversation_id, session_id, start_ms, channel);

DO $$
DECLARE
    relation text;
BEGIN
    FOREACH relation IN ARRAY ARRAY['legal_hold', 'erasure', 'recording_key', 'recording'] LOOP
        EXECUTE format('CREATE POLICY app ON %I TO malha_app'
            ' USING (tenant_id = (SELECT NULLIF(current_setting(''malha.tenant'', true), '''')::uuid))', relation);
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', relation);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', relation);
        EXECUTE format('CREATE POLICY owner ON %I TO malha_owner USING (true)', relation);
    END LOOP;
END
$$;

GRANT SELECT, INSERT, DELETE ON legal_hold TO malha_app;

GRANT SELECT, INSERT, UPDATE ON erasure TO malha_app;

GRANT SELECT, INSERT, UPDATE, DELETE ON recording_key, recording TO malha_app;
