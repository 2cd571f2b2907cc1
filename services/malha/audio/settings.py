"""Settings of Audio."""

from pydantic import AliasChoices, Field

from malha.runtime.settings import MalhaSettings


class AudioSettings(MalhaSettings):
    """Defaults of a call; most can be set for each call in `open`."""

    vad_threshold_multiplier: float = Field(
        1.5,
        ge=1,
        le=100,
        validation_alias=AliasChoices("MALHA_VAD_THRESHOLD_MULTIPLIER", "VAD_THRESHOLD_MULTIPLIER", "vad_threshold_multiplier"),
        description="How many times louder than the noise floor speech is.",
    )
    vad_min_energy: float = Field(
        50.0,
        ge=0,
        validation_alias=AliasChoices("MALHA_VAD_MIN_ENERGY", "VAD_MIN_ENERGY_THRESHOLD", "vad_min_energy"),
        description="RMS of 16-bit samples under which nothing is speech.",
    )
    hangover_seconds: float = Field(0.3, ge=0.09, le=5, description="Silence that ends an utterance.")
    batch_window_seconds: float = Field(5.0, ge=1, le=29, description="Speech after which an utterance is cut at the next pause of 150 ms.")
    max_batch_window_seconds: float = Field(
        10.0, ge=1, le=29, description="Speech after which an utterance is cut where the last second is quietest."
    )
    final_seconds: float = Field(60.0, gt=0, description="How long a final may take before its utterance counts as failed.")
    upload_max_bytes: int = Field(200 * 1024 * 1024, ge=1, description="Largest file a BATCH stream may send.")
    upload_max_seconds: float = Field(4 * 3600.0, gt=0, description="Longest recording a file may hold.")
    upload_workers: int = Field(1, ge=1, le=16, description="Processes that decode uploaded files.")
    upload_memory_bytes: int = Field(1024**3, ge=256 * 1024**2, description="Memory of one decoding process.")
