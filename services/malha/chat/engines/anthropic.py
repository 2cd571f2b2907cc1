"""Anthropic's own client. Its protocol knows neither temperature nor seed any more, nor embeddings: the first are left out, the last refused."""

from collections.abc import AsyncGenerator, Sequence
from typing import Any, Final

import anthropic
import httpx2

from malha.chat.engine import Ask, Delta, Ended, Piece, Role
from malha.chat.engines.http import FAILURES, make_client
from malha.chat.errors import ModelAnswerInvalid, ModelTimeout, ModelUnavailable
from malha.chat.models_file import Deployment
from malha.chat.prompts import system_text, turns
from malha.runtime.errors import FailedPrecondition, MalhaError

VENDOR_URL: Final = "https://api.anthropic.com"
_FINISH: Final = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "filter",
}


class AnthropicEngine:
    """One deployment."""

    def __init__(self, deployment: Deployment) -> None:
        self._model = deployment.model_name
        self._client = anthropic.AsyncAnthropic(
            base_url=deployment.url or VENDOR_URL, api_key=deployment.key() or "none", max_retries=0, http_client=make_client(deployment)
        )

    async def stream(self, ask: Ask) -> AsyncGenerator[Piece, None]:
        try:
            async with await self._client.messages.create(**self._request(ask)) as events:
                answer = _Answer()
                async for event in events:
                    if text := answer.take(event):
                        yield Delta(text)
                yield answer.ended()
        except Exception as error:
            raise as_malha_error(error) from error

    async def continues(self) -> bool:
        """Older models do, newer ones refuse it, and none says: ``continues`` in models.toml does."""
        return False

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        del texts
        raise FailedPrecondition("engine anthropic has no embeddings: set `embeddings` in models.toml", reason="EMBEDDINGS_NOT_CONFIGURED")

    async def close(self) -> None:
        await self._client.close()

    def _request(self, ask: Ask) -> dict[str, Any]:
        request: dict[str, Any] = {
            "model": self._model,
            "system": system_text(ask),
            "messages": [{"role": turn.role.value, "content": turn.text} for turn in turns(ask)],
            "max_tokens": ask.max_tokens,
            "stream": True,
        }
        if ask.begun:
            request["messages"].append({"role": Role.ASSISTANT.value, "content": ask.begun})
        if ask.sampling.stop:
            request["stop_sequences"] = list(ask.sampling.stop)
        if ask.schema is not None:
            request["output_config"] = {"format": {"type": "json_schema", "schema": dict(ask.schema)}}
        return request


class _Answer:
    """What the events of a stream tell besides text."""

    def __init__(self) -> None:
        self._finish: str | None = None
        self._model = ""
        self._prompt: int | None = None
        self._completion: int | None = None

    def take(self, event: anthropic.types.RawMessageStreamEvent) -> str:
        """The text of an event."""
        if event.type == "message_start":
            self._model = event.message.model
            self._prompt = event.message.usage.input_tokens
        elif event.type == "message_delta":
            self._finish = event.delta.stop_reason or self._finish
            self._completion = event.usage.output_tokens
        elif event.type == "content_block_delta" and event.delta.type == "text_delta":
            return event.delta.text
        return ""

    def ended(self) -> Ended:
        """Raises ModelUnavailable for a stream that ended without saying why: it was cut."""
        if self._finish is None:
            raise ModelUnavailable("the answer broke off", reason="MODEL_STREAM_CUT")
        return Ended(_FINISH.get(self._finish, "stop"), self._prompt, self._completion, self._model)


def as_malha_error(error: Exception) -> MalhaError:
    """What the client raised, as an error that quotes none of it."""
    if isinstance(error, MalhaError):
        return error
    if isinstance(error, anthropic.APIStatusError):
        return FAILURES.of_status(error.status_code, error.response.headers.get("retry-after", ""))
    if isinstance(error, anthropic.APITimeoutError):
        return ModelTimeout("the model's server did not answer in time")
    if isinstance(error, anthropic.APIConnectionError | httpx2.HTTPError | OSError):
        return ModelUnavailable("the model's server cannot be reached, or broke the connection")
    return ModelAnswerInvalid("the model's server sent something that is no answer")
