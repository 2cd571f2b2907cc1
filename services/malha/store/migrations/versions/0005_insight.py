"""Insights: the tenant's configuration and rules, interactions, knowledge bases, and what models cost."""

from malha.store.migrations.sql import run_file

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Run the SQL beside this file."""
    run_file(__file__)
