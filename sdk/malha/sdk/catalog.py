"""What a server has: models, voices, and whether its services are up."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import betterproto2

from malha.sdk._connection import Connection
from malha.sdk._convert import engine_from
from malha.sdk._gen.malha.api.synthesize import v1 as synthesize
from malha.sdk._gen.malha.api.transcribe import v1 as transcribe
from malha.sdk.errors import NotFound
from malha.sdk.events import Engine

__all__ = ["Health", "Model", "Voice"]

_SERVICES: Mapping[str, str] = MappingProxyType(
    {
        "audio": "malha.api.audio.v1.AudioStreamService",
        "transcribe": "malha.api.transcribe.v1.TranscribeService",
        "synthesize": "malha.api.synthesize.v1.SynthesizeService",
        "diarize": "malha.api.diarize.v1.DiarizeService",
        "insight": "malha.api.insight.v1.InsightService",
        "chat": "malha.api.chat.v1.ChatService",
        "ocr": "malha.api.ocr.v1.OcrService",
        "finetune": "malha.api.finetune.v1.FineTuneService",
        "conversation": "malha.api.conversation.v1.ConversationService",
    }
)


@dataclass(frozen=True, slots=True)
class Model:
    """A recogniser's loaded model."""

    name: str
    """As given to ``model=``."""
    engine: Engine
    languages: tuple[str, ...]
    """BCP 47 primary tags; ``*`` alone means any."""


@dataclass(frozen=True, slots=True)
class Voice:
    """A voice."""

    name: str
    """As given to ``voice=``."""
    languages: tuple[str, ...]
    """BCP 47 tags it speaks, the best first."""
    gender: str = ""
    """``female``, ``male`` or empty."""


@dataclass(frozen=True, slots=True)
class Health:
    """Whether a server can serve."""

    serving: bool
    """The server as a whole."""
    services: Mapping[str, bool]
    """By capability (``audio``, ``transcribe``, ...): whether it is ready. Those the server does not have are left out."""


# grpc/health/v1/health.proto, declared by hand so that the SDK needs no grpcio-health-checking.
@dataclass(eq=False, repr=False)
class _HealthRequest(betterproto2.Message):
    service: str = betterproto2.field(1, betterproto2.TYPE_STRING)


@dataclass(eq=False, repr=False)
class _HealthResponse(betterproto2.Message):
    status: int = betterproto2.field(1, betterproto2.TYPE_INT32)


_SERVING = 1


async def models(connection: Connection) -> tuple[Model, ...]:
    """The recogniser's loaded models, the default first."""
    answer = await connection.unary(
        "/malha.api.transcribe.v1.TranscribeService/ListModels", transcribe.ListModelsRequest(), transcribe.ListModelsResponse
    )
    return tuple(Model(model.name, engine_from(model.engine), tuple(model.languages)) for model in answer.models)


async def voices(connection: Connection, language: str) -> tuple[Voice, ...]:
    """The voices by name; where ``language`` is given, those that speak it."""
    answer = await connection.unary(
        "/malha.api.synthesize.v1.SynthesizeService/ListVoices",
        synthesize.ListVoicesRequest(language=language),
        synthesize.ListVoicesResponse,
    )
    return tuple(Voice(voice.name, tuple(voice.languages), voice.gender) for voice in answer.voices)


async def health(connection: Connection) -> Health:
    """Ask for the server and each of its services."""
    whole, *single = await asyncio.gather(_serving(connection, ""), *(_serving(connection, name) for name in _SERVICES.values()))
    known = {name: up for name, up in zip(_SERVICES, single, strict=True) if up is not None}
    return Health(bool(whole), MappingProxyType(known))


async def _serving(connection: Connection, service: str) -> bool | None:
    """None: the server does not know the service."""
    try:
        answer = await connection.unary("/grpc.health.v1.Health/Check", _HealthRequest(service=service), _HealthResponse)
    except NotFound:
        return None
    return answer.status == _SERVING
