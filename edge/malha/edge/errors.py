"""What goes wrong at the edge itself. Everything else arrives as a status of the service behind it."""

from malha.runtime.errors import InvalidArgument, ResourceExhausted, Unavailable


class UnexpectedBinary(InvalidArgument):
    """A binary WebSocket message came before `start`: send the configuration, as text, first."""

    default_reason = "UNEXPECTED_BINARY"


class NotJson(InvalidArgument):
    """A text WebSocket message or a body is no JSON object; on a WebSocket audio goes in binary messages."""

    default_reason = "NOT_JSON"


class FrameTooLarge(InvalidArgument):
    """A WebSocket message is over the limit: send audio in pieces, best of 100 ms."""

    default_reason = "FRAME_TOO_LARGE"


class InvalidField(InvalidArgument):
    """A field of a message or form has the wrong type or value."""

    default_reason = "INVALID_FIELD"

    def __init__(self, field: str, wrong: str) -> None:
        super().__init__(f"{field}: {wrong}", violations={field: wrong})


class BodyTooLarge(InvalidArgument):
    """The request's body is over the limit."""

    default_reason = "BODY_TOO_LARGE"


class UnsupportedMedia(InvalidArgument):
    """The body's Content-Type is not what this address takes."""

    default_reason = "UNSUPPORTED_MEDIA_TYPE"


class UpgradeRequired(InvalidArgument):
    """A plain request came to the address of a WebSocket."""

    default_reason = "UPGRADE_REQUIRED"


class RateLimited(ResourceExhausted):
    """Too many requests came from one token or address: try again after ``retry_seconds``."""

    default_reason = "RATE_LIMITED"


class ServiceAway(Unavailable):
    """The service behind the edge cannot be reached or went away in the middle: try again."""

    default_reason = "SERVICE_AWAY"


class CallBehind(Unavailable):
    """The service did not take a call's audio for too long. Call again."""

    default_reason = "CALL_BEHIND"


class ReaderSlow(Unavailable):
    """The client did not read its events for too long. Call again, and read faster."""

    default_reason = "READER_SLOW"


class EdgeStopping(Unavailable):
    """This edge is being restarted: connect again."""

    default_reason = "EDGE_STOPPING"
