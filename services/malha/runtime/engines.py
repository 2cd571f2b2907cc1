"""Engines by name: entry points, imported only when chosen."""

from importlib.metadata import entry_points
from typing import Any

from malha.runtime.errors import FailedPrecondition

EXTRAS = frozenset({"faster-whisper"})
"""Engines whose packages are an extra of the same name."""


def names(capability: str) -> list[str]:
    """Engines that are registered for a capability, installed or not."""
    return sorted(point.name for point in entry_points(group=f"malha.{capability}.engines"))


def load(capability: str, name: str) -> Any:
    """The engine's class. Raises FailedPrecondition naming the extra it needs, or the engines there are."""
    found = entry_points(group=f"malha.{capability}.engines", name=name)
    if not found:
        raise FailedPrecondition(f"no engine {name!r} for {capability}: there are {', '.join(names(capability))}", reason="UNKNOWN_ENGINE")
    try:
        return next(iter(found)).load()
    except ModuleNotFoundError as error:
        if name not in EXTRAS:
            raise
        raise missing_extra(name) from error


def missing_extra(name: str) -> FailedPrecondition:
    """What to say when an engine's packages are not installed."""
    return FailedPrecondition(f"engine {name!r} needs: pip install 'malha-services[{name}]'", reason="MISSING_EXTRA")
