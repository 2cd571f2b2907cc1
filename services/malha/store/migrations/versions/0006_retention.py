"""What an erasure and a retention could not reach: jobs that name a conversation, days of events that are empty."""

from malha.store.migrations.sql import run_file

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Run the SQL beside this file."""
    run_file(__file__)
