"""Voice prints: what the tenant calls a speaker, and how much speech the print was made of."""

from malha.store.migrations.sql import run_file

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Run the SQL beside this file."""
    run_file(__file__)
