"""What went wrong in the database, as Malha's errors. A message never holds what PostgreSQL said: that may quote a user."""

import contextlib
from collections.abc import Iterator

import asyncpg

from malha.runtime.errors import DeadlineExceeded, FailedPrecondition, InvalidArgument, MalhaError, Unavailable

RETRY_SECONDS = 1.0

DATABASE_ERRORS: tuple[type[BaseException], ...] = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
"""All that using the database can raise."""

AWAY: tuple[type[BaseException], ...] = (
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.InterfaceError,  # the connection was lost under a statement
    asyncpg.InternalClientError,  # the connection was lost between two messages of one statement
    ConnectionError,
    TimeoutError,
)
"""The database is away, for now."""
CONFIGURED_WRONGLY: tuple[type[BaseException], ...] = (
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.ClientConfigurationError,
    asyncpg.InsufficientPrivilegeError,
    asyncpg.UndefinedTableError,
    asyncpg.UndefinedColumnError,
    asyncpg.UndefinedFunctionError,
)
UNSTORABLE: tuple[type[BaseException], ...] = (
    asyncpg.DataError,
    asyncpg.CheckViolationError,
    asyncpg.NotNullViolationError,
    asyncpg.ProgramLimitExceededError,
)
FULL: tuple[type[BaseException], ...] = (asyncpg.DiskFullError, asyncpg.OutOfMemoryError, asyncpg.PostgresSystemError)


def as_malha_error(error: BaseException) -> MalhaError | None:
    """The error to raise for one of asyncpg's or the system's; None: it is no matter of the database, or a defect."""
    if isinstance(error, FULL):
        return Unavailable(
            f"the database cannot write ({type(error).__name__}): free space where PostgreSQL keeps its data",
            reason="STORE_FULL",
            retry_seconds=10 * RETRY_SECONDS,
        )
    if isinstance(error, asyncpg.QueryCanceledError | asyncpg.LockNotAvailableError):
        return DeadlineExceeded("the database took too long", reason="STORE_TIMEOUT", retry_seconds=RETRY_SECONDS)
    if isinstance(error, asyncpg.RestrictViolationError):
        return FailedPrecondition("a legal hold is set on it: malha retention release ends it", reason="LEGAL_HOLD")
    if isinstance(error, CONFIGURED_WRONGLY):
        return FailedPrecondition(
            f"the database refuses this login, or has another schema ({type(error).__name__}): see `malha db check`",
            reason="STORE_MISCONFIGURED",
        )
    if is_unstorable(error):
        return InvalidArgument(f"a value cannot be stored ({type(error).__name__})", reason="UNSTORABLE")
    if isinstance(error, (*AWAY, asyncpg.SerializationError, asyncpg.DeadlockDetectedError)):
        return Unavailable("the database is away: try again", reason="STORE_UNAVAILABLE", retry_seconds=RETRY_SECONDS)
    if isinstance(error, OSError):
        return Unavailable(f"the database cannot be reached: {error.strerror}", reason="STORE_UNAVAILABLE", retry_seconds=RETRY_SECONDS)
    return None


def is_away(error: BaseException) -> bool:
    """Whether the database may well be back soon."""
    return isinstance(error, (*AWAY, OSError)) and not isinstance(error, (*CONFIGURED_WRONGLY, ValueError))


def is_unstorable(error: BaseException) -> bool:
    """Whether a value is to blame: PostgreSQL refused it, or asyncpg did before it was sent (its own DataError has no public name)."""
    return isinstance(error, UNSTORABLE) or (isinstance(error, asyncpg.InterfaceError) and isinstance(error, ValueError))


@contextlib.contextmanager
def told() -> Iterator[None]:
    """Raise Malha's errors for the database's. What runs within does nothing but use the database."""
    try:
        yield
    except MalhaError:
        raise
    except DATABASE_ERRORS as error:
        told_as = as_malha_error(error)
        if told_as is None:
            raise
        raise told_as from error
