"""From the body of an OpenAI request (https://platform.openai.com/docs/api-reference/chat/create) to the requests of Chat's stream.

What would change the answer and cannot be had is refused by name; what only concerns OpenAI's own accounts is read over.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from malha.api.chat.v1 import chat_pb2 as api
from malha.edge.errors import InvalidField
from malha.edge.fields import Fields

AUTHORS: Final = {
    "system": api.AUTHOR_SYSTEM,
    "developer": api.AUTHOR_SYSTEM,
    "user": api.AUTHOR_USER,
    "assistant": api.AUTHOR_ASSISTANT,
}
MOST_MESSAGES: Final = 200
MOST_CHARACTERS: Final = 200_000
"""Of one message, as the contract has it."""
MOST_TOKENS: Final = 32_768
MOST_SEED: Final = 2**63 - 1

_READ_OVER: Final = (
    "metadata",
    "parallel_tool_calls",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "store",
    "user",
)
_READ_ELSEWHERE: Final = frozenset({*_READ_OVER, "messages", "response_format"})
_ONLY: Final[Mapping[str, tuple[Any, ...]]] = {
    "frequency_penalty": (0,),
    "logprobs": (False,),
    "modalities": (["text"],),
    "n": (1,),
    "presence_penalty": (0,),
    "tool_choice": ("none",),
    "tools": ([],),
}
"""Fields of which one value asks for nothing; any other cannot be had."""


@dataclass(frozen=True, slots=True)
class Completion:
    """What was asked for."""

    requests: tuple[api.ChatRequest, ...]
    """The whole stream, from `open` to `finish`."""
    stream: bool
    include_usage: bool


def completion_of(body: Mapping[str, Any]) -> Completion:
    """The request of a body. Raises InvalidField."""
    fields = Fields({name: value for name, value in body.items() if name not in _READ_ELSEWHERE and not _asks_nothing(name, value)})
    stream, options = fields.flag("stream"), fields.inner("stream_options")
    include_usage = options.flag("include_usage")
    options.flag("include_obfuscation")
    opening = api.Open(
        alias=fields.text("model"),
        conversation_id=fields.text("conversation_id"),
        knowledge_base=fields.text("knowledge_base"),
        language=fields.text("language"),
        parameters=_parameters(fields),
        response_schema=_schema(body.get("response_format")),
    )
    messages = tuple(_messages(body.get("messages")))
    unknown = [*fields.unknown(), *options.unknown()]
    if unknown:
        raise InvalidField(unknown[0], "is not supported here")
    return Completion(stream_of(opening, messages), stream, include_usage)


def stream_of(opening: api.Open, messages: tuple[api.Message, ...]) -> tuple[api.ChatRequest, ...]:
    """All requests of a stream that asks once."""
    said = (api.ChatRequest(message=message) for message in messages)
    return (api.ChatRequest(open=opening), *said, api.ChatRequest(finish=api.Finish()))


def _asks_nothing(name: str, value: Any) -> bool:
    if name not in _ONLY or value is None:
        return False
    if value not in _ONLY[name]:
        raise InvalidField(name, "is not supported here")
    return True


def _parameters(fields: Fields) -> api.Parameters:
    tokens = [fields.integer(name, 1, MOST_TOKENS) for name in ("max_completion_tokens", "max_tokens")]
    stop = fields.texts("stop")
    for name, most in (("temperature", 2.0), ("top_p", 1.0)):
        value = fields.number(name)
        if value is not None and not 0 <= value <= most:
            raise InvalidField(name, f"must be from 0 to {most:g}")
    return api.Parameters(
        temperature=fields.number("temperature"),
        top_p=fields.number("top_p"),
        seed=fields.integer("seed", -MOST_SEED - 1, MOST_SEED),
        max_tokens=next((given for given in tokens if given is not None), None),
        stop=stop,
    )


def _schema(wanted: Any) -> str:
    """The JSON schema of a `response_format`; empty for free text."""
    if wanted is None:
        return ""
    kind = wanted.get("type") if isinstance(wanted, dict) else None
    if kind == "text":
        return ""
    if kind == "json_object":
        return '{"type":"object"}'
    if kind != "json_schema":
        raise InvalidField("response_format.type", "must be one of text, json_object, json_schema")
    given = wanted.get("json_schema")
    schema = given.get("schema") if isinstance(given, dict) else None
    if not isinstance(schema, dict):
        raise InvalidField("response_format.json_schema.schema", "must be a JSON schema, an object")
    try:
        return orjson.dumps(schema).decode()
    except orjson.JSONEncodeError:
        raise InvalidField("response_format.json_schema.schema", "is nested too deeply") from None


def _messages(given: Any) -> Iterator[api.Message]:
    """Instructions first, then what was said; the last message is the question."""
    if not isinstance(given, list) or not given:
        raise InvalidField("messages", "must be a list of at least one message")
    if len(given) > MOST_MESSAGES:
        raise InvalidField("messages", f"must be at most {MOST_MESSAGES}")
    messages = [_message(item, f"messages.{number}") for number, item in enumerate(given)]
    if messages[-1].author != api.AUTHOR_USER:
        raise InvalidField(f"messages.{len(given) - 1}.role", "must be user: the last message is what is answered")
    *before, question = messages
    question.context = False
    yield from (message for message in before if message.author == api.AUTHOR_SYSTEM)
    yield from (message for message in before if message.author != api.AUTHOR_SYSTEM and message.text)
    yield question


def _message(item: Any, place: str) -> api.Message:
    if not isinstance(item, dict):
        raise InvalidField(place, "must be an object")
    role = item.get("role")
    if not isinstance(role, str) or role not in AUTHORS:
        raise InvalidField(f"{place}.role", f"must be one of {', '.join(AUTHORS)}")
    if item.get("tool_calls") or item.get("function_call"):
        raise InvalidField(f"{place}.tool_calls", "is not supported here")
    text = _content(item.get("content"), f"{place}.content")
    if not text and role != "assistant":
        raise InvalidField(f"{place}.content", "is required")
    if len(text) > MOST_CHARACTERS:
        raise InvalidField(f"{place}.content", f"must be at most {MOST_CHARACTERS} characters")
    return api.Message(author=AUTHORS[role], text=text, context=True)


def _content(content: Any, place: str) -> str:
    """A text, or its parts."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else [None]
    texts = [part.get("text") if isinstance(part, dict) and part.get("type") == "text" else None for part in parts]
    if not all(isinstance(text, str) for text in texts):
        raise InvalidField(place, "must be text, or a list of parts of type text")
    return "\n".join(text for text in texts if isinstance(text, str))
