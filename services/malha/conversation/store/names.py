"""How a client names what is kept: by its own name for it, or by Malha's id."""

import uuid
from typing import Final

_UUID_CHARACTERS: Final = 36


def as_uuid(name: str) -> uuid.UUID | None:
    """The id a name is, where it is one."""
    if len(name) != _UUID_CHARACTERS:
        return None
    try:
        return uuid.UUID(name)
    except ValueError:
        return None
