"""What the edge reads from its environment, once, when it starts."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from malha.runtime.settings import MalhaSettings

MIB = 1024 * 1024


class EdgeSettings(MalhaSettings):
    """Settings of the edge. Where services are, which roots to trust and what to log stand in `RuntimeSettings`."""

    model_config = SettingsConfigDict(env_prefix="MALHA_EDGE_")

    host: str = Field("127.0.0.1", description="Address the edge listens on. Other than loopback needs TLS, or --insecure.")
    port: int = Field(8000, ge=0, le=65535, description="Port of HTTP and WebSocket; 0 takes a free one.")
    admin_port: int = Field(9091, ge=0, le=65535, description="Port of the edge's /metrics and probes, on loopback; 0 takes a free one.")
    tls_certificate: Path | None = Field(None, description="PEM certificate chain of the edge.")
    tls_key: Path | None = Field(None, description="PEM private key of the edge.")
    allowed_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Other web origins whose pages may call the edge, comma separated, such as https://desk.example.org."
    )
    trusted_proxies: str = Field("", description="Addresses whose X-Forwarded-For and X-Forwarded-Proto are believed, comma separated.")
    max_upload_bytes: int = Field(100 * MIB, ge=1, description="Largest recording `POST /api/v1/asr` takes.")
    max_uploads: int = Field(32, ge=1, description="Recordings received at once; more are answered 429.")
    transcription_seconds: float = Field(3600.0, gt=0, description="How long the transcript of a recording may take once it is received.")
    document_seconds: float = Field(300.0, gt=0, description="How long the next page of a document may take, waiting for others included.")
    max_body_bytes: int = Field(MIB, ge=1024, description="Largest JSON body.")
    max_frame_bytes: int = Field(MIB, ge=1024, le=MIB, description="Largest WebSocket message.")
    max_sockets: int = Field(4000, ge=1, description="WebSockets open at once; more are closed with 4429.")
    busy_sockets: int = Field(
        400, ge=1, description="From so many open WebSockets on, raw audio is joined to pieces of 200 ms instead of 100 ms."
    )
    relay: bool = Field(
        default=True,
        description="Carry all live calls in one stream, all chats in another, each to one process; false behind a balancer that places each call.",
    )
    requests_per_minute: int = Field(
        6000, ge=1, description="Requests and sockets a token, or an address without one, may start in a minute."
    )
    stall_seconds: float = Field(
        10.0, gt=0, le=19, description="How long a call may stand still, because its server or its reader does not keep up."
    )
    ping_seconds: float = Field(20.0, gt=0, description="Between pings of a WebSocket; one unanswered as long ends its call.")
    drain_seconds: float = Field(10.0, ge=0, le=3600, description="How long open sockets and requests may go on after a stop is asked for.")

    @field_validator("allowed_origins", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(origin.strip().rstrip("/") for origin in value.split(",") if origin.strip()) if isinstance(value, str) else value
