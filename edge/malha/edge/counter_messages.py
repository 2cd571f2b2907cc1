"""The words of the counter dialect: its handshake and commands as messages of the native door, that door's events as its replies.

Only names differ from `malha.edge.messages` and `malha.edge.events`; what they mean, and which values are right, is decided there.
"""

from dataclasses import dataclass
from typing import Any, Final

import orjson

from malha.edge.errors import InvalidField, NotJson
from malha.edge.events import Json
from malha.edge.fields import Fields, json_object
from malha.edge.messages import DEFAULT_RATE, ENCODINGS, MAX_INT32, SAMPLE_BYTES
from malha.runtime.errors import InvalidArgument

POLICY: Final = "counter"
LANGUAGE: Final = "pt"
DEFAULT_ENCODING: Final = "pcm16"
MAGICS: Final = {b"\x1aE\xdf\xa3": "webm", b"OggS": "ogg", b"RIFF": "wav"}
"""What files and recorders begin with: EBML (RFC 8794 section 8.1), Ogg (RFC 3533 section 6), RIFF."""
MAGIC_BYTES: Final = 4

STOP: Final = '{"event":"stop"}'
"""The native door's end of a call."""
PONG: Final = b'{"comando":"pong"}'
BARE_PONGS: Final = {"ping": b"pong", '"ping"': b'"pong"'}

KINDS: Final = {"partial_summary": "resumo", "next_step": "proximo_passo", "risk_alert": "alerta_risco", "upsell": "oferta"}
"""``tipo`` of a recommendation, by the insight's type."""
TRANSCRIPTS: Final = ("partial", "batch_processed", "amended")


class InvalidHandshake(InvalidArgument):
    """The first message is no handshake: send `{"api_key": ..., "vad_settings": {...}}` as text."""

    default_reason = "INVALID_HANDSHAKE"


@dataclass(frozen=True, slots=True)
class Handshake:
    """What a connection begins with. ``encoding`` is empty where the audio itself is to show it; ``unknown`` are fields nobody reads."""

    key: str
    encoding: str
    transcripts: bool
    unknown: tuple[str, ...]
    settings: Json
    """Fields of `start` that do not depend on the encoding."""
    sample_rate: int | None

    def start(self, encoding: str) -> str:
        """The native door's first message."""
        audio: Json = {"encoding": encoding}
        if ENCODINGS.get(encoding) in SAMPLE_BYTES:
            audio["sample_rate"] = self.sample_rate or DEFAULT_RATE
        return orjson.dumps({"event": "start", "token": self.key, **audio, **self.settings}).decode()


def read_handshake(text: str) -> Handshake:
    """The first message. Raises InvalidHandshake for what is none, InvalidField for a field of the wrong type."""
    try:
        fields = Fields(json_object(text))
    except NotJson as error:
        raise InvalidHandshake(f"the handshake comes first: {error.message}") from None
    vad = fields.inner("vad_settings")
    key, token, transcripts = fields.text("api_key"), fields.text("token"), fields.flag("transcricoes")
    settings = {
        "language": fields.texts("language") or [LANGUAGE],
        "vad_settings": {name: vad.number(name) for name in ("threshold_multiplier", "min_energy")},
        "enable_insights": True,
        "insight_policy": POLICY,
        "interim": transcripts,
    }
    encoding, rate = fields.text("encoding"), fields.integer("sample_rate", 1, MAX_INT32)
    return Handshake(key or token, encoding, transcripts, (*fields.unknown(), *vad.unknown()), settings, rate)


def encoding_of(head: bytes) -> str:
    """How audio that begins like this is encoded; empty where it is too little to tell."""
    for magic, name in MAGICS.items():
        if head.startswith(magic):
            return name
    return "" if any(magic.startswith(head) for magic in MAGICS) else DEFAULT_ENCODING


def read_command(text: str) -> bytes | None:
    """The answer to a ping; None where the call is to end. Raises InvalidArgument for what is no command."""
    bare = text.strip()
    if bare in BARE_PONGS:
        return BARE_PONGS[bare]
    command = Fields(json_object(text, "; audio goes in binary messages")).text("comando")
    if command == "ping":
        return PONG
    if command == "encerrar":
        return None
    raise InvalidField("comando", "must be one of ping, encerrar")


def recommendation(event: Json) -> Json:
    """An `insight` as one of the recommendations of its interaction."""
    return {"tipo": KINDS.get(event["type"], event["type"]), "texto": event["message"], "confianca": event["confidence"]}


def recommend_json(interaction_id: str, recommendations: list[Json]) -> bytes:
    """What the operator is advised."""
    return orjson.dumps({"comando": "recomendar", "recomendacoes": recommendations, "interacao_id": interaction_id})


def reply_json(event: Json, *, transcripts: bool) -> bytes:
    """Any other event of the native door; empty for what the dialect does not tell."""
    body = _reply(event, transcripts=transcripts)
    return orjson.dumps(body) if body else b""


def _reply(event: Json, *, transcripts: bool) -> Json:
    name = event["event"]
    if name == "error":
        return _error(event)
    if name == "warning":
        return {"comando": "aviso", "codigo": event["reason"], "mensagem": event["message"]}
    if name == "go_away":
        return {"comando": "reconectar", "tempo_ms": event["time_left_ms"]}
    if transcripts and name in TRANSCRIPTS:
        return _transcript(event)
    return {}


def _error(event: Json) -> Json:
    body: Json = {"comando": "erro", "codigo": event["reason"], "mensagem": event["message"], "repetir": event["retryable"]}
    if "retry_after_ms" in event:
        body["repetir_em_ms"] = event["retry_after_ms"]
    return body


def _transcript(event: Json) -> Json:
    segment: dict[str, Any] = event["segments"][0]
    return {
        "comando": "transcricao",
        "id": segment["id"],
        "revisao": segment["revision"],
        "texto": segment["text"],
        "final": event["event"] != "partial",
        "inicio_seg": segment["start_sec"],
        "fim_seg": segment["end_sec"],
        "confianca": segment["confidence"],
    }
