"""The real vLLM goes on with an answer that was lost: the text is the one it would have given unbroken."""

from typing import Any

import pytest
from integration.chat.chatting import MODELS, Place

from fakes.tiny_qwen2_corpus import CHAT_PROMPT, TOPICS
from fakes.vllm import RunningVllm
from malha.api.chat.v1 import chat_pb2

pytestmark = [pytest.mark.vllm, pytest.mark.slow, pytest.mark.engine("vllm")]


async def ask(place: Place, said: str, received: str) -> tuple[list[str], chat_pb2.MessageEnd]:
    """The deltas of an answer."""
    talk = place.talk()
    await talk.open(parameters=chat_pb2.Parameters(temperature=0))
    await talk.say(CHAT_PROMPT, author=chat_pb2.AUTHOR_SYSTEM)
    await talk.say(said, received=received)
    deltas: list[str] = []
    while (event := await talk.read()).HasField("delta"):
        deltas.append(event.delta.text)
    await talk.finish()
    return deltas, event.message_end


async def test_wherever_it_was_lost_it_goes_on_as_if_it_had_not_been(
    serving: Any, vllm: RunningVllm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_MODEL_KEY", vllm.key)
    async with serving(vllm, MODELS.replace('"tiny"', f'"{vllm.model}"')) as place:
        for topic in TOPICS[:3]:
            said = f"Bom dia, {topic.said[0]}."
            deltas, whole = await ask(place, said, "")
            assert "".join(deltas) == topic.answer
            for count in range(1, len(deltas) + 1):
                received = "".join(deltas[:count])
                rest, end = await ask(place, said, received)
                assert received + "".join(rest) == topic.answer
                assert (end.finish_reason, end.degraded) == ("stop", False)
                assert end.completion_tokens <= whole.completion_tokens - count + 1  # the rest alone, and its end
