"""What the vendors' clients share: connections with bounds, and what an HTTP status means."""

from typing import Final

import httpx2

from malha.chat.errors import ModelRateLimited, ModelRefused, ModelTimeout, ModelUnavailable
from malha.chat.models_file import Deployment
from malha.runtime.remote import Failures

KEEPALIVE_SECONDS: Final = 60.0
FAILURES: Final = Failures("the model's server", ModelRateLimited, ModelTimeout, ModelUnavailable, ModelRefused)


def make_client(deployment: Deployment) -> httpx2.AsyncClient:
    """Connections to one deployment, kept open between calls. The environment's proxies are not for models; redirects are not followed."""
    seconds, most = deployment.timeouts, deployment.max_concurrent + 1
    return httpx2.AsyncClient(
        timeout=httpx2.Timeout(seconds.total_seconds, connect=seconds.connect_seconds),
        limits=httpx2.Limits(max_connections=most, max_keepalive_connections=most, keepalive_expiry=KEEPALIVE_SECONDS),
        trust_env=False,
        follow_redirects=False,
    )
