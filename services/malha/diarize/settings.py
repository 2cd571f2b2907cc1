"""Settings of Diarize."""

from pydantic import Field

from malha.runtime.settings import MalhaSettings


class DiarizeSettings(MalhaSettings):
    """Which engine tells speakers apart, and how sure it has to be to name one."""

    diarize_engine: str = Field("resemblyzer", description="Engine of Diarize: `resemblyzer`.")
    diarize_workers: int = Field(1, ge=1, le=64, description="Processes that compute voice prints.")
    diarize_max_streams: int = Field(256, ge=1, description="Streams labelled at once; one more is refused.")
    diarize_max_seconds: float = Field(14_400.0, gt=0, description="Audio one stream may have.")
    diarize_reader_seconds: float = Field(60.0, gt=0, description="How long a client may leave its turns unread.")
    speaker_threshold: float = Field(0.78, ge=0, le=1, description="Least cosine at which a voice is told to be an enrolled speaker's.")
