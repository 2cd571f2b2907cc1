"""Resume: tokens whose successor was never used, and the processes that own sessions."""

from malha.store.migrations.sql import run_file

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Run the SQL beside this file."""
    run_file(__file__)
