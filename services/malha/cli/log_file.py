"""Where the logs of supervised processes go: standard error of this process and its children becomes a file of bounded size."""

import os
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path

from malha.runtime.errors import FailedPrecondition

FILE_BYTES = 10_000_000
"""Of the file; when it is full it becomes ``<name>.1``, and the one before that is gone."""
READ_BYTES = 65_536
LAST_LINES = 20
OWN_LINE = b"malha: "
"""How a process of Malha begins the one line it fails with."""


class LogFile:
    """Takes the lines of a pipe on a thread of its own, until all its writers are gone."""

    def __init__(self, path: Path, source: int) -> None:
        """Raises FailedPrecondition if the file cannot be written."""
        self.path = path
        self._source = source
        self._failures: deque[bytes] = deque(maxlen=LAST_LINES)
        try:
            self._file = self._open()
        except OSError as error:
            raise FailedPrecondition(
                f"cannot write {path}: {error.strerror}; set MALHA_DATA_DIR to a writable directory", reason="DATA_DIRECTORY_UNWRITABLE"
            ) from error
        self._thread = threading.Thread(target=self._copy, name="logs", daemon=True)
        self._thread.start()

    @property
    def failure(self) -> str:
        """The newest line in which a process said why it failed; empty if none did."""
        return self._failures[-1].decode(errors="replace") if self._failures else ""

    def close(self) -> None:
        """Wait for the last lines."""
        self._thread.join(timeout=2)
        self._file.close()

    def _copy(self) -> None:
        rest = b""
        while data := os.read(self._source, READ_BYTES):
            *lines, rest = (rest + data).split(b"\n")
            self._failures.extend(line.removeprefix(OWN_LINE) for line in lines if line.startswith(OWN_LINE))
            self._write(data)

    def _write(self, data: bytes) -> None:
        try:
            if self._file.tell() + len(data) > FILE_BYTES:
                self._begin_anew()
            self._file.write(data)
        except OSError:  # a full disk ends the logs, not the calls
            self._failures.append(b"the logs could not be written")

    def _begin_anew(self) -> None:
        """The old file stays open until there is a new one: whoever cannot write it reads on, or the writers of the pipe would wait for ever."""
        with suppress(FileNotFoundError):  # somebody cleaned up
            self.path.replace(self.path.with_name(f"{self.path.name}.1"))
        full, self._file = self._file, self._open()
        full.close()

    def _open(self) -> FileIO:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        return self.path.open("ab", buffering=0)


@contextmanager
def standard_error_to(path: Path) -> Iterator[LogFile]:
    """Send standard error to a file until the block ends. Processes started meanwhile inherit it."""
    source, sink = os.pipe()
    terminal = os.dup(2)
    try:
        log = LogFile(path, source)
        os.dup2(sink, 2)
        os.close(sink)
        try:
            yield log
        finally:
            os.dup2(terminal, 2)
            log.close()
    finally:
        os.close(terminal)
        os.close(source)
