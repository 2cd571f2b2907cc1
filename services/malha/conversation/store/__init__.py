"""Conversations in PostgreSQL: named SQL and what it gives, on a connection that acts as one tenant."""
