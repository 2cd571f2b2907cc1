"""Session ids."""

import secrets
import time
import uuid


def new_session_id() -> str:
    """A UUIDv7 (RFC 9562 section 5.7) of now, so that ids sort by time and name the day they are stored under."""
    value = int(time.time() * 1000) << 80 | secrets.randbits(80)
    value = value & ~(0xF << 76) | 7 << 76
    return str(uuid.UUID(int=value & ~(3 << 62) | 2 << 62))
