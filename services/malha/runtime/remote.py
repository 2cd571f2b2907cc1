"""What servers of others are asked with and answer by: keys in files or variables, and how long to wait."""

import math
import os
import stat
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Final

from malha.runtime.errors import FailedPrecondition

_MOST_RETRY_SECONDS: Final = 86_400.0


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
