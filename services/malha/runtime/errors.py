"""The errors of Malha, one type per cause.

::

    MalhaError
    ├── InvalidArgument        the request is wrong; sending it again does not help
    │   ├── InvalidOrder       a stream message came where the stream rules forbid it
    │   ├── UnsupportedFormat  an encoding, sample rate or container Malha does not read
    │   └── UnsupportedLanguage
    ├── FailedPrecondition     right request, but this server is not set up for it
    ├── NotFound
    ├── Unauthenticated        no token, or one Malha does not know
    ├── PermissionDenied       the token is known and not allowed
    ├── ResourceExhausted      a limit or quota; carries when to try again
    │   └── EngineBusy
    ├── Aborted
    ├── DeadlineExceeded
    ├── Unimplemented          a capability this version does not have
    ├── Unavailable            the server or an engine is away; try again
    │   └── EngineCrashed
    └── Internal               a defect of Malha

Each carries what ``google.rpc`` error details need. No message or detail ever holds user content.
"""

from collections.abc import Mapping
from typing import ClassVar

import grpc

DOMAIN = "malha"


class MalhaError(Exception):
    """Any error Malha tells a caller about.

    ``reason`` is UPPER_SNAKE_CASE and stable (``google.rpc.ErrorInfo.reason``); ``retry_seconds`` says when trying again makes sense;
    ``violations`` maps a field path to what is wrong with it; ``quota`` names the limit that was reached.
    """

    code: ClassVar[grpc.StatusCode] = grpc.StatusCode.INTERNAL
    default_reason: ClassVar[str] = "INTERNAL"

    def __init__(
        self,
        message: str,
        *,
        reason: str | None = None,
        metadata: Mapping[str, str] | None = None,
        retry_seconds: float | None = None,
        violations: Mapping[str, str] | None = None,
        quota: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason or self.default_reason
        self.metadata = dict(metadata or {})
        self.retry_seconds = retry_seconds
        self.violations = dict(violations or {})
        self.quota = quota


class InvalidArgument(MalhaError):
    """The request is wrong: correct it as the message says."""

    code = grpc.StatusCode.INVALID_ARGUMENT
    default_reason = "INVALID_ARGUMENT"


class InvalidOrder(InvalidArgument):
    """A stream message came out of order: ``open`` comes first and once, nothing follows ``finish``."""

    default_reason = "INVALID_ORDER"


class UnsupportedFormat(InvalidArgument):
    """The audio is in a format Malha does not read, or is not what ``open`` said: the message names what is supported."""

    default_reason = "UNSUPPORTED_FORMAT"


class UnsupportedLanguage(InvalidArgument):
    """No engine can serve this language: the message names those that can be had."""

    default_reason = "UNSUPPORTED_LANGUAGE"


class FailedPrecondition(MalhaError):
    """The request is right, but this server lacks something for it: the message names the command that adds it."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    default_reason = "FAILED_PRECONDITION"


class NotFound(MalhaError):
    """There is no such thing, or it belongs to another tenant."""

    code = grpc.StatusCode.NOT_FOUND
    default_reason = "NOT_FOUND"


class Unauthenticated(MalhaError):
    """The token is missing or unknown: send ``authorization: Bearer TOKEN``."""

    code = grpc.StatusCode.UNAUTHENTICATED
    default_reason = "UNAUTHENTICATED"


class PermissionDenied(MalhaError):
    """The token is valid and may not do this."""

    code = grpc.StatusCode.PERMISSION_DENIED
    default_reason = "PERMISSION_DENIED"


class ResourceExhausted(MalhaError):
    """A limit is reached: try again after ``retry_seconds``, or ask for less."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    default_reason = "RESOURCE_EXHAUSTED"


class EngineBusy(ResourceExhausted):
    """The engine's queue is full: try again after ``retry_seconds``, or add workers."""

    default_reason = "ENGINE_BUSY"


class Aborted(MalhaError):
    """The work was taken over or given up; start it again."""

    code = grpc.StatusCode.ABORTED
    default_reason = "ABORTED"


class DeadlineExceeded(MalhaError):
    """The work did not end in the time given to it."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED
    default_reason = "DEADLINE_EXCEEDED"


class Unimplemented(MalhaError):
    """This version of Malha does not have this capability."""

    code = grpc.StatusCode.UNIMPLEMENTED
    default_reason = "UNIMPLEMENTED"


class Unavailable(MalhaError):
    """The server or something it needs is away for now: try again."""

    code = grpc.StatusCode.UNAVAILABLE
    default_reason = "UNAVAILABLE"


class EngineCrashed(Unavailable):
    """An engine's worker died twice on the same item. Other items go on; this one may be what kills it."""

    default_reason = "ENGINE_CRASHED"


class Internal(MalhaError):
    """A defect of Malha: report it with the trace id."""
