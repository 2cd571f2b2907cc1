-- Insights: the tenant's configuration and rules, interactions, knowledge bases, and what models cost.

-- Glossary, keywords, policies, catalogue: malha.api.insight.v1.Configuration as JSON, each revision kept.
CREATE TABLE insight_configuration (
    tenant_id uuid NOT NULL REFERENCES tenant ON DELETE CASCADE,
    revision integer NOT NULL CHECK (revision > 0),
    body jsonb NOT NULL,
    actor text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, revision)
);

-- malha.api.insight.v1.Rule as JSON, each version kept: an insight names the one that made it. A deleted rule ends with a version of NULL.
CREATE TABLE insight_rule (
    tenant_id uuid NOT NULL REFERENCES tenant ON DELETE CASCADE,
    id text NOT NULL CHECK (length(id) BETWEEN 1 AND 64),
    version integer NOT NULL CHECK (version > 0),
    body jsonb,
    actor text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id, version)
);

-- pending: the model is asked, and asked again after a takeover. shown: told. empty: nothing worth showing. late: its degraded stand-in was
-- told. dropped: not supported by what was said, a duplicate, or not in the catalogue. failed: no answer.
ALTER TABLE insight
    ADD CONSTRAINT insight_status CHECK (status IN ('pending', 'shown', 'empty', 'late', 'dropped', 'failed')),
    ADD COLUMN reason text NOT NULL DEFAULT '', -- UPPER_SNAKE_CASE: why it was not shown
    ADD COLUMN interaction_id uuid,
    -- when it was thought of, in the time of the call
    ADD COLUMN media_seconds double precision NOT NULL DEFAULT 0;

CREATE FUNCTION malha_tell_insight() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    PERFORM malha_tell(NEW.tenant_id, 'insight.shown', NEW.id, jsonb_build_object('insight_id', NEW.id, 'type', NEW.type,
        'conversation_id', NEW.conversation_id, 'session_id', NEW.session_id));
    RETURN NULL;
END
$$;

REVOKE EXECUTE ON FUNCTION malha_tell_insight() FROM PUBLIC;

CREATE TRIGGER tell_insight_made AFTER INSERT ON insight FOR EACH ROW WHEN (NEW.status = 'shown') EXECUTE FUNCTION malha_tell_insight();

CREATE TRIGGER tell_insight_shown AFTER UPDATE OF status ON insight FOR EACH ROW
    WHEN (OLD.status = 'pending' AND NEW.status = 'shown') EXECUTE FUNCTION malha_tell_insight();

-- One row for each processed utterance, whether a model was called or not.
ALTER TABLE interaction
    ADD COLUMN seq bigint, -- of the utterance's final
    ADD COLUMN counter text, -- of the token that opened the call
    ADD COLUMN transcript text,
    ADD COLUMN recommendation text, -- NULL: not asked; 'Nenhuma': nothing came
    ADD COLUMN raw_response text, -- of the model
    ADD COLUMN speaker jsonb,
    ADD COLUMN audio_received_at timestamptz,
    ADD COLUMN transcript_sent_at timestamptz,
    ADD COLUMN ai_requested_at timestamptz,
    ADD COLUMN ai_responded_at timestamptz,
    ADD COLUMN sent_at timestamptz;

CREATE VIEW interacoes WITH (security_invoker = true) AS
SELECT interaction.tenant_id, interaction.id, interaction.conversation_id, interaction.counter AS balcao_id,
    interaction.transcript AS transcricao_completa, interaction.recommendation AS recomendacao_gerada,
    interaction.raw_response AS grok_raw_response, interaction.speaker AS speaker_data,
    interaction.audio_received_at AS ts_audio_received, interaction.transcript_sent_at AS ts_trans_sent,
    interaction.ai_requested_at AS ts_ai_req, interaction.ai_responded_at AS ts_ai_resp, interaction.sent_at AS ts_sent
FROM interaction WHERE interaction.kind = 'utterance';

ALTER TABLE ai_call
    ADD COLUMN alias text NOT NULL DEFAULT '',
    ADD COLUMN deployment text NOT NULL DEFAULT '',
    ADD COLUMN degraded boolean NOT NULL DEFAULT false,
    ADD COLUMN cached boolean NOT NULL DEFAULT false,
    ADD COLUMN first_token_seconds double precision,
    ADD COLUMN cost numeric(14, 6) NOT NULL DEFAULT 0;

-- What a tenant's calls of a deployment cost on a day (UTC): reserved before, settled after.
CREATE TABLE ai_spend (
    tenant_id uuid NOT NULL REFERENCES tenant ON DELETE CASCADE,
    day date NOT NULL,
    deployment text NOT NULL,
    reserved numeric(14, 6) NOT NULL DEFAULT 0,
    spent numeric(14, 6) NOT NULL DEFAULT 0,
    calls bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant_id, day, deployment)
);

-- Answers that may be given again. The key is a hash of tenant, model, prompt version and context.
CREATE TABLE ai_cache (
    tenant_id uuid NOT NULL REFERENCES tenant ON DELETE CASCADE,
    key bytea NOT NULL CHECK (length(key) = 32),
    conversation_id uuid, -- erased with it
    body jsonb NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, key),
    FOREIGN KEY (tenant_id, conversation_id) REFERENCES conversation ON DELETE CASCADE
);

CREATE INDEX ai_cache_expires ON ai_cache (tenant_id, expires_at);

CREATE INDEX ai_cache_conversation ON ai_cache (tenant_id, conversation_id) WHERE conversation_id IS NOT NULL;

CREATE TABLE knowledge_document (
    tenant_id uuid NOT NULL REFERENCES tenant ON DELETE CASCADE,
    knowledge_base text NOT NULL CHECK (length(knowledge_base) BETWEEN 1 AND 128),
    id text NOT NULL CHECK (length(id) BETWEEN 1 AND 128),
    title text NOT NULL DEFAULT '',
    text text NOT NULL,
    language text NOT NULL DEFAULT '',
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, knowledge_base, id)
);

CREATE INDEX knowledge_document_newest ON knowledge_document (tenant_id, knowledge_base, updated_at DESC);

-- Pieces of documents with their vectors, where a model for them is there.
CREATE TABLE knowledge_vector (
    tenant_id uuid NOT NULL,
    knowledge_base text NOT NULL,
    document_id text NOT NULL,
    piece integer NOT NULL,
    model text NOT NULL, -- that made the embedding
    embedding real[] NOT NULL,
    PRIMARY KEY (tenant_id, knowledge_base, document_id, piece, model),
    FOREIGN KEY (tenant_id, knowledge_base, document_id) REFERENCES knowledge_document ON DELETE CASCADE
);

DO $$
DECLARE
    relation text;
BEGIN
    FOREACH relation IN ARRAY ARRAY['insight_configuration', 'insight_rule', 'ai_spend', 'ai_cache', 'knowledge_document', 'knowledge_vector'] LOOP
        EXECUTE format('CREATE POLICY app ON %I TO malha_app'
            ' USING (tenant_id = (SELECT NULLIF(current_setting(''malha.tenant'', true), '''')::uuid))', relation);
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', relation);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', relation);
        EXECUTE format('CREATE POLICY owner ON %I TO malha_owner USING (true)', relation);
    END LOOP;
END
$$;

GRANT SELECT, INSERT ON insight_configuration, insight_rule TO malha_app;

GRANT SELECT ON interacoes TO malha_app;

GRANT SELECT, INSERT, UPDATE, DELETE ON ai_spend, ai_cache, knowledge_document, knowledge_vector TO malha_app;
