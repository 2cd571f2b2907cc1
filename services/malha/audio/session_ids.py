"""Session ids: UUIDv7, minted by the caller, so that opening a call twice is opening it once."""

import re
import time
from typing import Final

from malha.runtime.errors import InvalidArgument
from malha.runtime.ids import uuid7

CLOCK_SECONDS: Final = 3600.0
"""How far the time in a caller's session id may be off."""
_UUID7: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def session_id_of(given: str) -> str:
    """The caller's session id, checked, or a new one. A UUIDv7 (RFC 9562) names its time: one far off would break the store's partitions."""
    if not given:
        return new_session_id()
    if not _UUID7.fullmatch(given):
        raise InvalidArgument("malha-session is no UUIDv7", reason="INVALID_SESSION_ID")
    if abs(int(given[:8] + given[9:13], 16) / 1000 - time.time()) > CLOCK_SECONDS:
        raise InvalidArgument("the time in malha-session is more than an hour off: check the client's clock", reason="CLOCK_OFF")
    return given


def new_session_id() -> str:
    """One of now."""
    return str(uuid7())
