"""``python -m malha.edge``: the edge as a process of its own."""

import sys

from pydantic import ValidationError

from malha.edge.server import serve
from malha.edge.settings import EdgeSettings
from malha.runtime.process import EXIT_CONFIGURATION, run
from malha.runtime.settings import RuntimeSettings


def main() -> int:
    """Serve until SIGTERM or SIGINT; the exit status."""
    try:
        settings, runtime = EdgeSettings(), RuntimeSettings()
    except ValidationError as error:
        sys.stderr.write(f"malha: {_explained(error)}\n")
        return EXIT_CONFIGURATION
    return run("edge", lambda stop: serve(settings, runtime, stop), runtime)


def _explained(error: ValidationError) -> str:
    """Each wrong setting by the name of its environment variable."""
    prefix = "MALHA_EDGE_" if error.title == EdgeSettings.__name__ else "MALHA_"
    problems = error.errors(include_input=False)
    names = [str(problem["loc"][0]).upper() for problem in problems]
    return "; ".join(
        f"{name if name.startswith('MALHA_') else prefix + name}: {problem['msg'].lower()}"
        for name, problem in zip(names, problems, strict=True)
    )


if __name__ == "__main__":
    sys.exit(main())
