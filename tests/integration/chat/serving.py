"""`malha serve llm` as a process, as a user runs it."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from queue import Queue
from typing import Any

STOP_SECONDS = 90


class Serving:
    """A started program: what it prints, line by line, and how it ends."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self._lines: Queue[str | None] = Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def ready(self, seconds: float = 60) -> dict[str, Any]:
        """The next line: a server that is ready."""
        line = self._lines.get(timeout=seconds)
        assert line is not None, f"it ended with {self.process.wait(STOP_SECONDS)}"
        return json.loads(line)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Its exit status after a signal."""
        self.process.send_signal(number)
        return self.process.wait(STOP_SECONDS)


@contextmanager
def serving(directory: Path, *arguments: str, environment: Mapping[str, str]) -> Iterator[Serving]:
    """``malha serve llm --json`` with its logs in ``directory/llm.log``; killed at the end if it still runs."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MALHA_")}
    with (directory / "llm.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "malha.cli.main", "serve", "llm", *arguments, "--json"],
            env={**kept, "MALHA_DATA_DIR": str(directory), **environment},
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    running = Serving(process)
    try:
        yield running
    finally:
        if process.poll() is None:
            running.end()
        assert process.stdout is not None
        running._reader.join(STOP_SECONDS)
        process.stdout.close()
