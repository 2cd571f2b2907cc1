"""Imports that leave the CPU to others: after each bit of work a pause of some times its length, until somebody waits for them."""

import os
import select
import sys
import time
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from types import ModuleType
from typing import Final

TURN_FD: Final = "MALHA_TURN_FD"
"""Names the descriptor a standby reads its turn from."""
HURRIED: Final = "MALHA_TURN_HURRIED"
"""Set where a standby is waited for."""
WORK_SECONDS: Final = 0.004
"""CPU time between two pauses, but for single modules that take longer."""
PAUSE_SHARE: Final = 3.0
"""Of a pause, to the work before it."""


class _Pauses(MetaPathFinder):
    """Finds nothing: it is asked before each module is looked for, and lets others work meanwhile. ``hurry``: readable once there is no time."""

    def __init__(self, hurry: int) -> None:
        self._hurry = hurry
        self._hurried = False
        self._since = time.thread_time()

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        del name, path, target
        worked = time.thread_time() - self._since
        if worked < WORK_SECONDS or self._hurried:
            return
        self._hurried = bool(select.select([self._hurry], [], [], worked * PAUSE_SHARE)[0])
        self._since = time.thread_time()


def begin() -> None:
    """In a standby that nobody waits for: from now on imports pause, until its turn is given or nobody is left to give it. Call it first of all."""
    hurry = os.environ.get(TURN_FD)
    if hurry is not None and HURRIED not in os.environ:
        sys.meta_path.insert(0, _Pauses(int(hurry)))


def end() -> None:
    """All is imported."""
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, _Pauses)]
