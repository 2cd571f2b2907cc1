"""What can go wrong, one type per cause.

::

    MalhaError
    ├── InvalidRequest         the request is wrong; sending it again does not help
    ├── FailedPrecondition     right request, but that server is not set up for it; the message says what adds it
    ├── NotFound
    ├── Unauthenticated        the token is unknown to that server
    │   └── TokenMissing       no token was given and none was found on this machine
    ├── PermissionDenied       the token is known and not allowed to do this
    ├── QuotaExceeded          a limit is reached; see retry_after_seconds
    ├── Aborted                the work was taken over or given up
    ├── DeadlineExceeded
    ├── Unimplemented          that server does not have this capability
    ├── Unavailable            the server is away; try again
    ├── SessionLost            the connection of an open call broke; carries what is needed to go on
    ├── AlreadyClosed          the call or the client is over
    └── ServerError            a defect of the server

Errors of the caller's own audio (a microphone that fails, a file that is not there) are none of these: they come back as they were raised.
"""

from collections.abc import Mapping

from malha.sdk._unsaved import UnsavedAudio

__all__ = [
    "Aborted",
    "AlreadyClosed",
    "DeadlineExceeded",
    "FailedPrecondition",
    "InvalidRequest",
    "MalhaError",
    "NotFound",
    "PermissionDenied",
    "QuotaExceeded",
    "ServerError",
    "SessionLost",
    "TokenMissing",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
]


class MalhaError(Exception):
    """Any error of Malha.

    ``reason`` is UPPER_SNAKE_CASE and stable (``google.rpc.ErrorInfo.reason``), empty where the server gave none; ``metadata`` goes with it.
    ``violations`` maps a field to what is wrong with it. ``retry_after_seconds`` is set where the server said when to try again.
    """

    def __init__(
        self,
        message: str,
        *,
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
        violations: Mapping[str, str] | None = None,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
        self.metadata = dict(metadata or {})
        self.violations = dict(violations or {})
        self.retry_after_seconds = retry_after_seconds


class InvalidRequest(MalhaError):
    """The request is wrong: correct it as the message and ``violations`` say."""


class FailedPrecondition(MalhaError):
    """The request is right, but that server lacks something for it: the message names the command that adds it."""


class NotFound(MalhaError):
    """There is no such thing, or it belongs to another tenant."""


class Unauthenticated(MalhaError):
    """That server does not know the token: was it made by another one?"""


class TokenMissing(Unauthenticated):
    """No token was given and none was found: pass one, set MALHA_TOKEN, or start a server here with ``malha up``."""


class PermissionDenied(MalhaError):
    """The token may not do this."""


class QuotaExceeded(MalhaError):
    """A limit is reached: try again after ``retry_after_seconds``, or ask for less."""


class Aborted(MalhaError):
    """The work was taken over or given up: start it again."""


class DeadlineExceeded(MalhaError):
    """The answer did not come in time."""


class Unimplemented(MalhaError):
    """That server does not have this capability: update it, or ask another."""


class Unavailable(MalhaError):
    """The server is not there, or went away: try again."""


class AlreadyClosed(MalhaError):
    """The call, or the client, was used after its end."""


class ServerError(MalhaError):
    """A defect of the server: report it."""


class SessionLost(MalhaError):
    """The connection of an open call broke, and the call could not be taken up again: not within 60 s, or the server refused it for ever.

    What was told as final is stored and stays so. ``unsaved`` is the audio that is in no final yet. ``resumable`` says whether the server
    keeps the call open for ``Malha.resume`` to take it up with ``resume_token`` (an empty token: that server cannot resume; begin a new call
    with ``unsaved``). ``__cause__`` is the error that came last.
    """

    def __init__(
        self,
        message: str,
        *,
        session_id: str,
        last_seq: int,
        unsaved: UnsavedAudio,
        resumable: bool,
        resume_token: str = "",
        reason: str = "",
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(message, reason=reason, retry_after_seconds=retry_after_seconds)
        self.session_id = session_id
        self.last_seq = last_seq
        self.unsaved = unsaved
        self.resumable = resumable
        self.resume_token = resume_token
