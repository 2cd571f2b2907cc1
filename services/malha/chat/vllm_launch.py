"""Becomes vLLM: a program of its own, which loads nothing.

    python -I -S vllm_launch.py PARENT_PID COMMAND ARGUMENT...

When its parent dies, even by SIGKILL, vLLM gets SIGTERM: it would keep its port and the GPU's memory for ever.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
_SUPERVISOR_FDS = ("MALHA_READY_FD", "MALHA_PARENT_FD")


def main(parent: int, command: list[str]) -> None:
    """Never returns."""
    for name in _SUPERVISOR_FDS:
        if (descriptor := os.environ.pop(name, None)) is not None:
            os.close(int(descriptor))
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # vLLM logs to standard output, where a program reads what Malha tells
    if sys.platform == "linux":  # elsewhere whoever kills the parent by force ends vLLM too
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))
        if os.getppid() != parent:
            sys.exit(0)
    os.execvp(command[0], command)  # noqa: S606 - to become it is the point


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
