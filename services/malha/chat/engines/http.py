"""What the vendors' clients share: connections with bounds, and what an HTTP status means."""

import math
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

import httpx2

from malha.chat.errors import ModelRateLimited, ModelRefused, ModelTimeout, ModelUnavailable
from malha.chat.models_file import Deployment
from malha.runtime.errors import MalhaError

KEEPALIVE_SECONDS: Final = 60.0
_TIMED_OUT: Final = frozenset({408, 504})
_TOO_MANY: Final = 429
_SERVER_ERRORS: Final = 500
_MOST_RETRY_SECONDS: Final = 86_400.0


def make_client(deployment: Deployment) -> httpx2.AsyncClient:
    """Connections to one deployment, kept open between calls. The environment's proxies are not for models; redirects are not followed."""
    seconds, most = deployment.timeouts, deployment.max_concurrent + 1
    return httpx2.AsyncClient(
        timeout=httpx2.Timeout(seconds.total_seconds, connect=seconds.connect_seconds),
        limits=httpx2.Limits(max_connections=most, max_keepalive_connections=most, keepalive_expiry=KEEPALIVE_SECONDS),
        trust_env=False,
        follow_redirects=False,
    )


def status_error(status: int, retry_after: str) -> MalhaError:
    """The error for an HTTP status. Nothing of the answer's body is told: it may quote the prompt."""
    if status == _TOO_MANY:
        return ModelRateLimited("the model's server takes no more for now", retry_seconds=retry_seconds(retry_after))
    if status in _TIMED_OUT:
        return ModelTimeout("the model's server did not answer in time")
    if status >= _SERVER_ERRORS:
        return ModelUnavailable(
            f"the model's server failed with {status}", retry_seconds=retry_seconds(retry_after) if retry_after else None
        )
    return ModelRefused(f"the model's server refused the request with {status}", metadata={"status": str(status)})


def retry_seconds(header: str) -> float:
    """Of a ``Retry-After``: seconds, or an HTTP date (RFC 9110, 10.2.3), a day at most; 1 where it is neither."""
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):
            return 1.0
    return 1.0 if math.isnan(seconds) else min(max(seconds, 0.0), _MOST_RETRY_SECONDS)
