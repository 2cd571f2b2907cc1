"""The engine that settings ask for, and what ``auto`` means on this machine."""

from functools import partial
from importlib.util import find_spec
from typing import cast

from malha.runtime import engines
from malha.runtime.errors import FailedPrecondition
from malha.transcribe.engine import TranscribeEngine
from malha.transcribe.engines.whisper_create import create_models
from malha.transcribe.guard import GuardedEngine, GuardLimits
from malha.transcribe.router import RoutedEngine
from malha.transcribe.routing import ANY, Rule, parse_rules
from malha.transcribe.settings import TranscribeSettings
from malha.transcribe.whisper_models import find_model

AUTO, POCKETSPHINX, WHISPER, OPENAI = "auto", "pocketsphinx", "faster-whisper", "openai"


def make_engine(settings: TranscribeSettings) -> TranscribeEngine:
    """The engine, not yet started. Raises FailedPrecondition for one that is not known or not installed, and for wrong rules of routing."""
    if settings.smart_routing_enabled and settings.transcribe_engine == AUTO:
        return _routed(settings)
    return cast("TranscribeEngine", engines.load("transcribe", choose(settings))(settings))


def choose(settings: TranscribeSettings) -> str:
    """The engine's name: as set; ``auto`` is Whisper where models are placed, or its packages and a local model are, else the embedded recogniser."""
    if settings.transcribe_engine != AUTO:
        return settings.transcribe_engine
    return WHISPER if _has_whisper(settings) else POCKETSPHINX


def _has_whisper(settings: TranscribeSettings) -> bool:
    return settings.placement_file is not None or (find_spec("ctranslate2") is not None and find_model(settings) is not None)


def _routed(settings: TranscribeSettings) -> RoutedEngine:
    """All recognisers of this machine and the remote one, where there is one; those that rules never name are not loaded."""
    makers = {POCKETSPHINX: partial(engines.load("transcribe", POCKETSPHINX), settings)}
    costs: dict[str, float] = {}
    if settings.remote_transcribe_url:
        makers[OPENAI] = partial(engines.load("transcribe", OPENAI), settings)
        costs[OPENAI] = settings.remote_transcribe_cost_per_minute
    models = create_models(settings) if _has_whisper(settings) else {}
    known = [*models, *makers]
    order = tuple(sorted(known, key=lambda name: costs.get(name, 0.0)))
    rules = parse_rules(settings.smart_routing_rules, known) or (Rule(frozenset({ANY}), order),)
    most = settings.smart_routing_max_cost_per_minute
    named = {name for rule in rules for name in rule.names if most is None or costs.get(name, 0.0) <= most}
    if not named:
        raise FailedPrecondition("SMART_ROUTING_MAX_COST_PER_MINUTE leaves no recogniser to ask", reason="ROUTING_INVALID")
    made = {name: models[name] if name in models else makers[name]() for name in known if name in named}
    return RoutedEngine({name: _guarded(name, engine, settings) for name, engine in made.items()}, rules, settings.smart_routing_seconds)


def _guarded(name: str, engine: TranscribeEngine, settings: TranscribeSettings) -> GuardedEngine:
    """The remote recogniser comes with its guard."""
    return engine if isinstance(engine, GuardedEngine) else GuardedEngine(name, engine, GuardLimits.of(settings))
