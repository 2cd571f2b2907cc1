"""What goes wrong with models, one type per cause. What a model or its server said is never quoted: it may hold what a user said."""

from malha.runtime.errors import DeadlineExceeded, FailedPrecondition, InvalidArgument, ResourceExhausted, Unavailable


class ModelTimeout(DeadlineExceeded):
    """The model did not answer, or not go on, in the time it has (``timeouts`` in models.toml; ``open.timeout``)."""

    default_reason = "MODEL_TIMEOUT"


class ModelRateLimited(ResourceExhausted):
    """The model's server has had enough for now: try again after ``retry_seconds``."""

    default_reason = "MODEL_RATE_LIMITED"


class ModelUnavailable(Unavailable):
    """The model's server is away or failed; another deployment may answer."""

    default_reason = "MODEL_UNAVAILABLE"


class ModelRefused(FailedPrecondition):
    """The model's server refuses what is asked of it: a wrong key, a model it does not have, a parameter it does not know."""

    default_reason = "MODEL_REFUSED"


class ModelAnswerInvalid(Unavailable):
    """The model answered something that is no answer: nothing, junk, or not what the schema wants."""

    default_reason = "MODEL_ANSWER_INVALID"


class ModelAnswerCut(Unavailable):
    """The answer ended before it was whole, by the limit of tokens or a lost connection: ask for more tokens, or again."""

    default_reason = "MODEL_ANSWER_CUT"


class AnswerDiffers(Unavailable):
    """The whole answer does not begin with the part that was sent, so that it cannot go on from there: ask anew."""

    default_reason = "STREAM_BROKEN"


class ModelBusy(ResourceExhausted):
    """All places at the model are taken and too many wait: try again after ``retry_seconds``."""

    default_reason = "MODEL_BUSY"


class BreakerOpen(Unavailable):
    """The model has failed too often and is not asked for a while."""

    default_reason = "MODEL_BREAKER_OPEN"


class PromptTooLong(InvalidArgument):
    """The prompt does not fit any of the models: send less."""

    default_reason = "PROMPT_TOO_LONG"


class BudgetExhausted(ResourceExhausted):
    """The tenant's budget for models is used up: raise it, or wait for the next day or month."""

    default_reason = "BUDGET_EXHAUSTED"
