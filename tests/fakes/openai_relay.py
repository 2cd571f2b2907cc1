"""A fake server that knows nothing itself: it passes each question on to a real one, and keeps what went by."""

from collections.abc import AsyncIterator

import httpx
from starlette.responses import Response, StreamingResponse

from fakes.openai_server import FakeOpenAI
from fakes.openai_server_faults import Fault, Received
from fakes.vllm import RunningVllm

SECONDS = 120


class Relay(FakeOpenAI):
    """To a real vLLM, which sees its own model's name and key."""

    def __init__(self, behind: RunningVllm, *, key: str) -> None:
        super().__init__(key=key)
        self._behind = behind
        self.answers: list[str] = []
        """As they came, one for each request that was passed on."""

    async def _chat(self, received: Received, fault: Fault) -> Response:
        del fault
        return StreamingResponse(self._passed_on({**received.body, "model": self._behind.model}), media_type="text/event-stream")

    async def _passed_on(self, body: dict[str, object]) -> AsyncIterator[bytes]:
        number = len(self.answers)
        self.answers.append("")
        url = f"{self._behind.base_url}/chat/completions"
        async with (
            httpx.AsyncClient(timeout=SECONDS, trust_env=False) as client,
            client.stream("POST", url, json=body, headers=self._behind.headers) as response,
        ):
            assert response.status_code == 200, await response.aread()
            async for piece in response.aiter_bytes():
                self.answers[number] += piece.decode(errors="replace")
                yield piece
