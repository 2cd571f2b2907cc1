"""`malha serve llm` with the real vLLM, from models.toml: INT4 answers, the death of its engine, and answers that end before it does."""

import json
import os
import signal
import socket
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from integration.chat.serving import STOP_SECONDS, Serving, serving

from fakes.tiny_qwen2_corpus import CHAT_PROMPT, TOPICS
from fakes.vllm import MODELS, READY_SECONDS, TINY_INT4, need_vllm, vllm_environment

pytestmark = [pytest.mark.vllm, pytest.mark.slow, pytest.mark.engine("vllm")]

KEY = "s3cret"


@pytest.fixture
def alias(tmp_path: Path) -> str:
    """A models.toml in the data directory, with one alias."""
    need_vllm()
    key = tmp_path / "key"
    key.touch(mode=0o600)
    key.write_text(KEY)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    (tmp_path / "models.toml").write_text(
        f"""
        default = "paneas-v1"
        aliases.paneas-v1.deployment = "llm_int4"
        [deployments.llm_int4]
        engine = "openai"
        model = "tiny"
        key_file = "{key}"
        vllm = {{ model_dir = "{MODELS / TINY_INT4}", port = {port}, max_model_len = 4096 }}
        """
    )
    return "paneas-v1"


def test_it_serves_int4_survives_its_engine_and_lets_answers_end(tmp_path: Path, alias: str) -> None:
    with serving(tmp_path, alias, environment=vllm_environment() | {"MALHA_VLLM_DRAIN_SECONDS": "60"}) as running:
        first = running.ready(READY_SECONDS)
        assert first["model"] == "tiny"
        with httpx.Client(base_url=f"{first['base_url']}/", headers={"authorization": f"Bearer {KEY}"}, timeout=120) as client:
            answers = [_ask(client, f"Bom dia, {topic.said[0]}.") for topic in TOPICS]
        same = sum(answer == topic.answer for answer, topic in zip(answers, TOPICS, strict=True))
        assert same >= len(TOPICS) - 1, answers  # four bits may cost an answer, not the model
        assert httpx.get(f"{first['base_url']}/models", timeout=60).status_code == 401
        second = _kill_engine(running, first)
        _let_an_answer_end(running, second)


def _ask(client: httpx.Client, said: str) -> str:
    answer = client.post("chat/completions", json=_question(said))
    assert answer.status_code == 200, answer.text
    return answer.json()["choices"][0]["message"]["content"]


def _question(said: str, **fields: Any) -> dict[str, Any]:
    messages = [{"role": "system", "content": CHAT_PROMPT}, {"role": "user", "content": said}]
    return {"model": "tiny", "messages": messages, "temperature": 0, "max_tokens": 60, **fields}


def _kill_engine(running: Serving, ready: dict[str, Any]) -> dict[str, Any]:
    """vLLM's API server without its engine ends, and is started again."""
    engine = next(child for child in psutil.Process(ready["pid"]).children() if "EngineCore" in " ".join(child.cmdline()))
    engine.kill()
    again = running.ready(READY_SECONDS)
    assert again["pid"] != ready["pid"]
    assert again["base_url"] == ready["base_url"]
    return again


def _let_an_answer_end(running: Serving, ready: dict[str, Any]) -> None:
    """SIGTERM in the middle of a stream: the stream ends as it would have, then everything is gone."""
    family = [psutil.Process(ready["pid"]), *psutil.Process(ready["pid"]).children(recursive=True)]
    body = _question(f"Oi, {TOPICS[0].said[0]}.", stream=True, max_tokens=1500, ignore_eos=True)
    headers = {"authorization": f"Bearer {KEY}"}

    pieces = []
    with httpx.stream("POST", f"{ready['base_url']}/chat/completions", json=body, headers=headers, timeout=120) as response:
        for line in response.iter_lines():
            if not line:
                continue
            pieces.append(line.removeprefix("data: "))
            if len(pieces) == 20:  # once: a second signal ends at once
                os.kill(running.process.pid, signal.SIGTERM)
    assert pieces[-1] == "[DONE]"
    assert json.loads(pieces[-2])["choices"][0]["finish_reason"] == "length"
    assert running.process.wait(STOP_SECONDS) == 0
    psutil.wait_procs(family, timeout=STOP_SECONDS)
    assert not [process for process in family if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
