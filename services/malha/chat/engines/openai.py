"""OpenAI's own client, for vLLM and every other server that speaks its protocol."""

from collections.abc import AsyncGenerator, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import httpx2
import openai
import orjson

from malha.chat.engine import Ask, Delta, Ended, Piece, Role
from malha.chat.engines.http import FAILURES, make_client
from malha.chat.errors import ModelAnswerInvalid, ModelTimeout, ModelUnavailable
from malha.chat.models_file import Deployment
from malha.chat.prompts import system_text, turns
from malha.runtime.errors import MalhaError

OPENAI_HOST: Final = "api.openai.com"
"""It refuses the parameters of vLLM, calls the limit of tokens otherwise, and takes few schemas as strict."""
EMBED_SECONDS: Final = 30.0
LIST_SECONDS: Final = 2.0
VLLM: Final = "vllm"
"""Who owns the models of a vLLM, as its list of them says."""
_FINISH: Final = {"stop": "stop", "length": "length", "content_filter": "filter"}


class OpenAIEngine:
    """One deployment. Connections stay open between calls; the router's deadlines end those that take too long.

    The client is asked for what it knows (its headers, the reading of its streams, models, vectors). A request for an answer is built once and goes
    to its connections as plain JSON: the client's own way there costs a millisecond and a half, and its typed chunks half of one for each token.
    """

    def __init__(self, deployment: Deployment) -> None:
        self._model = deployment.model_name
        self._own = urlsplit(deployment.url).hostname == OPENAI_HOST
        self._is_vllm: bool | None = None
        self._http = make_client(deployment)
        self._client = openai.AsyncOpenAI(
            base_url=deployment.url, api_key=deployment.key() or "none", max_retries=0, http_client=self._http
        )
        self._url = httpx2.URL(f"{deployment.url.rstrip('/')}/chat/completions")
        self._headers = httpx2.Headers(
            {
                **self._client.auth_headers,
                "User-Agent": self._client.user_agent,
                "Accept": "text/event-stream",
                "Content-Type": "application/json",
            }
        )

    async def stream(self, ask: Ask) -> AsyncGenerator[Piece, None]:
        try:
            async with await self._ask(self._request(ask, await self._model_name())) as chunks:
                answer = _Answer()
                async for chunk in chunks:
                    if text := answer.take(chunk):
                        yield Delta(text)
                yield answer.ended()
        except Exception as error:
            raise as_malha_error(error) from error

    async def continues(self) -> bool:
        """Every vLLM does, and says in its list of models that it is one. Asked until it answered once."""
        if self._is_vllm is None:
            try:
                listed = await self._client.models.list(timeout=LIST_SECONDS)
                self._is_vllm = any(model.owned_by == VLLM for model in listed.data)
            except Exception as error:
                raise as_malha_error(error) from error
        return self._is_vllm

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        try:
            answer = await self._client.embeddings.create(model=await self._model_name(), input=list(texts), timeout=EMBED_SECONDS)
            vectors = [list(item.embedding) for item in sorted(answer.data, key=lambda item: item.index)]
        except Exception as error:
            raise as_malha_error(error) from error
        if len(vectors) != len(texts):
            raise ModelAnswerInvalid("the model gave another number of vectors than there were texts")
        return vectors

    async def close(self) -> None:
        await self._client.close()

    async def _ask(self, body: dict[str, Any]) -> openai.AsyncStream[object]:
        """The chunks of an answer. Raises what the client's connections raise, and the error of a refusal."""
        request = httpx2.Request("POST", self._url, headers=self._headers, content=orjson.dumps(body))
        response = await self._http.send(request, stream=True)
        if not response.is_success:
            await response.aread()  # so that the connection can be used again
            raise FAILURES.of_status(response.status_code, response.headers.get("retry-after", ""))
        return openai.AsyncStream(cast_to=object, response=response, client=self._client)

    async def _model_name(self) -> str:
        """As set, or the first that the server lists."""
        if not self._model:
            listed = await self._client.models.list()
            if not listed.data:
                raise ModelUnavailable("the model's server lists no model")
            self._model = listed.data[0].id
        return self._model

    def _request(self, ask: Ask, model: str) -> dict[str, Any]:
        messages = [
            {"role": "system", "content": system_text(ask)},
            *({"role": turn.role.value, "content": turn.text} for turn in turns(ask)),
        ]
        chosen = ask.sampling
        request: dict[str, Any] = {
            "model": model,
            "messages": messages,
            "stream": True,
            "stream_options": {"include_usage": True},
            "max_completion_tokens" if self._own else "max_tokens": ask.max_tokens,
        }
        given = {"temperature": chosen.temperature, "top_p": chosen.top_p, "seed": chosen.seed, "stop": list(chosen.stop) or None}
        request |= {name: value for name, value in given.items() if value is not None}
        if ask.schema is not None:
            request["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": dict(ask.schema), "strict": not self._own},
            }
        if ask.begun:
            messages.append({"role": Role.ASSISTANT.value, "content": ask.begun})
            request |= {"continue_final_message": True, "add_generation_prompt": False}
        if ask.cache_salt and not self._own:
            request["cache_salt"] = ask.cache_salt
        return request


class _Answer:
    """What the chunks of a stream tell besides text."""

    def __init__(self) -> None:
        self._finish = ""
        self._model = ""
        self._prompt: int | None = None
        self._completion: int | None = None

    def take(self, chunk: Any) -> str:
        """The text of a chunk. Raises ModelAnswerInvalid for one that is none."""
        try:
            self._model = chunk.get("model") or self._model
            if (usage := chunk.get("usage")) is not None:
                self._prompt, self._completion = int(usage["prompt_tokens"]), int(usage["completion_tokens"])
            choices = chunk["choices"]
            if not choices:
                return ""
            self._finish = choices[0].get("finish_reason") or self._finish
            text = (choices[0].get("delta") or {}).get("content") or ""
        except (AttributeError, TypeError, ValueError, LookupError) as error:
            raise ModelAnswerInvalid("the model's server sent something that is no answer") from error
        if not isinstance(text, str):
            raise ModelAnswerInvalid("the model's server sent something that is no answer")
        return text

    def ended(self) -> Ended:
        """Raises ModelUnavailable for a stream that ended without saying why: it was cut."""
        if not self._finish:
            raise ModelUnavailable("the answer broke off", reason="MODEL_STREAM_CUT")
        return Ended(_FINISH.get(self._finish, "stop"), self._prompt, self._completion, self._model)


def as_malha_error(error: Exception) -> MalhaError:
    """What the client raised, as an error that quotes none of it."""
    if isinstance(error, MalhaError):
        return error
    if isinstance(error, openai.APIStatusError):
        return FAILURES.of_status(error.status_code, error.response.headers.get("retry-after", ""))
    if isinstance(error, openai.APITimeoutError | httpx2.TimeoutException):
        return ModelTimeout("the model's server did not answer in time")
    if isinstance(error, openai.APIConnectionError | httpx2.HTTPError | OSError):
        return ModelUnavailable("the model's server cannot be reached, or broke the connection")
    return ModelAnswerInvalid("the model's server sent something that is no answer")
