"""Recordings of calls, where a tenant wants them: Opus, encrypted under a key of each conversation."""
