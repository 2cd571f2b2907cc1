-- Enrolled speakers. Row-level security and the grants of `speaker` are those of 0001.
ALTER TABLE speaker
    ADD COLUMN external_id text CHECK (length(external_id) BETWEEN 1 AND 128),
    ADD COLUMN speech_seconds real NOT NULL DEFAULT 0;

CREATE UNIQUE INDEX speaker_external_id ON speaker (tenant_id, external_id);

ALTER TABLE speaker ADD CONSTRAINT speaker_embedding_bounded CHECK (cardinality(embedding) BETWEEN 1 AND 4096) NOT VALID;
