"""What goes wrong with a remote recogniser, one type per cause. What its server said is never quoted: it may hold what a user said."""

from malha.runtime.errors import DeadlineExceeded, FailedPrecondition, ResourceExhausted, Unavailable


class RemoteTimeout(DeadlineExceeded):
    """The remote recogniser did not answer in the time it has (``MALHA_REMOTE_TRANSCRIBE_SECONDS``)."""

    default_reason = "REMOTE_TIMEOUT"


class RemoteRateLimited(ResourceExhausted):
    """The remote recogniser has had enough for now: try again after ``retry_seconds``."""

    default_reason = "REMOTE_RATE_LIMITED"


class RemoteUnavailable(Unavailable):
    """The remote recogniser is away or failed; try again."""

    default_reason = "REMOTE_UNAVAILABLE"


class RemoteRefused(FailedPrecondition):
    """The remote recogniser refuses what is asked of it: a wrong key, a model or a format it does not have."""

    default_reason = "REMOTE_REFUSED"


class RemoteAnswerInvalid(Unavailable):
    """The remote recogniser answered something that is no transcript."""

    default_reason = "REMOTE_ANSWER_INVALID"


class RecogniserOpen(Unavailable):
    """The recogniser has failed too often and is not asked for a while."""

    default_reason = "RECOGNISER_BREAKER_OPEN"
