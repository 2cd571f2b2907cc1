"""Settings of Synthesize."""

from pydantic import Field

from malha.runtime.settings import MalhaSettings


class SynthesizeSettings(MalhaSettings):
    """How text is spoken. One engine worker makes about 400 seconds of espeak-ng speech per second."""

    synthesize_engine: str = Field("espeak", description="Engine of Synthesize: `espeak`, or `coqui` (VITS, XTTS-v2, voice cloning).")
    synthesize_workers: int = Field(1, ge=1, le=64, description="Processes that speak, each one sentence at a time.")
    synthesize_max_open: int = Field(256, ge=1, description="Sentences under way at once in espeak; later ones wait for a place.")
    synthesize_words_per_minute: int = Field(175, ge=80, le=225, description="Pace of espeak-ng's voices at speed 1.")
    synthesize_reader_seconds: float = Field(60.0, gt=0, description="How long a client may leave its audio unread.")
    synthesize_max_characters: int = Field(100_000, ge=1, description="Characters one stream may have spoken.")
    coqui_model: str = Field("xtts/v2", description="Model of engine coqui: a directory, or a name in the models directory.")
    coqui_language: str = Field("", description="What a VITS model speaks whose config.json names no language, such as pt-br.")
    coqui_device: str = Field("auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$", description="auto, cpu, cuda or cuda:N.")
    coqui_threads: int = Field(0, ge=0, le=64, description="CPU threads of one coqui worker; 0: half of the cores, shared.")
    coqui_spare: bool = Field(default=False, description="Whether a coqui worker stands by with the model loaded.")
