"""Makes the faster-whisper engine from Transcribe's settings: the entry point's target."""

from malha.transcribe.choose import whisper_model
from malha.transcribe.engines.faster_whisper import FasterWhisperEngine, FasterWhisperSettings
from malha.transcribe.settings import TranscribeSettings


def create(settings: TranscribeSettings) -> FasterWhisperEngine:
    """The engine on the model that settings name, or the best local one. Raises FailedPrecondition."""
    name, directory = whisper_model(settings)
    return FasterWhisperEngine(
        FasterWhisperSettings(
            model_directory=directory,
            model=name,
            device=settings.whisper_device,
            compute_type=settings.whisper_compute_type,
            threads=settings.whisper_threads,
            workers=settings.whisper_workers,
            spare=settings.whisper_spare,
            max_batch=settings.whisper_max_batch,
            max_wait_seconds=settings.whisper_max_wait_seconds,
        )
    )
