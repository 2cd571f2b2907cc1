"""Settings of Synthesize."""

from pydantic import Field

from malha.runtime.settings import MalhaSettings


class SynthesizeSettings(MalhaSettings):
    """How text is spoken. One engine worker makes about 400 seconds of espeak-ng speech per second."""

    synthesize_engine: str = Field("espeak", description="Engine of Synthesize: `espeak`.")
    synthesize_workers: int = Field(1, ge=1, le=64, description="Processes that speak, each one sentence at a time.")
    synthesize_max_open: int = Field(256, ge=1, description="Sentences under way at once; later ones wait for a place.")
    synthesize_words_per_minute: int = Field(175, ge=80, le=225, description="Pace of espeak-ng's voices at speed 1.")
    synthesize_reader_seconds: float = Field(60.0, gt=0, description="How long a client may leave its audio unread.")
    synthesize_max_characters: int = Field(100_000, ge=1, description="Characters one stream may have spoken.")
