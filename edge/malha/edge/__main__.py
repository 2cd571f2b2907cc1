"""``python -m malha.edge``: the edge as a process of its own."""

import sys

from malha.edge.server import serve
from malha.edge.settings import EdgeSettings
from malha.runtime.process import run
from malha.runtime.settings import RuntimeSettings


def main() -> int:
    """Serve until SIGTERM or SIGINT; the exit status."""
    settings, runtime = EdgeSettings(), RuntimeSettings()
    return run("edge", lambda stop: serve(settings, runtime, stop), runtime)


if __name__ == "__main__":
    sys.exit(main())
