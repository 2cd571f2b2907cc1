"""What webhooks are told, and how it is signed."""

import uuid
from datetime import datetime, timedelta, timezone

from malha.jobs.delivering import body, signature
from malha.jobs.webhook_store import Delivery

TOLD = Delivery(
    id=uuid.UUID(int=1),
    webhook_id=uuid.UUID(int=2),
    event="job.done",
    data={"job_id": "x"},
    attempts=0,
    created_at=datetime(2026, 1, 2, 3, 4, 5, 678_900, tzinfo=timezone(timedelta(hours=-3))),
    url="https://example.com",
    secret="whsec_key",
    age_seconds=0.0,
)


def test_the_body_is_the_same_each_time() -> None:
    assert body(TOLD) == (
        b'{"id":"00000000-0000-0000-0000-000000000001","type":"job.done","create_time":"2026-01-02T06:04:05.678Z","data":{"job_id":"x"}}'
    )


def test_the_signature_is_what_openssl_says() -> None:
    """printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac whsec_key"""
    expected = "f362a8a8618b4e90aaa6e2c3e3db13524b4eb1f35d6b54deb0ad7bb4fadb46f5"
    assert signature("whsec_key", 1_700_000_000, b'{"a":1}') == f"t=1700000000,v1={expected}"
