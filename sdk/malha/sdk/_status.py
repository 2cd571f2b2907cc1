# ruff: noqa: RUF009 - betterproto2.field declares a field, as dataclasses.field does
"""From a gRPC status to an error of ours.

The messages below are the part of google/rpc/{status,error_details}.proto that Malha sends (as ``grpc-status-details-bin``), declared by hand
so that the SDK needs neither grpcio-status nor googleapis-common-protos.
"""

import contextlib
import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import betterproto2
import grpc

from malha.sdk import errors
from malha.sdk._gen.google.protobuf import Duration

_DETAILS_KEY = "grpc-status-details-bin"

_ERRORS: Mapping[grpc.StatusCode, type[errors.MalhaError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: errors.InvalidRequest,
    grpc.StatusCode.OUT_OF_RANGE: errors.InvalidRequest,
    grpc.StatusCode.FAILED_PRECONDITION: errors.FailedPrecondition,
    grpc.StatusCode.NOT_FOUND: errors.NotFound,
    grpc.StatusCode.UNAUTHENTICATED: errors.Unauthenticated,
    grpc.StatusCode.PERMISSION_DENIED: errors.PermissionDenied,
    grpc.StatusCode.RESOURCE_EXHAUSTED: errors.QuotaExceeded,
    grpc.StatusCode.ABORTED: errors.Aborted,
    grpc.StatusCode.DEADLINE_EXCEEDED: errors.DeadlineExceeded,
    grpc.StatusCode.UNIMPLEMENTED: errors.Unimplemented,
    grpc.StatusCode.UNAVAILABLE: errors.Unavailable,
    grpc.StatusCode.CANCELLED: errors.Unavailable,
}


@dataclass(eq=False, repr=False)
class _Any(betterproto2.Message):
    type_url: str = betterproto2.field(1, betterproto2.TYPE_STRING)
    value: bytes = betterproto2.field(2, betterproto2.TYPE_BYTES)


@dataclass(eq=False, repr=False)
class _Status(betterproto2.Message):
    code: int = betterproto2.field(1, betterproto2.TYPE_INT32)
    message: str = betterproto2.field(2, betterproto2.TYPE_STRING)
    details: list[_Any] = betterproto2.field(3, betterproto2.TYPE_MESSAGE, repeated=True)


@dataclass(eq=False, repr=False)
class _ErrorInfo(betterproto2.Message):
    reason: str = betterproto2.field(1, betterproto2.TYPE_STRING)
    domain: str = betterproto2.field(2, betterproto2.TYPE_STRING)
    metadata: dict[str, str] = betterproto2.field(
        3, betterproto2.TYPE_MAP, map_meta=betterproto2.map_meta(betterproto2.TYPE_STRING, betterproto2.TYPE_STRING)
    )


@dataclass(eq=False, repr=False)
class _RetryInfo(betterproto2.Message):
    retry_delay: dt.timedelta | None = betterproto2.field(1, betterproto2.TYPE_MESSAGE, unwrap=lambda: Duration, optional=True)


@dataclass(eq=False, repr=False)
class _FieldViolation(betterproto2.Message):
    field: str = betterproto2.field(1, betterproto2.TYPE_STRING)
    description: str = betterproto2.field(2, betterproto2.TYPE_STRING)


@dataclass(eq=False, repr=False)
class _BadRequest(betterproto2.Message):
    field_violations: list[_FieldViolation] = betterproto2.field(1, betterproto2.TYPE_MESSAGE, repeated=True)


@dataclass(slots=True)
class _Details:
    reason: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    violations: dict[str, str] = field(default_factory=dict)
    retry_after_seconds: float | None = None


def error_from(error: grpc.aio.AioRpcError, target: str) -> errors.MalhaError:
    """The error a status stands for, with its details. ``target`` is named where no server answered there."""
    details = _details(error)
    return _type(error)(
        _message(error, target),
        reason=details.reason,
        metadata=details.metadata,
        violations=details.violations,
        retry_after_seconds=details.retry_after_seconds,
    )


def _type(error: grpc.aio.AioRpcError) -> type[errors.MalhaError]:
    """A reset stream is a lost connection: what a proxy answers with when the server behind it dies."""
    text = error.details() or ""
    if "RST_STREAM" in text or "Stream removed" in text:
        return errors.Unavailable
    return _ERRORS.get(error.code(), errors.ServerError)


def _message(error: grpc.aio.AioRpcError, target: str) -> str:
    text: str = error.details() or error.code().name
    if error.code() is grpc.StatusCode.UNAVAILABLE and ("failed to connect" in text or "DNS resolution failed" in text):
        return f"no Malha server answers at {target}: is it running (`malha up`)? {text}"
    return text


def _details(error: grpc.aio.AioRpcError) -> _Details:
    found = _Details()
    trailing: Iterable[tuple[str, str | bytes]] = error.trailing_metadata() or ()
    for key, value in trailing:
        if key == _DETAILS_KEY and isinstance(value, bytes):
            with contextlib.suppress(Exception):  # betterproto2 raises all sorts for foreign bytes: the status stands without details
                for detail in _Status.parse(value).details:
                    _read(detail, found)
    return found


def _read(detail: _Any, found: _Details) -> None:
    match detail.type_url.rpartition("/")[2]:
        case "google.rpc.ErrorInfo":
            info = _ErrorInfo.parse(detail.value)
            found.reason, found.metadata = info.reason, dict(info.metadata)
        case "google.rpc.RetryInfo":
            delay = _RetryInfo.parse(detail.value).retry_delay
            found.retry_after_seconds = None if delay is None else delay.total_seconds()
        case "google.rpc.BadRequest":
            found.violations = {v.field: v.description for v in _BadRequest.parse(detail.value).field_violations}
        case _:
            pass  # details a later server may add
