"""``POST /v1/embeddings`` as OpenAI has it (https://platform.openai.com/docs/api-reference/embeddings/create), and the same below ``/api``.

Vectors come as numbers, or as OpenAI's own clients ask for them: base64 of 32-bit floats, the lowest byte first.
"""

import base64
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import grpc
from starlette.requests import Request
from starlette.responses import Response

from malha.api.chat.v1 import chat_pb2 as api
from malha.edge.bodies import json_body
from malha.edge.calls import bearer, failure, metadata
from malha.edge.chat_errors import compatible
from malha.edge.errors import InvalidField
from malha.edge.fields import Fields
from malha.edge.replies import json_response
from malha.edge.settings import EdgeSettings
from malha.runtime.mesh import Mesh

EMBED: Final = "/malha.api.chat.v1.ChatService/Embed"
EMBED_SECONDS: Final = 90.0
"""What Chat gives its model, and some more."""
MOST_TEXTS: Final = 256
MOST_CHARACTERS: Final = 32_768
"""Of one text; both as the contract has them."""
ENCODINGS: Final = {"float": False, "base64": True}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was asked for."""

    request: api.EmbedRequest
    packed: bool
    """Whether vectors are to come in base64."""


class Embeddings:
    """OpenAI's door to vectors."""

    def __init__(self, settings: EdgeSettings, mesh: Mesh) -> None:
        self._settings = settings
        self._mesh = mesh

    @compatible
    async def embed(self, request: Request) -> Response:
        """``POST /v1/embeddings``."""
        identity = metadata(bearer(request.headers.get("authorization", "")))
        wanted = wanted_of(await json_body(request, self._settings.max_body_bytes))
        method = self._mesh.channel("chat").unary_unary(
            EMBED, request_serializer=api.EmbedRequest.SerializeToString, response_deserializer=api.EmbedResponse.FromString
        )
        try:
            answer: api.EmbedResponse = await method(wanted.request, metadata=identity, timeout=EMBED_SECONDS)
        except grpc.aio.AioRpcError as error:
            raise failure(error) from None
        return json_response(answer_of(answer, packed=wanted.packed))


def wanted_of(body: Mapping[str, Any]) -> Wanted:
    """The request of a body. Raises InvalidField."""
    fields = Fields(body)
    alias, texts = fields.text("model"), fields.texts("input")
    packed = fields.choice("encoding_format", ENCODINGS)
    fields.text("user")  # OpenAI's own accounts
    if unknown := fields.unknown():
        raise InvalidField(unknown[0], "is not supported here")
    if not texts:
        raise InvalidField("input", "must be text, or a list of at least one text")
    if len(texts) > MOST_TEXTS:
        raise InvalidField("input", f"must be at most {MOST_TEXTS} texts")
    for number, text in enumerate(texts):
        if not 0 < len(text) <= MOST_CHARACTERS:
            raise InvalidField(f"input.{number}", f"must be 1 to {MOST_CHARACTERS} characters")
    return Wanted(api.EmbedRequest(alias=alias, texts=texts), packed=bool(packed))


def answer_of(answer: api.EmbedResponse, *, packed: bool) -> dict[str, Any]:
    """The body of an answer."""
    data = [
        {"object": "embedding", "index": number, "embedding": pack(vector.values) if packed else list(vector.values)}
        for number, vector in enumerate(answer.embeddings)
    ]
    usage = {"prompt_tokens": answer.prompt_tokens, "total_tokens": answer.prompt_tokens}
    return {"object": "list", "data": data, "model": answer.model, "usage": usage}


def pack(values: Sequence[float]) -> str:
    """A vector in base64."""
    return base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()
