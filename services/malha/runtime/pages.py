"""Page tokens: a place in a list, opaque to the client.

A token is bound to tenant, method and filters, and carries a check of all that, so that one that was changed, cut or used elsewhere is
refused. The check is no secret: a place names nothing that the tenant could not see anyway.
"""

import base64
import binascii
import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import orjson

from malha.runtime.auth import Principal
from malha.runtime.errors import InvalidArgument

_CHECK_BYTES: Final = 12
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def make_token(principal: Principal, asked: Sequence[object], place: Sequence[object]) -> str:
    """The token of a place. ``asked``: the method and all that must stay the same from page to page."""
    content = orjson.dumps(place)
    return base64.urlsafe_b64encode(_check(principal, asked, content) + content).rstrip(b"=").decode()


def read_token(principal: Principal, asked: Sequence[object], token: str) -> list[Any]:
    """The place of a token. Raises InvalidArgument."""
    try:
        data = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):  # ValueError: not ASCII
        raise _invalid() from None
    check, content = data[:_CHECK_BYTES], data[_CHECK_BYTES:]
    if check != _check(principal, asked, content):
        raise _invalid()
    place: list[Any] = orjson.loads(content)
    return place


def micros(moment: datetime) -> int:
    """Since 1970: PostgreSQL's own precision."""
    return (moment - EPOCH) // timedelta(microseconds=1)


def moment_of(value: int) -> datetime:
    """The moment of so many `micros`."""
    return EPOCH + timedelta(microseconds=value)


def _check(principal: Principal, asked: Sequence[object], content: bytes) -> bytes:
    bound = orjson.dumps([str(principal.tenant_id), *map(str, asked)])
    return hashlib.blake2b(bound + b"\n" + content, digest_size=_CHECK_BYTES, person=b"malha.pages").digest()


def _invalid() -> InvalidArgument:
    wrong = "is not of this list: ask for the first page again, or with the same filters"
    return InvalidArgument(f"page_token {wrong}", reason="INVALID_PAGE_TOKEN", violations={"page_token": wrong})
