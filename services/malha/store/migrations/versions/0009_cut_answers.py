"""Answers of Chat that came to their limit of tokens."""

from malha.store.migrations.sql import run_file

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Run the SQL beside this file."""
    run_file(__file__)
