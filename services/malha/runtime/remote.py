"""What servers of others are asked with and answer by: their URLs, keys in files or variables, what an HTTP status means, how long to wait."""

import math
import os
import stat
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from malha.runtime.errors import FailedPrecondition, MalhaError

_TIMED_OUT: Final = frozenset({408, 504})
_TOO_MANY: Final = 429
_SERVER_ERRORS: Final = 500
_MOST_RETRY_SECONDS: Final = 86_400.0


def check_base_url(value: str, keys: str) -> str:
    """A server's base URL as it stands in settings; empty: none. Raises ValueError, naming ``keys`` as the place of a key that it holds."""
    if value:
        parts = urlsplit(value)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("must be a URL with http or https and a host")
        if parts.username or parts.password or parts.query:
            raise ValueError(f"must not hold a key: use {keys}")
    return value


def find_key(variable: str, file: Path | None) -> str:
    """A key by the name of its environment variable, or by its file; empty: neither is given. Raises FailedPrecondition."""
    if variable and file is not None:
        raise FailedPrecondition(f"the key is in {variable} and in {file}: name one of them", reason="MODEL_KEY_MISSING")
    if variable:
        if not (found := os.environ.get(variable, "").strip()):
            raise FailedPrecondition(f"environment variable {variable} holds no key", reason="MODEL_KEY_MISSING")
        return found
    return read_key(file) if file is not None else ""


def read_key(file: Path) -> str:
    """A key from a file. Raises FailedPrecondition where it cannot be read, is empty, or others may read it."""
    try:
        mode, key = file.stat().st_mode, file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        raise FailedPrecondition(f"cannot read the key in {file}", reason="MODEL_KEY_MISSING") from None
    if stat.S_IMODE(mode) & 0o077:
        raise FailedPrecondition(f"others may read {file}: chmod 600 it", reason="SECRET_FILE_OPEN")
    if not key:
        raise FailedPrecondition(f"{file} holds no key", reason="MODEL_KEY_MISSING")
    return key


@dataclass(frozen=True, slots=True)
class Failures:
    """The errors that a kind of server fails with. ``server`` names it to people."""

    server: str
    rate_limited: type[MalhaError]
    timeout: type[MalhaError]
    unavailable: type[MalhaError]
    refused: type[MalhaError]

    def of_status(self, status: int, retry_after: str) -> MalhaError:
        """The error for an HTTP status. Nothing of the answer's body is told: it may quote what was asked."""
        if status == _TOO_MANY:
            return self.rate_limited(f"{self.server} takes no more for now", retry_seconds=retry_seconds(retry_after))
        if status in _TIMED_OUT:
            return self.timeout(f"{self.server} did not answer in time")
        if status >= _SERVER_ERRORS:
            return self.unavailable(
                f"{self.server} failed with {status}", retry_seconds=retry_seconds(retry_after) if retry_after else None
            )
        return self.refused(f"{self.server} refused the request with {status}", metadata={"status": str(status)})


def retry_seconds(header: str) -> float:
    """Of a ``Retry-After``: seconds, or an HTTP date (RFC 9110, 10.2.3), a day at most; 1 where it is neither."""
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):
            return 1.0
    return 1.0 if math.isnan(seconds) else min(max(seconds, 0.0), _MOST_RETRY_SECONDS)
