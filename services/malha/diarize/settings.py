"""Settings of Diarize."""

from pathlib import Path

from pydantic import Field

from malha.runtime.settings import MalhaSettings


class DiarizeSettings(MalhaSettings):
    """Which engine tells speakers apart, and how sure it has to be to name one."""

    diarize_engine: str = Field("resemblyzer", description="Engine of Diarize: `resemblyzer` or `pyannote`.")
    diarize_workers: int = Field(1, ge=1, le=64, description="Processes that compute voice prints, or hold a pyannote pipeline each.")
    diarize_max_streams: int = Field(256, ge=1, description="Streams labelled at once; one more is refused.")
    diarize_max_seconds: float = Field(14_400.0, gt=0, description="Audio one stream may have.")
    diarize_reader_seconds: float = Field(60.0, gt=0, description="How long a client may leave its turns unread.")
    speaker_threshold: float = Field(
        default_factory=lambda given: 0.5 if given.get("diarize_engine") == "pyannote" else 0.78,
        ge=0,
        le=1,
        description="Least cosine at which a voice is told to be an enrolled speaker's. Default: 0.78 of resemblyzer's prints, 0.5 of pyannote's.",
    )
    pyannote_python: Path | None = Field(
        None, description="The interpreter pyannote runs in, such as .venvs/pyannote/bin/python (make engine-pyannote). Empty: this one."
    )
    pyannote_pipeline: str = Field(
        "pyannote/speaker-diarization-community-1",
        description="Its pipeline: a directory with config.yaml, or a name of `malha models`: that of 4, or pyannote/speaker-diarization-3.1.",
    )
    pyannote_device: str = Field("auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$", description="`auto`, `cpu`, `cuda` or `cuda:N`.")
    pyannote_threads: int = Field(
        0, ge=0, le=256, description="CPU threads of each of its processes. 0: half of the cores, shared among them."
    )
    pyannote_streams: int = Field(16, ge=1, le=4096, description="Streams each of its processes labels at once; more wait.")
