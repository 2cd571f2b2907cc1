"""Session ids."""

from malha.runtime.ids import uuid7


def new_session_id() -> str:
    """A UUIDv7 of now, so that ids sort by time and name the day they are stored under."""
    return str(uuid7())
