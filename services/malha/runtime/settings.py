"""What every Malha process reads from its environment and ``.env``, once, when it starts."""

import ipaddress
import os
from pathlib import Path
from typing import Annotated, Any

from pydantic import AliasChoices, Field, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from malha.runtime.errors import FailedPrecondition


def default_data_directory() -> Path:
    """``$XDG_DATA_HOME/malha`` or ``~/.local/share/malha``."""
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "malha"


class MalhaSettings(BaseSettings):
    """Base of all settings: prefix ``MALHA_``, ``.env`` in the working directory, frozen."""

    model_config = SettingsConfigDict(
        env_prefix="MALHA_", env_file=".env", extra="ignore", frozen=True, populate_by_name=True, allow_inf_nan=False
    )

    def __init__(self, **given: Any) -> None:
        """Raises ValidationError for a setting that is wrong, FailedPrecondition for an ``.env`` that cannot be read."""
        try:
            super().__init__(**given)
        except UnicodeDecodeError:
            raise FailedPrecondition(".env is no UTF-8 text: save it as UTF-8", reason="ENV_FILE") from None

    @field_validator("*", mode="before")
    @classmethod
    def _empty_is_unset(cls, value: object, info: ValidationInfo) -> object:
        """``NAME=`` is as if the line were not there; only a text may be empty."""
        field = cls.model_fields[str(info.field_name)]
        if value != "" or field.annotation is str:
            return value
        return field.get_default(call_default_factory=True, validated_data=info.data)


class RuntimeSettings(MalhaSettings):
    """Settings of any Malha process."""

    data_dir: Path = Field(default_factory=default_data_directory, description="Where tokens and state lie.")
    host: str = Field("127.0.0.1", description="Address to listen on. Other than loopback needs TLS, or --insecure.")
    grpc_port: int = Field(50051, ge=0, le=65535, description="Port of the gRPC server; 0 takes a free one.")
    admin_port: int = Field(9090, ge=0, le=65535, description="Port of /metrics and probes, on loopback; 0 takes a free one.")
    insecure: bool = Field(default=False, description="Allow a non-loopback address without TLS.")
    tls_certificate: Path | None = Field(None, description="PEM certificate chain of the gRPC server.")
    tls_key: Path | None = Field(None, description="PEM private key of the gRPC server.")
    tls_ca: Path | None = Field(
        None, description="PEM roots that gRPC clients of this process trust at targets, which are then asked by TLS."
    )
    api_tokens: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        validation_alias=AliasChoices("MALHA_API_TOKENS", "API_TOKENS", "api_tokens"),
        description="Accepted tokens, comma separated, each `token` or `tenant:token`.",
    )
    drain_seconds: float = Field(10.0, ge=0, le=3600, description="How long open streams may go on after a stop is asked for.")
    drain_notice_seconds: float = Field(
        0.0, ge=0, le=300, description="How long to report NOT_SERVING before draining: the load balancer's interval."
    )
    max_streams: int = Field(4000, ge=1, description="Streams open at once; more are refused with RESOURCE_EXHAUSTED.")
    log_level: str = Field("INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$", description="DEBUG, INFO, WARNING or ERROR.")
    otlp_endpoint: str = Field(
        "",
        validation_alias=AliasChoices("MALHA_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT", "otlp_endpoint"),
        description="Where traces go, by OTLP over gRPC, such as http://127.0.0.1:4317. Empty: nowhere.",
    )
    transcribe_target: str = Field("", description="gRPC target of Transcribe, such as dns:///host:50051. Empty: this process.")
    synthesize_target: str = Field("", description="gRPC target of Synthesize. Empty: this process.")
    ocr_target: str = Field("", description="gRPC target of Ocr. Empty: this process.")
    diarize_target: str = Field("", description="gRPC target of Diarize. Empty: this process.")
    insight_target: str = Field("", description="gRPC target of Insight. Empty: this process.")
    chat_target: str = Field("", description="gRPC target of Chat. Empty: this process.")
    audio_target: str = Field("", description="gRPC target of Audio, for the edge. Empty: 127.0.0.1 and the gRPC port.")

    @field_validator("data_dir")
    @classmethod
    def _expand_home(cls, value: Path) -> Path:
        return Path(os.path.expanduser(value))  # noqa: PTH111 - Path's own raises where there is no home

    @field_validator("api_tokens", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(filter(None, (token.strip() for token in value.split(",")))) if isinstance(value, str) else value


def is_loopback(host: str) -> bool:
    """Whether an address, or the name ``localhost``, can be reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
