"""Seconds as the contracts have them, and back."""

from google.protobuf.duration_pb2 import Duration


def duration(seconds: float) -> Duration:
    """Seconds as a protobuf Duration."""
    message = Duration()
    message.FromNanoseconds(round(seconds * 1e9))
    return message


def seconds(message: Duration) -> float:
    """A protobuf Duration as seconds."""
    return message.seconds + message.nanos / 1e9
