"""What a hub's answers mean: which are worth another try, when, and what to tell about the others."""

import math
import re
import time
from email.utils import parsedate_to_datetime

import httpx

from malha.runtime.errors import MalhaError, NotFound, PermissionDenied, Unauthenticated, Unavailable

MAX_RETRY_AFTER_SECONDS = 300.0
"""The longest wait a hub may ask for: its windows are of five minutes."""

_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
_RATE_LIMIT_RESET = re.compile(r"\bt=(\d+)")


class TransientStatusError(Exception):
    """A status that may be another the next time."""

    def __init__(self, response: httpx.Response) -> None:
        super().__init__(response.status_code)
        self.status = response.status_code
        self.retry_after = _retry_after(response.headers)
        """Seconds the hub asks to wait; 0 if it does not say."""


def check(response: httpx.Response, endpoint: str, repository: str) -> None:
    """Raise TransientStatusError for what may pass; NotFound, Unauthenticated, PermissionDenied or Unavailable for what will not."""
    status = response.status_code
    if status in _TRANSIENT:
        raise TransientStatusError(response)
    if response.is_success:
        return
    where = f"{endpoint} answers {status} for {repository}"
    if status == httpx.codes.NOT_FOUND:
        raise NotFound(f"{where}: no such model, revision or file there", reason="HUB_NOT_FOUND")
    if status == httpx.codes.UNAUTHORIZED:
        how = f"accept its conditions at {endpoint}/{repository}, then set HF_TOKEN (or HF_TOKEN_PATH, a file)"
        raise Unauthenticated(f"{where}: it needs a token, or does not exist: {how}", reason="HUB_TOKEN_NEEDED")
    if status == httpx.codes.FORBIDDEN:
        how = f"accept its conditions at {endpoint}/{repository} with the account of the token, which must be allowed to read gated models"
        raise PermissionDenied(f"{where}: the token in HF_TOKEN may not read it: {how}", reason="HUB_FORBIDDEN")
    raise Unavailable(where, reason="HUB_UNEXPECTED")


def given_up(error: Exception, endpoint: str) -> MalhaError:
    """What to tell when trying again did not help."""
    if isinstance(error, TransientStatusError):
        wait = error.retry_after or 60
        return Unavailable(f"{endpoint} answers {error.status} again and again", reason="HUB_FAILING", retry_seconds=wait)
    if isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout)):
        return Unavailable(f"no model hub in reach at {endpoint} ({_in_short(error)})", reason="HUB_UNREACHABLE", retry_seconds=60)
    return Unavailable(f"the connection to {endpoint} fails again and again ({_in_short(error)})", reason="HUB_FAILING", retry_seconds=60)


def _retry_after(headers: httpx.Headers) -> float:
    """Of ``Retry-After``, in seconds or as a date (RFC 9110), or of the reset in ``RateLimit`` (draft-ietf-httpapi-ratelimit-headers)."""
    given = headers.get("Retry-After", "")
    if given.isdigit():
        return min(float(given), MAX_RETRY_AFTER_SECONDS)
    try:
        wait = parsedate_to_datetime(given).timestamp() - time.time()
    except ValueError:
        reset = _RATE_LIMIT_RESET.search(headers.get("RateLimit", ""))
        wait = float(reset[1]) if reset else 0.0
    return min(max(0.0, math.ceil(wait)), MAX_RETRY_AFTER_SECONDS)


def _in_short(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".rstrip(": ").partition("\n")[0]
