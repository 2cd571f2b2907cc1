"""Engines by name, each imported only where a deployment wants it: a vendor's client takes half a second to load."""

import contextlib
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Final

from malha.chat.engine import ChatEngine
from malha.chat.models_file import EXTRACTIVE, Deployment, load_models
from malha.chat.settings import ChatSettings
from malha.runtime.errors import FailedPrecondition, MalhaError

ENGINES: Final = {
    "openai": ("malha.chat.engines.openai", "OpenAIEngine"),
    "anthropic": ("malha.chat.engines.anthropic", "AnthropicEngine"),
    "extractive": ("malha.chat.engines.extractive", "ExtractiveEngine"),
}


def preload(settings: ChatSettings, data_dir: Path) -> None:
    """Import the engines that the models in force want: a standby then takes over without waiting for them. A wrong file is told at the start."""
    with contextlib.suppress(MalhaError):
        for engine in {deployment.engine for deployment in load_models(settings, data_dir).deployments.values()} | {EXTRACTIVE}:
            _load(engine)


def make_engine(deployment: Deployment) -> ChatEngine:
    """The engine of a deployment. Raises FailedPrecondition where its package or its key is missing."""
    return _load(deployment.engine)(deployment)


def _load(engine: str) -> Callable[[Deployment], ChatEngine]:
    module, name = ENGINES[engine]
    try:
        make: Callable[[Deployment], ChatEngine] = getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        raise FailedPrecondition(f"engine {engine!r} needs: pip install {engine}", reason="MISSING_EXTRA") from error
    return make
