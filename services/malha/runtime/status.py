"""MalhaError to a gRPC status with ``google.rpc`` details, and back."""

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc import code_pb2, error_details_pb2, status_pb2

from malha.runtime.errors import (
    DOMAIN,
    Aborted,
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    MalhaError,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
    Unimplemented,
)

DETAILS_KEY = "grpc-status-details-bin"
RETRY_SECONDS = 0.25
"""When to ask a service that is away again."""
BY_CODE: dict[grpc.StatusCode, type[MalhaError]] = {
    error.code: error
    for error in (
        InvalidArgument,
        FailedPrecondition,
        NotFound,
        Unauthenticated,
        PermissionDenied,
        ResourceExhausted,
        Aborted,
        DeadlineExceeded,
        Unimplemented,
        Unavailable,
        Internal,
    )
}


def to_details(error: MalhaError) -> bytes:
    """The serialized ``google.rpc.Status`` of an error."""
    status = status_pb2.Status(code=code_pb2.Code.Value(error.code.name), message=error.message)
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.metadata))
    if error.retry_seconds is not None:
        delay = Duration()
        delay.FromNanoseconds(int(error.retry_seconds * 1e9))
        status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
    if error.violations:
        request = error_details_pb2.BadRequest()
        for field, description in error.violations.items():
            request.field_violations.add(field=field, description=description, reason=error.reason)
        status.details.add().Pack(request)
    if error.quota is not None:
        failure = error_details_pb2.QuotaFailure()
        failure.violations.add(subject=error.quota, description=error.message)
        status.details.add().Pack(failure)
    serialized: bytes = status.SerializeToString()
    return serialized


def from_rpc_error(error: grpc.aio.AioRpcError) -> MalhaError:
    """The MalhaError a server of ours sent, or the nearest one for a failure that no server told (a lost connection)."""
    code = error.code()
    status = status_pb2.Status()
    for key, value in error.trailing_metadata() or ():
        if key == DETAILS_KEY and isinstance(value, bytes):
            status.ParseFromString(value)
    info, retry, request, quota = (
        error_details_pb2.ErrorInfo(),
        error_details_pb2.RetryInfo(),
        error_details_pb2.BadRequest(),
        error_details_pb2.QuotaFailure(),
    )
    for detail in status.details:
        for message in (info, retry, request, quota):
            detail.Unpack(message)
    if code is grpc.StatusCode.UNAVAILABLE and not info.reason:  # gRPC's own words, which name addresses behind this server
        return Unavailable("a service behind this one is away: try again", reason="SERVICE_AWAY", retry_seconds=RETRY_SECONDS)
    return BY_CODE.get(code, Internal)(
        status.message or error.details() or code.name,
        reason=info.reason or code.name,
        metadata=dict(info.metadata),
        retry_seconds=retry.retry_delay.ToNanoseconds() / 1e9 if retry.HasField("retry_delay") else None,
        violations={violation.field: violation.description for violation in request.field_violations},
        quota=quota.violations[0].subject if quota.violations else None,
    )


async def abort(context: grpc.aio.ServicerContext, error: MalhaError) -> None:
    """End an RPC with an error. Always raises."""
    await context.abort(error.code, error.message, ((DETAILS_KEY, to_details(error)),))
