"""The first schema: tenants, tokens, calls and what is kept of them."""

from malha.store.migrations.sql import run_file

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Run the SQL beside this file."""
    run_file(__file__)
