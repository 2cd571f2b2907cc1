"""Makes the faster-whisper engine from Transcribe's settings: the entry point's target."""

from collections import defaultdict
from dataclasses import replace

from malha.runtime.errors import FailedPrecondition
from malha.runtime.placement import read_placement
from malha.transcribe.engine import TranscribeEngine
from malha.transcribe.engines.faster_whisper import NAME, Device, FasterWhisperEngine, FasterWhisperSettings
from malha.transcribe.guard import GuardedEngine, GuardLimits
from malha.transcribe.router import RoutedEngine
from malha.transcribe.routing import ANY, Rule
from malha.transcribe.settings import TranscribeSettings
from malha.transcribe.whisper_models import model_directory, whisper_model


def create(settings: TranscribeSettings) -> TranscribeEngine:
    """The engine of one model; or of several that are placed: the caller names one, else the first is asked, and the next where it fails.

    Raises FailedPrecondition.
    """
    models = create_models(settings)
    if len(models) == 1:
        return next(iter(models.values()))
    guarded = {name: GuardedEngine(name, engine, GuardLimits.of(settings)) for name, engine in models.items()}
    return RoutedEngine(guarded, [Rule(frozenset({ANY}), tuple(models))], settings.smart_routing_seconds)


def create_models(settings: TranscribeSettings) -> dict[str, FasterWhisperEngine]:
    """An engine for each model by its name: those that placement.toml places, or the one that settings name. Raises FailedPrecondition."""
    if settings.placement_file is None:
        name, directory = whisper_model(settings)
        device = Device(settings.whisper_device, settings.whisper_workers, settings.whisper_compute_type, settings.whisper_threads)
        return {name: FasterWhisperEngine(_with(settings, FasterWhisperSettings(directory, name, (device,))))}
    placed: defaultdict[str, list[Device]] = defaultdict(list)
    for entry in read_placement(settings.placement_file).transcribe:
        placed[entry.model] += [Device(device, entry.replicas, entry.compute_type, entry.threads) for device in entry.devices]
    if not placed:
        raise FailedPrecondition(f"{settings.placement_file} places no model under [[transcribe]]", reason="PLACEMENT_INVALID")
    return {
        name: FasterWhisperEngine(
            _with(settings, FasterWhisperSettings(model_directory(settings, name), name, tuple(devices), instance=f"{NAME} {name}"))
        )
        for name, devices in placed.items()
    }


def _with(settings: TranscribeSettings, engine: FasterWhisperSettings) -> FasterWhisperSettings:
    """The rest of the settings, which all models share."""
    return replace(
        engine,
        spare=settings.whisper_spare,
        idle_seconds=settings.whisper_idle_seconds,
        max_batch=settings.whisper_max_batch,
        max_wait_seconds=settings.whisper_max_wait_seconds,
    )
