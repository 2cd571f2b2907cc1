"""What Alembic runs: the revisions, in one transaction, as malha_owner, on the connection `malha.store.migrate` opened."""

from alembic import context

LOCK_TIMEOUT = "5s"
"""A migration that has to wait longer for a lock gives up: those queued behind it would wait too."""
STATEMENT_TIMEOUT = "10min"

connection = context.config.attributes["connection"]
context.configure(connection=connection, version_table="schema_revision", transactional_ddl=True)
with context.begin_transaction():
    connection.exec_driver_sql("SET LOCAL ROLE malha_owner")
    connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
    connection.exec_driver_sql(f"SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT}'")
    context.run_migrations()
