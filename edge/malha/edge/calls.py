"""The edge as a gRPC client: whose token goes along, and what the failure of a call means."""

import asyncio
import hashlib
import re
from collections import OrderedDict
from time import monotonic
from typing import Any

import grpc
from google.protobuf.message import Message

from malha.api.audio.v1 import audio_pb2
from malha.api.synthesize.v1 import synthesize_pb2
from malha.api.transcribe.v1 import transcribe_pb2, transcribe_pb2_grpc
from malha.edge.errors import InvalidField, ServiceAway
from malha.runtime.errors import MalhaError, Unauthenticated
from malha.runtime.mesh import Mesh
from malha.runtime.relay_client import RelayChannel
from malha.runtime.status import DETAILS_KEY, from_rpc_error

Metadata = tuple[tuple[str, str], ...]

STREAM = "/malha.api.audio.v1.AudioStreamService/Stream"
SYNTHESIZE = "/malha.api.synthesize.v1.SynthesizeService/Synthesize"

_WRITE_ERRORS = (grpc.aio.InternalError, grpc.aio.AioRpcError, asyncio.InvalidStateError)
_SESSION_ID = re.compile(r"[0-9A-Za-z-]{1,64}")
_TOKEN = re.compile(r"[\x21-\x7e]{1,4096}")
_OPENING = re.compile(r"^(open\.(format\.|parameters\.)?|resume\.|control\.[a-z]+\.|feedback\.|transcribe\.|chat\.)")
_NAMES = {
    "sample_rate_hertz": "sample_rate",
    "vad.": "vad_settings.",
    "window.max_batch": "max_batch_window_sec",
    "window.batch": "batch_window_sec",
}
_UNTOLD = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.CANCELLED})
"""How a server that died looks, directly or behind a proxy, when it could not tell an error itself."""


def bearer(authorization: str) -> str:
    """The token of an ``Authorization`` header, empty where there is none of a kind that could go along."""
    scheme, _, token = authorization.partition(" ")
    token = token.strip()
    return token if scheme.lower() == "bearer" and _TOKEN.fullmatch(token) else ""


def metadata(token: str, session_id: str = "") -> Metadata:
    """What every call carries. Raises Unauthenticated without a token and InvalidField for an id that fits no header."""
    if not _TOKEN.fullmatch(token):
        raise Unauthenticated(
            "a token is needed: send `Authorization: Bearer TOKEN`; `malha up` says where it lies", reason="TOKEN_MISSING"
        )
    authorization = ("authorization", f"Bearer {token}")
    if not session_id:
        return (authorization,)
    if not _SESSION_ID.fullmatch(session_id):
        raise InvalidField("session_id", "must be a UUIDv7")
    return authorization, ("malha-session", session_id)


class Bidi:
    """A bidirectional call. One task writes, one reads, and what the server says at the end is never lost.

    ``grpc.aio``'s own ``write`` loses it: where the server ends a call that is being written to, it puts a status INTERNAL of its own making
    in the place of the server's, for the reader too. So messages go to the layer below, which only tells that they could not be sent.
    """

    def __init__(self, call: Any, response_type: type[Message]) -> None:
        self._call = call
        self._parse = response_type.FromString
        below = getattr(call, "_cython_call", None)  # calls that pass interceptors, while traces are exported, have none
        self._send = call.write if below is None else below.send_serialized_message

    async def open(self, request: Message) -> None:
        """Send the first request, once there is a connection. Raises what the call failed with."""
        try:
            await self._call.wait_for_connection()
        except grpc.aio.AioRpcError as error:
            raise failure(error) from None
        await self.write(request.SerializeToString())

    async def write(self, request: bytes) -> bool:
        """Hand a serialized request on; False if the call is over, which `read` then explains."""
        try:
            await self._send(request)
        except _WRITE_ERRORS:
            return False
        return True

    async def read(self) -> Any | None:
        """The next event, None after the last. Raises what the call failed with."""
        try:
            response = await self._call.read()
        except grpc.aio.AioRpcError as error:
            raise failure(error) from None
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            raise ServiceAway("the service behind the edge gave the call up: try again") from None  # how grpc.aio tells status CANCELLED
        return None if response is grpc.aio.EOF else self._parse(response)

    def cancel(self) -> None:
        """Give the call up, unless it is over."""
        self._call.cancel()


def audio_call(channel: grpc.aio.Channel | RelayChannel, metadata: Metadata) -> Bidi:
    """A call on AudioStreamService.Stream."""
    return Bidi(channel.stream_stream(STREAM)(metadata=metadata), audio_pb2.StreamResponse)


def synthesize_call(channel: grpc.aio.Channel, metadata: Metadata) -> Bidi:
    """A call on SynthesizeService.Synthesize."""
    return Bidi(channel.stream_stream(SYNTHESIZE)(metadata=metadata), synthesize_pb2.SynthesizeResponse)


def failure(error: grpc.aio.AioRpcError, *, by_contract: bool = False) -> MalhaError:
    """What a failed call means for the client. Where no server of ours told, the text gives no address of the inside away.

    ``by_contract``: the client wrote the contract's own message, so that its fields keep their names.
    """
    told = any(key == DETAILS_KEY for key, _ in error.trailing_metadata() or ())
    if not told and error.code() in _UNTOLD:
        return ServiceAway("the service behind the edge is away: try again", retry_seconds=0.25)
    return from_rpc_error(error) if by_contract else _as_sent(from_rpc_error(error))


def _as_sent(error: MalhaError) -> MalhaError:
    """The error with fields by the names they have at the edge: here nobody writes `open`, the edge does."""
    for field, wrong in dict(error.violations).items():
        name = _OPENING.sub("", field)
        for there, here in _NAMES.items():
            name = name.replace(there, here)
        if name and name != field:
            del error.violations[field]
            error.violations[name] = wrong
            error.message = error.message.replace(field, name)
    return error


KNOWN = frozenset({grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.PERMISSION_DENIED})
"""Answers to a token that is known: who it is comes first. Whether it may do what it came for is said where that is done."""


class Tokens:
    """Asks the mesh whether a token is known, for addresses that must refuse early, and remembers a yes for a while."""

    REMEMBER_SECONDS = 30.0
    ASK_SECONDS = 5.0
    MOST = 4096

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh
        self._until: OrderedDict[bytes, float] = OrderedDict()

    async def check(self, token: str) -> None:
        """Raise Unauthenticated for a token the mesh does not know, ServiceAway where it cannot be asked."""
        identity, digest, now = metadata(token), hashlib.sha256(token.encode()).digest(), monotonic()
        if self._until.get(digest, 0.0) > now:
            return
        stub: Any = transcribe_pb2_grpc.TranscribeServiceStub(self._mesh.channel("transcribe"))
        try:
            await stub.ListModels(transcribe_pb2.ListModelsRequest(), metadata=identity, timeout=self.ASK_SECONDS)
        except grpc.aio.AioRpcError as error:
            if error.code() not in KNOWN:
                raise failure(error) from None
        self._until[digest] = now + self.REMEMBER_SECONDS
        self._until.move_to_end(digest)
        while len(self._until) > self.MOST:
            self._until.popitem(last=False)
