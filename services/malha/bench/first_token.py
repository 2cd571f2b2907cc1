"""How much later the first token of an answer comes through Malha than from the model's server itself: the same question to both, in turns."""

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import ascii_lowercase
from time import perf_counter
from typing import Any, Final

import httpx
import orjson

from malha.runtime.errors import Unavailable

WARM_PAIRS: Final = 5
"""Not counted."""
ANSWER_TOKENS: Final = 8
ANSWER_SECONDS: Final = 60.0
INSTRUCTIONS: Final = "You are the assistant of a contact centre. Answer in the language of the question, briefly and truthfully."
"""Without any, Malha would send its own: the model would read another prompt than it is asked directly."""


@dataclass(frozen=True, slots=True)
class Door:
    """A way to the model."""

    url: str
    """Of chat completions."""
    model: str
    token: str = ""

    @property
    def headers(self) -> Mapping[str, str]:
        return {"authorization": f"Bearer {self.token}"} if self.token else {}


async def first_tokens(through: Door, direct: Door, pairs: int) -> list[tuple[float, float]]:
    """Milliseconds to the first token, (through Malha, direct), of as many pairs. Raises Unavailable where one does not answer."""
    times: list[tuple[float, float]] = []
    async with httpx.AsyncClient(timeout=ANSWER_SECONDS, trust_env=False) as client:
        for number in range(WARM_PAIRS + pairs):
            doors: Sequence[Door] = (through, direct) if number % 2 else (direct, through)
            took = {door.url: await _first_token(client, door) for door in doors}
            if number >= WARM_PAIRS:
                times.append((took[through.url], took[direct.url]))
    return times


async def _first_token(client: httpx.AsyncClient, door: Door) -> float:
    # a nonce in front: neither a cache of answers nor one of prefixes knows it. Of letters: few questions hold digits, which are looked at for whose they are
    question = f"{''.join(secrets.choice(ascii_lowercase) for _ in range(16))}: bom dia, a internet cai toda noite."
    messages = [{"role": "system", "content": INSTRUCTIONS}, {"role": "user", "content": question}]
    body: dict[str, Any] = {"model": door.model, "messages": messages, "stream": True}
    body |= {"max_tokens": ANSWER_TOKENS, "temperature": 0}
    begin = perf_counter()
    try:
        async with client.stream("POST", door.url, json=body, headers=dict(door.headers)) as answer:
            answer.raise_for_status()
            took = None
            async for line in answer.aiter_lines():
                if took is None and _has_text(line):
                    took = (perf_counter() - begin) * 1e3
    except httpx.HTTPError as error:
        told = error.response.status_code if isinstance(error, httpx.HTTPStatusError) else type(error).__name__
        raise Unavailable(f"{door.url} did not answer ({told})", reason="CHAT_FAILED") from error
    if took is None:
        raise Unavailable(f"{door.url} answered without a token", reason="CHAT_EMPTY")
    return took


def _has_text(line: str) -> bool:
    if not line.startswith("data: {"):
        return False
    choices = orjson.loads(line.removeprefix("data: ")).get("choices") or [{}]
    return bool((choices[0].get("delta") or {}).get("content"))


def run_first_tokens(through: Door, direct: Door, pairs: int) -> list[tuple[float, float]]:
    """As ``first_tokens``, from outside an event loop."""
    return asyncio.run(first_tokens(through, direct, pairs))
