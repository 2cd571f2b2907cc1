"""Settings of Transcribe."""

from pathlib import Path
from typing import Any

from pydantic import AliasChoices, Field, field_validator

from malha.models.settings import ModelSettings
from malha.runtime.placement import PlacementSettings
from malha.runtime.remote import check_base_url
from malha.runtime.settings import MalhaSettings


def _routing(name: str, default: Any, description: str, **limits: Any) -> Any:
    """A field that is read as ``MALHA_SMART_ROUTING_...`` and, as operators know it, ``SMART_ROUTING_...``."""
    field = f"smart_routing_{name}"
    aliases = AliasChoices(f"MALHA_{field.upper()}", field.upper(), field)
    return Field(default, validation_alias=aliases, description=description, **limits)


class RoutingSettings(MalhaSettings):
    """Which of several recognisers an utterance goes to, and who is asked next where one fails."""

    smart_routing_enabled: bool = _routing(
        "enabled",
        default=False,
        description="Choose a recogniser for each utterance. Only where MALHA_TRANSCRIBE_ENGINE is auto.",
    )
    smart_routing_rules: str = _routing(
        "rules",
        "",
        "LANGUAGES [<SECONDS or >=SECONDS]: RECOGNISERS; the first rule that fits: en<8: pocketsphinx, whisper/small; pt, es: whisper/medium, openai; *: openai. "
        "Empty: all there are, the cheapest first.",
        max_length=4000,
    )
    smart_routing_max_cost_per_minute: float | None = _routing(
        "max_cost_per_minute", None, "Recognisers that cost more for a minute of audio are not asked. Empty: any may be.", ge=0
    )
    smart_routing_seconds: float = _routing(
        "seconds", 20.0, "How long a recogniser may take for a live utterance before the next is asked.", gt=0, le=600
    )
    smart_routing_failures: int = _routing(
        "failures", 3, "Failures one after the other, after which a recogniser is left alone for a while.", ge=1, le=1000
    )
    smart_routing_open_seconds: float = _routing("open_seconds", 30.0, "For how long it is left alone.", gt=0, le=3600)


class RemoteSettings(MalhaSettings):
    """A server that recognises as OpenAI's does: ``POST {base URL}/audio/transcriptions``."""

    remote_transcribe_url: str = Field(
        "", description="Base URL of engine openai, such as https://api.openai.com/v1 or another Malha's http://host:8000/v1."
    )
    remote_transcribe_model: str = Field("whisper-1", min_length=1, max_length=200, description="The model it is asked for.")
    remote_transcribe_key_env: str = Field("", pattern=r"^[A-Za-z_0-9]*$", description="Environment variable that holds its key.")
    remote_transcribe_key_file: Path | None = Field(None, description="File that holds its key, readable by its owner alone.")
    remote_transcribe_format: str = Field(
        "verbose_json", pattern="^(verbose_json|json)$", description="verbose_json tells times of words; some models have json alone."
    )
    remote_transcribe_cost_per_minute: float = Field(0.006, ge=0, description="What a minute of audio costs there.")
    remote_transcribe_seconds: float = Field(15.0, gt=0, le=600, description="How long one request may take.")
    remote_transcribe_total_seconds: float = Field(30.0, gt=0, le=600, description="The same with all tries and the pauses between them.")
    remote_transcribe_tries: int = Field(3, ge=1, le=10, description="Requests for one utterance at most.")
    remote_transcribe_concurrency: int = Field(16, ge=1, le=1000, description="Requests at once; four times as many may wait.")

    @field_validator("remote_transcribe_url")
    @classmethod
    def _check_url(cls, value: str) -> str:
        return check_base_url(value, "MALHA_REMOTE_TRANSCRIBE_KEY_ENV or _KEY_FILE")


class WhisperSettings(PlacementSettings, ModelSettings):
    """The Whisper models of this machine."""

    whisper_model: str = Field(
        "", description="A name under the models directory (whisper/small) or a directory. Empty: the best one there."
    )
    whisper_device: str = Field("auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$", description="auto, cpu, cuda or cuda:N.")
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
    whisper_idle_seconds: float = Field(
        0.0, ge=0, le=86_400, description="Without anybody speaking, after which Whisper is unloaded until somebody does; 0: never."
    )


class AlignSettings(MalhaSettings):
    """What aligns texts of other languages than English."""

    align_models: str = Field(
        "",
        max_length=4000,
        description="Local wav2vec2 models with a CTC head by language: pt=/models/wav2vec2-pt, es=/models/wav2vec2-es.",
    )
    align_python: Path | None = Field(
        None, description="The interpreter they run in, such as .venvs/align/bin/python (make engine-align). Empty: this one."
    )


class TranscribeSettings(AlignSettings, RoutingSettings, RemoteSettings, WhisperSettings):
    """Which engine recognises, and how its workers run."""

    transcribe_engine: str = Field(
        "auto",
        description="auto (a local Whisper model if one is there, else pocketsphinx), pocketsphinx, faster-whisper, openai or null.",
    )
    transcribe_workers: int = Field(2, ge=1, le=64, description="Worker processes of pocketsphinx.")
    partial_interval_seconds: float = Field(1.0, ge=0.2, le=10, description="Least time between two partials of an utterance.")
