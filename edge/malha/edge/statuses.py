"""One table: how an error looks over gRPC, over HTTP and as a WebSocket close."""

from dataclasses import dataclass

from grpc import StatusCode

from malha.runtime.errors import MalhaError


@dataclass(frozen=True, slots=True)
class Row:
    """``http``: RFC 9110. ``close``: RFC 6455 section 7.4 where it has a code, else 4000 + the HTTP status."""

    http: int
    close: int
    retryable: bool = False


BY_CODE = {
    StatusCode.OK: Row(200, 1000),
    StatusCode.CANCELLED: Row(499, 4499),
    StatusCode.UNKNOWN: Row(500, 1011),
    StatusCode.INVALID_ARGUMENT: Row(400, 4400),
    StatusCode.DEADLINE_EXCEEDED: Row(504, 4504, retryable=True),
    StatusCode.NOT_FOUND: Row(404, 4404),
    StatusCode.ALREADY_EXISTS: Row(409, 4409),
    StatusCode.PERMISSION_DENIED: Row(403, 4403),
    StatusCode.RESOURCE_EXHAUSTED: Row(429, 4429, retryable=True),
    StatusCode.FAILED_PRECONDITION: Row(400, 4400),
    StatusCode.ABORTED: Row(409, 4409),
    StatusCode.OUT_OF_RANGE: Row(400, 4400),
    StatusCode.UNIMPLEMENTED: Row(501, 4501),
    StatusCode.INTERNAL: Row(500, 1011),
    StatusCode.UNAVAILABLE: Row(503, 1013, retryable=True),
    StatusCode.DATA_LOSS: Row(500, 1011),
    StatusCode.UNAUTHENTICATED: Row(401, 4401),
}

BY_REASON = {
    "AUDIO_TOO_LONG": Row(413, 4413),
    "BODY_TOO_LARGE": Row(413, 1009),
    "STATE_TOO_LARGE": Row(413, 4413),
    "CALL_BEHIND": Row(503, 4408, retryable=True),
    "DOCUMENT_DAMAGED": Row(422, 4422),
    "DOCUMENT_ENCRYPTED": Row(422, 4422),
    "DOCUMENT_TOO_LARGE": Row(413, 4413),
    "EDGE_STOPPING": Row(503, 1012, retryable=True),
    "FRAME_TOO_LARGE": Row(413, 1009),
    "METHOD_NOT_ALLOWED": Row(405, 4405),
    "NOT_AUDIO": Row(415, 4415),
    "NOT_A_DOCUMENT": Row(415, 4415),
    "NOT_JSON": Row(400, 1007),
    "PAGE_DAMAGED": Row(422, 4422),
    "PAGE_TIMEOUT": Row(422, 4422),
    "PAGE_TOO_LARGE": Row(413, 4413),
    "READER_SLOW": Row(503, 4408, retryable=True),
    "TEXT_TOO_LONG": Row(413, 4413),
    "TOO_LONG": Row(413, 4413),
    "TOO_MANY_PAGES": Row(413, 4413),
    "UNEXPECTED_BINARY": Row(400, 1003),
    "UNSUPPORTED_FORMAT": Row(415, 4415),
    "UNSUPPORTED_MEDIA_TYPE": Row(415, 4415),
    "UPGRADE_REQUIRED": Row(426, 4426),
    "UPLOAD_TOO_LARGE": Row(413, 4413),
    "UPLOAD_STALLED": Row(408, 4408, retryable=True),
    "WRONG_MEDIA_TYPE": Row(415, 4415),
}
"""Reasons that HTTP or WebSocket tell more finely than the gRPC code they come with."""


def row(error: MalhaError) -> Row:
    """The row of an error."""
    return BY_REASON.get(error.reason) or BY_CODE[error.code]
