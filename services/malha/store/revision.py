"""The schema's revision that this code needs. Read here, so that a service need not load Alembic."""

from typing import Final

HEAD: Final = "0009"
