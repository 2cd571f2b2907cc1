"""Recordings and their keys, legal holds, what was erased."""

from malha.store.migrations.sql import run_file

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Run the SQL beside this file."""
    run_file(__file__)
