"""The engine that settings ask for."""

from typing import cast

from malha.diarize.engine import DiarizeEngine
from malha.diarize.engines.missing import MissingEngine
from malha.diarize.settings import DiarizeSettings
from malha.runtime import engines
from malha.runtime.errors import FailedPrecondition


def make_engine(settings: DiarizeSettings, *, optional: bool) -> DiarizeEngine:
    """The engine, not yet started. Raises FailedPrecondition for one that is not known, or not installed.

    ``optional``: in the place of one that is not installed comes one that says so to whoever asks.
    """
    try:
        make = engines.load("diarize", settings.diarize_engine)
        return cast("DiarizeEngine", make(settings))
    except FailedPrecondition as error:
        if not optional or error.reason != "MISSING_EXTRA":
            raise
        return MissingEngine(settings.diarize_engine, error)
