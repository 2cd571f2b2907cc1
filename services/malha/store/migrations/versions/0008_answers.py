"""Answers of Chat: the question each belongs to, and who may write it while it is not whole."""

from malha.store.migrations.sql import run_file

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Run the SQL beside this file."""
    run_file(__file__)
