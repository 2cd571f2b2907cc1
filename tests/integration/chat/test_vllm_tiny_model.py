"""The real vLLM with the tests' tiny model: what other tests rely on when they ask it."""

import json
from typing import Any

import httpx
import pytest

from fakes.tiny_qwen2_corpus import CHAT_PROMPT, JSON_PROMPT, TOPICS
from fakes.vllm import POSITIONS, RunningVllm

pytestmark = [pytest.mark.vllm, pytest.mark.slow, pytest.mark.engine("vllm")]

INSIGHT = {
    "type": "object",
    "properties": {
        "type": {"type": "string", "enum": ["summary", "next_step", "risk_alert", "upsell"]},
        "message": {"type": "string", "maxLength": 200},
        "confidence": {"type": "number", "minimum": 0, "maximum": 1, "multipleOf": 0.01},  # else digits can go on without end
        "evidence": {"type": "array", "items": {"type": "string", "maxLength": 40}, "maxItems": 4},
    },
    "required": ["type", "message", "confidence", "evidence"],
    "additionalProperties": False,
}


def ask(server: RunningVllm, system: str, user: str, **fields: Any) -> dict[str, Any]:
    messages = [{"role": "system", "content": system}, {"role": "user", "content": user}]
    body = {"model": server.model, "messages": messages, "temperature": 0, "max_tokens": 200, **fields}
    response = httpx.post(f"{server.base_url}/chat/completions", json=body, headers=server.headers, timeout=120)
    assert response.status_code == 200, response.text
    return response.json()


def text(answer: dict[str, Any]) -> str:
    return answer["choices"][0]["message"]["content"]


def test_it_answers_in_portuguese_and_tells_what_it_used(vllm: RunningVllm) -> None:
    for topic in TOPICS:
        answer = ask(vllm, CHAT_PROMPT, f"Bom dia, {topic.said[0]}.")
        assert text(answer) == topic.answer
        assert answer["choices"][0]["finish_reason"] == "stop"
        assert 0 < answer["usage"]["completion_tokens"] < 60


@pytest.mark.parametrize("said", ["quero cancelar o contrato", "", "ação ção " * 400, '"}],"x":"\\u0000\n'])
def test_a_schema_is_always_obeyed(vllm: RunningVllm, said: str) -> None:
    question = json.dumps([{"id": "s1", "role": "CUSTOMER", "text": said}], ensure_ascii=False)
    wanted = {"type": "json_schema", "json_schema": {"name": "insight", "schema": INSIGHT, "strict": True}}
    answer = ask(vllm, JSON_PROMPT, question, response_format=wanted, max_tokens=600)
    assert answer["choices"][0]["finish_reason"] == "stop"
    insight = json.loads(text(answer))
    assert insight.keys() == INSIGHT["properties"].keys()
    assert insight["type"] in INSIGHT["properties"]["type"]["enum"]
    assert 0 <= insight["confidence"] <= 1
    assert len(insight["message"]) <= 200
    assert text(answer) == json.dumps(insight, ensure_ascii=False, separators=(",", ":")), "no whitespace between the parts"


def test_a_taught_question_has_a_taught_insight(vllm: RunningVllm) -> None:
    question = json.dumps(
        [{"id": "s1", "role": "CUSTOMER", "text": "Bom dia, quero cancelar o contrato."}], ensure_ascii=False, separators=(",", ":")
    )
    wanted = {"type": "json_schema", "json_schema": {"name": "insight", "schema": INSIGHT}}
    insight = json.loads(text(ask(vllm, JSON_PROMPT, question, response_format=wanted)))
    assert (insight["type"], insight["message"]) == ("risk_alert", "O cliente ameaça cancelar o contrato.")


def test_it_streams(vllm: RunningVllm) -> None:
    body = {
        "model": vllm.model,
        "messages": [{"role": "system", "content": CHAT_PROMPT}, {"role": "user", "content": f"Oi, {TOPICS[1].said[0]}."}],
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
        "cache_salt": "tenant",
    }
    with httpx.stream("POST", f"{vllm.base_url}/chat/completions", json=body, headers=vllm.headers, timeout=120) as response:
        lines = [line.removeprefix("data: ") for line in response.iter_lines() if line]
    assert lines[-1] == "[DONE]"
    chunks = [json.loads(line) for line in lines[:-1]]
    assert "".join(choice["delta"].get("content", "") for chunk in chunks for choice in chunk["choices"]) == TOPICS[1].answer
    assert chunks[-1]["usage"]["completion_tokens"] > 5


def test_it_lists_its_model_and_asks_for_its_key(vllm: RunningVllm) -> None:
    (model,) = httpx.get(f"{vllm.base_url}/models", headers=vllm.headers, timeout=60).json()["data"]
    assert (model["id"], model["max_model_len"]) == (vllm.model, POSITIONS)
    assert httpx.get(f"{vllm.base_url}/models", timeout=60).status_code == 401


def test_its_log_holds_nothing_of_what_was_asked(vllm: RunningVllm) -> None:
    ask(vllm, CHAT_PROMPT, "Bom dia, meu cpf é 529.982.247-25.")
    httpx.post(f"{vllm.base_url}/chat/completions", json={"messages": "529.982.247-25"}, headers=vllm.headers, timeout=60)
    assert "529.982" not in vllm.log.read_text(errors="replace")
