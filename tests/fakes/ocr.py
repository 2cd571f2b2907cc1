"""A real server with Ocr alone, the real engine behind it, and calls to it as a client makes them."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc

from fakes.serving import served
from malha.api.ocr.v1 import ocr_pb2 as api
from malha.api.ocr.v1.ocr_pb2_grpc import OcrServiceStub
from malha.ocr.engines.rapidocr import RapidOcrEngine
from malha.ocr.service import OcrService
from malha.ocr.settings import OcrSettings
from malha.runtime.settings import RuntimeSettings
from malha.runtime.status import from_rpc_error
from malha.runtime.stream import StreamLimits
from malha.sdk._rpc import Rpc
from malha.store.database import Database

TOKEN = "test-token"
AUTHORIZED = (("authorization", f"Bearer {TOKEN}"),)
DEADLINE = 120.0
PIECE = 64 * 1024


class Told:
    """What a stream gave."""

    def __init__(self, responses: Sequence[api.RecognizeResponse]) -> None:
        self.kinds = [response.WhichOneof("event") for response in responses]
        self.opened = responses[0].opened
        self.document = next((response.document for response in responses if response.HasField("document")), api.Document())
        self.pages = [response.page for response in responses if response.HasField("page")]
        self.failed = [response.failed for response in responses if response.HasField("failed")]
        self.closed = responses[-1].closed

    @property
    def text(self) -> str:
        return "\f".join(map(text_of, self.pages))

    @property
    def lines(self) -> list[str]:
        return [line.text for page in self.pages for block in page.blocks for line in block.lines]


def text_of(page: api.Page) -> str:
    return "\n\n".join("\n".join(line.text for line in block.lines) for block in page.blocks)


class Client:
    """A server, its engine, and calls to it."""

    def __init__(self, stub: OcrServiceStub, service: OcrService, engine: RapidOcrEngine, target: str) -> None:
        self.stub = stub
        self.service = service
        self.engine = engine
        self.target = target

    def open(self) -> grpc.aio.StreamStreamCall:
        return self.stub.Recognize(metadata=AUTHORIZED, timeout=DEADLINE)

    async def read(self, document: bytes, **opening: Any) -> Told:
        """Send a document, finish, gather the answer. Raises MalhaError."""
        call = Rpc(self.open())  # a write that meets a refusal would replace its status: grpc.aio's doing
        sending = asyncio.create_task(send(call, opening, document))
        try:
            return Told([response async for response in call.responses()])
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from None
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)


async def send(call: Rpc, opening: dict[str, Any], document: bytes) -> None:
    await call.write(api.RecognizeRequest(open=api.Open(**opening)))
    for start in range(0, len(document), PIECE):
        await call.write(api.RecognizeRequest(data=api.Data(content=document[start : start + PIECE])))
    await call.write(api.RecognizeRequest(finish=api.Finish()))


@asynccontextmanager
async def serving(
    folder: Path, limits: StreamLimits | None = None, database: Database | None = None, engine: Any = None, **settings: Any
) -> AsyncIterator[Client]:
    runtime = RuntimeSettings(_env_file=None, data_dir=folder, grpc_port=0, admin_port=0, api_tokens=(f"default:{TOKEN}",), drain_seconds=1)
    ocr = OcrSettings(_env_file=None, **{"ocr_page_seconds": DEADLINE, **settings})
    engine = engine or RapidOcrEngine(ocr)
    service = OcrService(engine, ocr, database)
    async with served([service], runtime, limits=limits) as server, grpc.aio.insecure_channel(server.target) as channel:
        yield Client(OcrServiceStub(channel), service, engine, server.target)
