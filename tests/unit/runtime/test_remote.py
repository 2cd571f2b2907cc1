"""Servers of others: where they may be, and what their answers say of when to ask again."""

import grpc
import pytest

from malha.runtime.errors import DeadlineExceeded, FailedPrecondition, ResourceExhausted, Unavailable
from malha.runtime.remote import Failures, check_base_url, retry_seconds

FAILURES = Failures("the server", ResourceExhausted, DeadlineExceeded, Unavailable, FailedPrecondition)


@pytest.mark.parametrize("url", ["", "http://127.0.0.1:8100/v1", "https://models.example/v1"])
def test_a_url_of_a_server(url: str) -> None:
    assert check_base_url(url, "KEY_FILE") == url


@pytest.mark.parametrize("url", ["models.example", "ftp://models.example", "http:///v1", "file:///etc/passwd"])
def test_what_is_no_url_of_a_server(url: str) -> None:
    with pytest.raises(ValueError, match="http or https and a host"):
        check_base_url(url, "KEY_FILE")


@pytest.mark.parametrize("url", ["https://me@models.example", "https://:secret@models.example/v1", "https://models.example/v1?key=secret"])
def test_a_key_has_its_own_place(url: str) -> None:
    with pytest.raises(ValueError, match="must not hold a key: use KEY_FILE") as refused:
        check_base_url(url, "KEY_FILE")
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("status", "code", "seconds"),
    [
        (429, grpc.StatusCode.RESOURCE_EXHAUSTED, 7.0),
        (408, grpc.StatusCode.DEADLINE_EXCEEDED, None),
        (504, grpc.StatusCode.DEADLINE_EXCEEDED, None),
        (500, grpc.StatusCode.UNAVAILABLE, 7.0),
        (401, grpc.StatusCode.FAILED_PRECONDITION, None),
    ],
)
def test_what_a_status_means(status: int, code: grpc.StatusCode, seconds: float | None) -> None:
    error = FAILURES.of_status(status, "7")
    assert (error.code, error.retry_seconds) == (code, seconds)


def test_a_server_that_failed_says_when_to_ask_again_only_where_it_did() -> None:
    assert FAILURES.of_status(503, "").retry_seconds is None
    assert FAILURES.of_status(429, "").retry_seconds == 1


def test_retry_after_is_a_time_one_can_wait() -> None:
    assert [retry_seconds(header) for header in ("7", "0.5", "-3", "nan", "inf", "soon", "")] == [7, 0.5, 0, 1, 86_400, 1, 1]
    assert retry_seconds("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert retry_seconds("Wed, 21 Oct 2815 07:28:00 GMT") == 86_400
