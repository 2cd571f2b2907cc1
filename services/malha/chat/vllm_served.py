"""What a vLLM of this machine serves: as ``models.toml`` says of an alias or a deployment, or one model by itself."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from malha.chat.models_file import Deployment, ModelsFile, Vllm
from malha.runtime.errors import FailedPrecondition

LORA_RANK: Final = 16
"""Adapters up to this rank can always be loaded while it serves."""
_LORA_RANKS: Final = (LORA_RANK, 32, 64, 128, 256, 320, 512)
"""What vLLM takes as the highest rank."""


@dataclass(frozen=True, slots=True)
class Served:
    """One vLLM and its model."""

    name: str
    """The deployment's."""
    model: Path
    """A directory with ``config.json``, weights and tokenizer."""
    served_names: tuple[str, ...]
    """What clients ask for: any of them."""
    port: int
    """0 takes a free one."""
    quantization: str = ""
    """vLLM's name for it, such as awq. Empty: as the model's ``config.json`` says."""
    max_model_len: int | None = None
    """Tokens of prompt and answer together. None: as many as the model was made for."""
    adapters: Mapping[str, Path] = field(default_factory=dict)
    """LoRA adapters it has from its start; others can be loaded later."""
    gpus: tuple[int, ...] = ()
    """The GPUs it spans, as placement.toml says; none: those that vLLM takes by itself."""
    key: str = field(default="", repr=False)
    """What clients must send. Empty: nothing."""

    def __post_init__(self) -> None:
        """Raises FailedPrecondition where the model or an adapter is not there."""
        if not (self.model / "config.json").is_file():
            raise FailedPrecondition(f"{self.model} holds no model: there is no config.json in it", reason="MODEL_NOT_FOUND")
        _ = self.lora_rank

    @property
    def lora_rank(self) -> int:
        """The highest that its adapters have, as vLLM takes it."""
        highest = max(map(_rank, self.adapters.values()), default=LORA_RANK)
        fitting = next((rank for rank in _LORA_RANKS if rank >= highest), None)
        if fitting is None:
            raise FailedPrecondition(f"vLLM takes adapters up to rank {_LORA_RANKS[-1]}, and one has {highest}", reason="MODEL_NOT_FOUND")
        return fitting


def served_by(models: ModelsFile, name: str) -> list[Served]:
    """All that an alias may be answered by first, or one deployment by its name, where ``models.toml`` has a ``vllm`` table for it.

    An empty name is the file's default alias. Deployments on one port are one vLLM, with the adapters of all.
    Raises FailedPrecondition where there is none, and as `Served` does.
    """
    name = name or models.default
    wanted = models.aliases[name].deployments if name in models.aliases else (name,)
    chosen: dict[int, Served] = {}
    for deployment in dict.fromkeys(wanted):
        found = models.deployments.get(deployment)
        if found is None or found.vllm is None:
            continue
        served = _served(deployment, found, found.vllm)
        earlier = chosen.get(served.port)
        chosen[served.port] = served if earlier is None else _together(earlier, served)
    if not chosen:
        runnable = [*(alias for alias, entry in models.aliases.items() if _any_vllm(models, entry.deployments)), *_with_vllm(models)]
        names = f"there are {', '.join(runnable)}" if runnable else "no deployment in models.toml has one"
        raise FailedPrecondition(f"no vllm table for {name!r}: {names}; or give --model DIRECTORY", reason="NO_VLLM")
    return list(chosen.values())


def _served(name: str, deployment: Deployment, vllm: Vllm) -> Served:
    asked = "" if deployment.model in vllm.lora else deployment.model
    names = tuple(dict.fromkeys(filter(None, (vllm.served_name, asked)))) or (name,)
    return Served(name, vllm.model_dir, names, vllm.port, vllm.quantization, vllm.max_model_len, vllm.lora, key=deployment.key())


def _together(first: Served, second: Served) -> Served:
    """One vLLM for two deployments. Raises FailedPrecondition where they differ in more than names and adapters."""
    names = tuple(dict.fromkeys(first.served_names + second.served_names))
    both = replace(first, served_names=names, adapters={**first.adapters, **second.adapters})
    if both != replace(second, name=first.name, served_names=names, adapters=both.adapters):
        raise FailedPrecondition(
            f"deployments {first.name} and {second.name} share a vllm.port: they must agree in all but served_name and lora",
            reason="MODELS_FILE_INVALID",
        )
    return both


def _with_vllm(models: ModelsFile) -> list[str]:
    return [name for name, deployment in models.deployments.items() if deployment.vllm is not None]


def _any_vllm(models: ModelsFile, names: tuple[str, ...]) -> bool:
    return not set(names).isdisjoint(_with_vllm(models))


def _rank(adapter: Path) -> int:
    """As PEFT wrote it."""
    try:
        return int(json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))["r"])
    except (OSError, ValueError, KeyError, TypeError):
        raise FailedPrecondition(
            f"{adapter} holds no LoRA adapter: there is no rank in its adapter_config.json", reason="MODEL_NOT_FOUND"
        ) from None
