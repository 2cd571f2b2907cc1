"""The schema's revisions, run by Alembic: `malha.store.migrate`."""
