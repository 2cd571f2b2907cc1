"""Runs a migration's SQL: statement by statement, because the driver prepares each and prepares one at a time."""

import re
from pathlib import Path

from alembic import op

_END = re.compile(r";\n(?:\n|\Z)")
_COMMENTS = re.compile(r"\A(?:--[^\n]*\n|\s)+")


def run_file(migration: str) -> None:
    """Run ``NAME.sql`` beside the migration ``NAME.py``. In it a statement ends with a semicolon before an empty line."""
    for statement in split(Path(migration).with_suffix(".sql").read_text()):
        op.get_bind().exec_driver_sql(statement)


def split(script: str) -> list[str]:
    """The statements of a script, without the comments before each."""
    statements = (_COMMENTS.sub("", part).strip() for part in _END.split(script))
    return [statement for statement in statements if statement]
