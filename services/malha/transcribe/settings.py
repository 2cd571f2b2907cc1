"""Settings of Transcribe."""

from pydantic import Field

from malha.models.settings import ModelSettings


class TranscribeSettings(ModelSettings):
    """Which engine recognises, and how its workers run."""

    transcribe_engine: str = Field(
        "auto", description="auto (a local Whisper model if one is there, else pocketsphinx), pocketsphinx, faster-whisper or null."
    )
    transcribe_workers: int = Field(2, ge=1, le=64, description="Worker processes of pocketsphinx.")
    partial_interval_seconds: float = Field(1.0, ge=0.2, le=10, description="Least time between two partials of an utterance.")
    whisper_model: str = Field(
        "", description="A name under the models directory (whisper/small) or a directory. Empty: the best one there."
    )
    whisper_device: str = Field("auto", pattern="^(auto|cpu|cuda)$", description="auto, cpu or cuda.")
    whisper_compute_type: str = Field("default", description="CTranslate2 compute type: default takes int8 on a CPU and float16 on a GPU.")
    whisper_threads: int = Field(
        0, ge=0, le=64, description="CPU threads of one Whisper worker; 0: half of the cores, shared between the workers."
    )
    whisper_workers: int = Field(1, ge=1, le=16, description="Processes that each hold the Whisper model.")
    whisper_spare: bool = Field(
        False, description="Hold the model once more in a worker that stands by: one that dies is replaced without loading."
    )
    whisper_max_batch: int = Field(8, ge=1, le=64, description="Utterances recognised together at most.")
    whisper_max_wait_seconds: float = Field(0.03, ge=0, le=1, description="How long an utterance may wait for others to share its batch.")
