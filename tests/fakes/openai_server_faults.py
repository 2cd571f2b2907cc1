"""How a request to the fake OpenAI-compatible server goes wrong, and what was asked of it."""

import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Answer = Callable[[str], str]


def as_it_is(answer: str) -> str:
    return answer


@dataclass(frozen=True)
class Fault:
    """One request's fate; by default it goes well. Combine them with `also`."""

    before_headers_seconds: float = 0.0
    before_first_token_seconds: float = 0.0
    """Of a stream: after its headers."""
    between_tokens_seconds: float = 0.0
    never: bool = False
    """No headers, ever; the server waits until the client has left."""
    status: int = 200
    """Other than 200: an error in OpenAI's form."""
    retry_after: str = ""
    """The header's value: seconds, or an HTTP date."""
    junk: bytes | None = None
    """The body, with status 200 and the content type of a good answer."""
    cut_body: int | None = None
    """Only so many bytes of a good JSON answer are sent; its Content-Length is right for them."""
    reset_after: int | None = None
    """The connection is reset (RST) after so many pieces of text; 0: before headers. An answer that does not stream is reset half-way."""
    end_after: int | None = None
    """A stream ends, in order and without ``[DONE]``, after so many pieces."""
    answer: Answer = as_it_is
    """What becomes of the text."""
    finish_reason: str = "stop"

    def also(self, **fields: Any) -> "Fault":
        return dataclasses.replace(self, **fields)


WELL = Fault()
NEVER = Fault(never=True)
TOO_MANY = Fault(status=429, retry_after="1")
BROKEN = Fault(status=500)
OVERLOADED = Fault(status=503)
JUNK = Fault(junk=b"<html><body>502 Bad Gateway</body></html>")
RESET = Fault(reset_after=2)
CUT_STREAM = Fault(end_after=2)
CUT_BODY = Fault(cut_body=40)
CUT_TEXT = Fault(answer=lambda text: text[: len(text) // 2])
"""The model's own JSON breaks off, though it says that it stopped by itself."""
OUT_OF_TOKENS = CUT_TEXT.also(finish_reason="length")
EMPTY = Fault(answer=lambda _: "")
PROSE = Fault(answer=lambda _: "Claro! Aqui está o JSON que você pediu:")
HUGE = Fault(answer=lambda text: text + " muito" * 200_000)


def in_english(text: str) -> str:
    """The texts of a JSON answer, or an answer of prose, in a language nobody asked for."""
    return _rewritten(
        text, lambda name, _: "The customer is asking for a discount and would like to be called back." if name in _TEXTS else None
    )


def with_wrong_ids(text: str) -> str:
    """The evidence of a JSON answer names segments that do not exist, also where it was asked for quotes alone."""
    told = _rewritten(text, lambda name, _: _NO_SEGMENT if name in _IDS else None)
    return told.replace('{"quote": ', f'{{"segment_id": "{_NO_SEGMENT}", "quote": ')


WRONG_LANGUAGE = Fault(answer=in_english)
WRONG_IDS = Fault(answer=with_wrong_ids)

_TEXTS = frozenset({"", "message", "text", "summary", "title"})
_NO_SEGMENT = "00000000-0000-7000-8000-000000000000"
_IDS = frozenset({"evidence", "segment_id", "segment_ids", "id", "ids"})


def _rewritten(text: str, replace: Callable[[str, str], str | None]) -> str:
    """Every string of a JSON text, by the name it stands under; a text that is no JSON has the name ``""``."""

    def walk(value: Any, name: str) -> Any:
        if isinstance(value, dict):
            return {key: walk(item, key) for key, item in value.items()}
        if isinstance(value, list):
            return [walk(item, name) for item in value]
        replaced = replace(name, value) if isinstance(value, str) else None
        return value if replaced is None else replaced

    try:
        parsed = json.loads(text)
    except ValueError:
        return str(walk(text, ""))
    return json.dumps(walk(parsed, ""), ensure_ascii=False)


@dataclass
class Received:
    """A request as it came."""

    path: str
    headers: Mapping[str, str]
    """Names in lower case."""
    body: dict[str, Any]
    at: float
    """The loop's time when it had come."""
    client: tuple[str, int]
    """Address and port: the same for requests of one connection."""
    left: bool = False
    """The client went before the answer was complete."""
    told: list[str] = field(default_factory=list)
    """The pieces of text that were sent."""

    @property
    def key(self) -> str:
        """The API key that was sent."""
        return self.headers.get("authorization", "").removeprefix("Bearer ")

    @property
    def stream(self) -> bool:
        return bool(self.body.get("stream"))

    @property
    def cache_salt(self) -> str:
        return str(self.body.get("cache_salt", ""))

    @property
    def prompt(self) -> str:
        """All text of the messages, a line each: to look for what should not be in it."""
        return "\n".join(_text(message.get("content")) for message in self.body.get("messages", ()))

    @property
    def begun(self) -> str | None:
        """The assistant's last message, where vLLM would go on from it."""
        *_, last = self.body["messages"]
        wanted = self.body.get("continue_final_message") and not self.body.get("add_generation_prompt", True)
        return _text(last.get("content")) if wanted and last["role"] == "assistant" else None

    @property
    def schema(self) -> dict[str, Any] | None:
        """The JSON schema that the answer is to have."""
        wanted = self.body.get("response_format") or {}
        schema = wanted.get("json_schema", {}).get("schema")
        return schema if wanted.get("type") == "json_schema" else {"type": "object"} if wanted.get("type") == "json_object" else None

    @property
    def most_tokens(self) -> int | None:
        return self.body.get("max_completion_tokens") or self.body.get("max_tokens")


def _text(content: Any) -> str:
    return "\n".join(part.get("text", "") for part in content) if isinstance(content, list) else str(content or "")
