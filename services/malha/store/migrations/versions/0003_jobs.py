"""Jobs: PgQueuer's queue under a role of its own, webhooks and what they are told."""

from malha.store.migrations.sql import run_file

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Run the SQL beside this file."""
    run_file(__file__)
