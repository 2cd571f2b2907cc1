"""Jobs: recordings transcribed in the background, and webhooks that tell what happened. Queued by PgQueuer in PostgreSQL."""
