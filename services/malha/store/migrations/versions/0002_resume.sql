-- A resume token rotates each time. The one before holds until its successor was used: an answer that got lost loses no call.
ALTER TABLE live_session ADD COLUMN previous_resume_digest bytea;

-- The processes that serve calls, and when each was last alive: sessions of one that is gone are detached by another.
CREATE TABLE live_owner (
    owner text PRIMARY KEY,
    seen_at timestamptz NOT NULL
);

CREATE INDEX live_session_open ON live_session (owner) WHERE state = 'open';

ALTER TABLE live_owner ENABLE ROW LEVEL SECURITY;

ALTER TABLE live_owner FORCE ROW LEVEL SECURITY;

CREATE POLICY ingest ON live_owner TO malha_ingest USING (true);

CREATE POLICY owner ON live_owner TO malha_owner USING (true);

GRANT SELECT, INSERT, UPDATE, DELETE ON live_owner TO malha_ingest;
