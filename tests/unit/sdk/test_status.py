import grpc
import pytest
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2 as details
from google.rpc import status_pb2
from hypothesis import given
from hypothesis import strategies as st

from fakes.audio_server import error_info, status_details
from malha.sdk import errors
from malha.sdk._status import error_from

Code = grpc.StatusCode


def raised(code, text="message", *trailing) -> errors.MalhaError:
    metadata = grpc.aio.Metadata(*trailing)
    return error_from(grpc.aio.AioRpcError(code, grpc.aio.Metadata(), metadata, text), "there:1")


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (Code.INVALID_ARGUMENT, errors.InvalidRequest),
        (Code.OUT_OF_RANGE, errors.InvalidRequest),
        (Code.FAILED_PRECONDITION, errors.FailedPrecondition),
        (Code.NOT_FOUND, errors.NotFound),
        (Code.UNAUTHENTICATED, errors.Unauthenticated),
        (Code.PERMISSION_DENIED, errors.PermissionDenied),
        (Code.RESOURCE_EXHAUSTED, errors.QuotaExceeded),
        (Code.ABORTED, errors.Aborted),
        (Code.DEADLINE_EXCEEDED, errors.DeadlineExceeded),
        (Code.UNIMPLEMENTED, errors.Unimplemented),
        (Code.UNAVAILABLE, errors.Unavailable),
        (Code.INTERNAL, errors.ServerError),
        (Code.UNKNOWN, errors.ServerError),
        (Code.DATA_LOSS, errors.ServerError),
    ],
)
def test_each_code_has_a_type(code, kind):
    assert type(raised(code)) is kind


def test_details_are_read():
    trailing = status_details(
        Code.RESOURCE_EXHAUSTED,
        "full",
        error_info("TENANT_CALLS", limit="10"),
        details.RetryInfo(retry_delay=Duration(seconds=2, nanos=500_000_000)),
        details.BadRequest(field_violations=[{"field": "open.format", "description": "is required"}]),
        details.QuotaFailure(violations=[{"subject": "tenant", "description": "calls"}]),
    )
    error = raised(Code.RESOURCE_EXHAUSTED, "full", *trailing)
    assert isinstance(error, errors.QuotaExceeded)
    assert (str(error), error.reason, error.metadata) == ("full", "TENANT_CALLS", {"limit": "10"})
    assert error.retry_after_seconds == 2.5
    assert error.violations == {"open.format": "is required"}


def test_no_details():
    error = raised(Code.NOT_FOUND)
    assert (error.reason, error.metadata, error.violations, error.retry_after_seconds) == ("", {}, {}, None)


def test_unknown_details_are_passed_over():
    status = status_pb2.Status(details=[Any(type_url="type.googleapis.com/a.later.Detail", value=b"\x08\x01")])
    assert raised(Code.ABORTED, "x", ("grpc-status-details-bin", status.SerializeToString())).reason == ""


@given(st.binary(max_size=60), st.sampled_from(["ErrorInfo", "RetryInfo", "BadRequest"]))
def test_details_that_are_not_protobuf_leave_the_error_as_it_is(content, name):
    for value in (content, status_pb2.Status(details=[Any(type_url=f"x/google.rpc.{name}", value=content)]).SerializeToString()):
        error = raised(Code.ABORTED, "moved", ("grpc-status-details-bin", value))
        assert (type(error), str(error)) == (errors.Aborted, "moved")


def test_a_reset_stream_is_a_lost_connection():
    assert type(raised(Code.INTERNAL, "Received RST_STREAM with error code 2")) is errors.Unavailable


def test_where_nobody_answers_the_target_is_named():
    error = raised(Code.UNAVAILABLE, "failed to connect to all addresses; last error: refused")
    assert "there:1" in str(error)
    assert "malha up" in str(error)
