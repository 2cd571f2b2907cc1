"""``models.toml``: which models there are, where, at what price, and who is asked for what.

An alias is what callers name; a deployment is a model at a server. Routing picks an alias's deployment by the prompt's length and what the answer
is for; ``fallback`` says who is asked next where one fails. Keys never stand in the file: ``key_env`` or ``key_file`` say where they are.
"""

import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator, model_validator

from malha.chat.settings import ChatSettings
from malha.runtime.errors import FailedPrecondition, NotFound
from malha.runtime.remote import check_base_url, find_key

EXTRACTIVE: Final = "extractive"
"""The deployment that is always there: it answers with quotes alone."""
FILE_NAME: Final = "models.toml"

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}$")]
_SECRET_FIELDS: Final = frozenset({"key", "api_key", "apikey", "token", "secret", "password"})


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Prices(_Strict):
    """What a million tokens cost, in the file's currency."""

    input: float = Field(0.0, ge=0, allow_inf_nan=False)
    output: float = Field(0.0, ge=0, allow_inf_nan=False)

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float:
        """Of one call."""
        return (prompt_tokens * self.input + completion_tokens * self.output) / 1e6


class Timeouts(_Strict):
    """How long a deployment may take."""

    connect_seconds: float = Field(2.0, gt=0, le=60)
    first_token_seconds: float = Field(10.0, gt=0, le=600)
    """From asking to the first token."""
    stall_seconds: float = Field(15.0, gt=0, le=600)
    """From one token to the next."""
    total_seconds: float = Field(60.0, gt=0, le=600)


class BreakerLimits(_Strict):
    """When a deployment is not asked any more, and for how long."""

    failures: int = Field(5, ge=1, le=1000)
    """One after the other."""
    open_seconds: float = Field(30.0, gt=0, le=3600)


class Vllm(_Strict):
    """How ``malha serve llm`` starts vLLM for a deployment."""

    model_dir: Path
    served_name: str = Field("", max_length=200)
    """Empty: the deployment's ``model``."""
    port: int = Field(8100, ge=1, le=65535)
    quantization: str = Field("", pattern=r"^[a-z0-9_]*$")
    max_model_len: int | None = Field(None, ge=1)
    lora: dict[Name, Path] = {}
    """Adapters by the name they are asked by."""


class Deployment(_Strict):
    """A model at a server."""

    engine: Literal["openai", "anthropic", "extractive"]
    base_url: str = ""
    model: str = Field("", max_length=200)
    """As its server calls it; a LoRA adapter by its name. Empty: the first that an ``openai`` server lists."""
    key_env: str = Field("", pattern=r"^[A-Za-z_0-9]*$")
    key_file: Path | None = None
    fallback: Name | None = None
    """The deployment asked where this one fails."""
    embeddings: bool = False
    """It makes vectors, not answers."""
    continues: bool | None = None
    """Whether it goes on from the beginning of an answer that was interrupted. Unset: an ``openai`` server that says it is vLLM does, others not."""
    prices: Prices = Prices()
    timeouts: Timeouts = Timeouts()
    breaker: BreakerLimits = BreakerLimits()
    max_concurrent: int = Field(32, ge=1, le=10_000)
    max_waiting: int = Field(64, ge=0, le=100_000)
    """Beyond ``max_concurrent``; more are refused."""
    context_tokens: int = Field(8192, ge=128)
    """Prompt and answer together."""
    max_tokens: int = Field(1024, ge=1)
    """Of an answer, where the caller sets none."""
    vllm: Vllm | None = None

    @field_validator("base_url")
    @classmethod
    def _check_url(cls, value: str) -> str:
        return check_base_url(value, "key_env or key_file")

    @model_validator(mode="before")
    @classmethod
    def _no_keys(cls, data: Any) -> Any:
        if isinstance(data, dict) and (found := sorted(_SECRET_FIELDS.intersection(data))):
            raise ValueError(f"`{found[0]}`: a key must not stand here: use key_env (a variable's name) or key_file (a path)")
        return data

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.key_env and self.key_file is not None:
            raise ValueError("has key_env and key_file: one of them")
        if self.engine == "openai" and not self.base_url and self.vllm is None:
            raise ValueError("engine `openai` needs base_url, such as http://127.0.0.1:8100/v1, or vllm")
        if self.engine == "anthropic" and not self.model:
            raise ValueError("engine `anthropic` needs a model")
        if self.embeddings and self.engine != "openai":
            raise ValueError("embeddings come from engine `openai` alone")
        if self.continues and (self.engine == "extractive" or self.embeddings):
            raise ValueError("continues: it cannot go on from the beginning of an answer")
        if self.max_tokens >= self.context_tokens:
            raise ValueError("max_tokens must be less than context_tokens")
        return self

    @property
    def url(self) -> str:
        """Where its server is; a vLLM that Malha starts is on this machine."""
        return self.base_url or (f"http://127.0.0.1:{self.vllm.port}/v1" if self.vllm is not None else "")

    @property
    def model_name(self) -> str:
        """What its server is asked for."""
        return self.model or (self.vllm.served_name if self.vllm is not None else "")

    def key(self) -> str:
        """The key itself; empty: none. Raises FailedPrecondition where it cannot be read."""
        return find_key(self.key_env, self.key_file)


class Routing(_Strict):
    """Which deployment of an alias answers: the first rule that fits, else the alias's own."""

    critical_purposes: tuple[str, ...] = ()
    critical: Name | None = None
    """Asked where the answer's purpose is one of these, however short the prompt."""
    short_prompt_tokens: int = Field(0, ge=0)
    short: Name | None = None
    """Asked where the prompt is shorter."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if bool(self.critical_purposes) != (self.critical is not None):
            raise ValueError("critical_purposes and critical go together")
        if bool(self.short_prompt_tokens) != (self.short is not None):
            raise ValueError("short_prompt_tokens and short go together")
        return self


class Alias(_Strict):
    """A name that callers use."""

    deployment: Name
    routing: Routing = Routing()
    timeout_seconds: float = Field(60.0, gt=0, le=600)
    """For an answer, the whole chain included."""

    def start(self, purpose: str, prompt_tokens: int) -> str:
        """The deployment to ask first."""
        routing = self.routing
        if routing.critical is not None and purpose in routing.critical_purposes:
            return routing.critical
        if routing.short is not None and prompt_tokens < routing.short_prompt_tokens:
            return routing.short
        return self.deployment

    @property
    def deployments(self) -> tuple[str, ...]:
        """All that may be asked first."""
        return tuple(name for name in (self.deployment, self.routing.critical, self.routing.short) if name is not None)


class ModelsFile(_Strict):
    """The whole file."""

    currency: str = Field("USD", pattern=r"^[A-Z]{3}$")
    default: Name
    """The alias of whoever names none."""
    embeddings: Name | None = None
    """The deployment that makes vectors, for knowledge bases and Embed."""
    last_resort: bool = True
    """Whether the extractive engine answers, marked degraded, where all else failed and free text is wanted."""
    purposes: dict[str, Name] = {}
    """Aliases by what an answer is for, where the caller names none."""
    aliases: dict[Name, Alias]
    deployments: dict[Name, Deployment] = {}
    """Beside the extractive engine, which is always there."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if EXTRACTIVE in self.deployments and self.deployments[EXTRACTIVE].engine != EXTRACTIVE:
            raise ValueError("deployments.extractive: this name is the extractive engine's")
        for name, deployment in self.deployments.items():
            self._known(f"deployments.{name}.fallback", deployment.fallback)
            self._check_cycle(name)
        for name, alias in self.aliases.items():
            for wanted in alias.deployments:
                self._known(f"aliases.{name}", wanted)
        for place, wanted in {"default": self.default, **{f"purposes.{name}": alias for name, alias in self.purposes.items()}}.items():
            if wanted not in self.aliases:
                raise ValueError(f"{place}: there is no alias `{wanted}`")
        if self.embeddings is not None and not (self.embeddings in self.deployments and self.deployments[self.embeddings].embeddings):
            raise ValueError("embeddings: there is no such deployment with `embeddings = true`")
        return self

    def _known(self, place: str, name: str | None) -> None:
        if name is None or name == EXTRACTIVE:
            return
        if name not in self.deployments:
            raise ValueError(f"{place}: there is no deployment `{name}`")
        if self.deployments[name].embeddings:
            raise ValueError(f"{place}: deployment `{name}` makes vectors, not answers")

    def _check_cycle(self, name: str) -> None:
        seen, following = {name}, self.deployments[name].fallback
        while following is not None and following in self.deployments:
            if following in seen:
                raise ValueError(f"deployments.{name}.fallback: the chain comes back to `{following}`")
            seen.add(following)
            following = self.deployments[following].fallback

    def alias_for(self, name: str, purpose: str) -> str:
        """The alias in force for a caller who names one, or none. Raises NotFound."""
        chosen = name or self.purposes.get(purpose, self.default)
        if chosen not in self.aliases:
            raise NotFound(f"there is no model of this name: there are {', '.join(self.aliases)}", reason="MODEL_NOT_FOUND")
        return chosen

    def chain(self, start: str) -> tuple[str, ...]:
        """Deployments in the order they are asked, without the last resort."""
        names, following = [start], self._fallback_of(start)
        while following is not None:
            names.append(following)
            following = self._fallback_of(following)
        return tuple(names)

    def _fallback_of(self, name: str) -> str | None:
        deployment = self.deployments.get(name)
        return None if deployment is None else deployment.fallback


def load_models(settings: ChatSettings, data_dir: Path) -> ModelsFile:
    """The models in force. Raises FailedPrecondition (MODELS_FILE_INVALID, MODELS_FILE_UNREADABLE) that names the place, and never a value."""
    file = models_path(settings, data_dir)
    if file is not None:
        return read_models(file)
    if settings.chat_base_url:
        return _checked(
            {
                "default": "default",
                "aliases": {"default": {"deployment": "default"}, EXTRACTIVE: {"deployment": EXTRACTIVE}},
                "deployments": {
                    "default": {
                        "engine": "openai",
                        "base_url": settings.chat_base_url,
                        "model": settings.chat_model,
                        "key_file": settings.chat_api_key_file,
                    }
                },
            },
            "MALHA_CHAT_*",
        )
    return ModelsFile(default=EXTRACTIVE, aliases={EXTRACTIVE: Alias(deployment=EXTRACTIVE)}, deployments={})


def models_path(settings: ChatSettings, data_dir: Path) -> Path | None:
    """The file in force: the one that is set, or the data directory's where there is one."""
    if settings.models_file is not None:
        return settings.models_file
    default = data_dir / FILE_NAME
    return default if default.is_file() else None


def read_models(file: Path) -> ModelsFile:
    """Raises FailedPrecondition as `load_models` does."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise FailedPrecondition(f"cannot read {file}: {why}", reason="MODELS_FILE_UNREADABLE") from None
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        place = re.search(r"\(at [^)]*\)", str(error))
        raise FailedPrecondition(f"{file} is not TOML {place[0] if place else ''}".rstrip(), reason="MODELS_FILE_INVALID") from None
    return _checked(data, str(file))


def _checked(data: dict[str, Any], source: str) -> ModelsFile:
    try:
        return ModelsFile.model_validate(data)
    except ValidationError as error:
        wrong = {
            ".".join(map(str, found["loc"])) or "file": found["msg"].removeprefix("Value error, ")
            for found in error.errors(include_input=False, include_url=False)
        }
        told = "; ".join(f"{place}: {text}" for place, text in wrong.items())
        raise FailedPrecondition(f"{source}: {told}", reason="MODELS_FILE_INVALID", violations=wrong) from None
