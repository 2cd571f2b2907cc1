"""A secret of this installation in a file of the data directory, readable by its owner alone."""

import contextlib
import os
import secrets
import stat
from collections.abc import Callable
from pathlib import Path

from malha.runtime.errors import FailedPrecondition


def secret_file(file: Path, make: Callable[[], bytes]) -> bytes:
    """What lies in a file; made if there is none, whole or not at all, and by one of several processes that start at once.

    Raises FailedPrecondition where it cannot be read or made, or others may read it.
    """
    try:
        if not file.is_file():
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write(file, make())
        if stat.S_IMODE(file.stat().st_mode) & 0o077:
            raise FailedPrecondition(f"others may read {file}: chmod 600 it", reason="SECRET_FILE_OPEN")
        return file.read_bytes()
    except OSError as error:
        raise FailedPrecondition(
            f"cannot read or make {file}: {error.strerror}; set MALHA_DATA_DIR to a writable directory", reason="DATA_DIRECTORY_UNWRITABLE"
        ) from error


def _write(file: Path, content: bytes) -> None:
    draft = file.with_name(f"{file.name}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        with contextlib.suppress(FileExistsError):  # another process was first: its secret holds
            file.hardlink_to(draft)
    finally:
        draft.unlink(missing_ok=True)
