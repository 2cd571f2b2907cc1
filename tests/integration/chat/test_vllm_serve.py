"""`malha serve llm` with a program in vLLM's place: how it is started, kept alive and ended."""

import contextlib
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from integration.chat.serving import STOP_SECONDS, serving

from fakes import vllm_program

COMMAND = {"MALHA_VLLM_COMMAND": f"{sys.executable} {vllm_program.__file__}"}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    return folder


def how(ready: Mapping[str, Any]) -> dict[str, Any]:
    """How the program was started."""
    return httpx.get(f"{ready['base_url'].removesuffix('/v1')}/fake", timeout=30).json()


def gone(pid: int) -> bool:
    """Whether a process ends, soon."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        until = time.monotonic() + STOP_SECONDS
        while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            if time.monotonic() > until:
                return False
            time.sleep(0.02)
    return True


def test_it_is_kept_alive_and_keeps_its_port(tmp_path: Path, model: Path) -> None:
    with serving(tmp_path, "tiny", "--model", str(model), "--port", "0", environment=COMMAND) as running:
        first = running.ready()
        assert (first["deployment"], first["model"]) == ("tiny", "tiny")
        os.kill(first["pid"], signal.SIGKILL)
        second = running.ready()
        assert second["pid"] != first["pid"]
        assert second["base_url"] == first["base_url"]
        assert running.end() == 0
        assert gone(second["pid"])


def test_it_goes_with_malha_even_when_that_is_killed(tmp_path: Path, model: Path) -> None:
    with serving(tmp_path, "tiny", "--model", str(model), "--port", "0", environment=COMMAND) as running:
        pid = running.ready()["pid"]
        running.end(signal.SIGKILL)
        assert gone(pid)


def test_the_key_is_in_no_command_line_and_nothing_is_reported(tmp_path: Path, model: Path) -> None:
    key = tmp_path / "key"
    key.touch(mode=0o600)
    key.write_text("s3cret\n")
    options = ("--model", str(model), "--port", "0", "--api-key-file", str(key), "--quantization", "awq", "--max-model-len", "2048")
    with serving(tmp_path, "tiny", *options, environment=COMMAND) as running:
        started = how(running.ready())
        given, environment = started["arguments"], started["environment"]
        assert given[:2] == ["serve", str(model)]
        assert {"--enable-lora", "--disable-uvicorn-access-log"} <= set(given)
        values = dict(pairwise(given))
        assert (values["--host"], values["--served-model-name"]) == ("127.0.0.1", "tiny")
        assert (values["--quantization"], values["--max-model-len"]) == ("awq", "2048")
        assert json.loads(values["--structured-outputs-config"]) == {"backend": "guidance", "disable_any_whitespace": True}
        assert "s3cret" not in " ".join(given)
        assert environment["VLLM_API_KEY"] == "s3cret"
        assert environment["VLLM_NO_USAGE_STATS"] == environment["HF_HUB_OFFLINE"] == "1"
        assert not {"MALHA_READY_FD", "MALHA_PARENT_FD"} & environment.keys()
        assert running.end(signal.SIGINT) == 0


def test_an_alias_starts_all_that_may_answer_it(tmp_path: Path, model: Path) -> None:
    ports = [_free_port() for _ in range(2)]
    (tmp_path / "models.toml").write_text(
        f"""
        default = "paneas-v1"
        [aliases.paneas-v1]
        deployment = "fp16"
        routing = {{ short_prompt_tokens = 500, short = "llm_int4" }}
        [deployments.fp16]
        engine = "openai"
        model = "qwen"
        vllm = {{ model_dir = "{model}", port = {ports[0]} }}
        [deployments.llm_int4]
        engine = "openai"
        vllm = {{ model_dir = "{model}", served_name = "qwen-int4", port = {ports[1]}, quantization = "awq" }}
        """
    )
    with serving(tmp_path, environment=COMMAND) as running:
        ready = [running.ready(), running.ready()]
        assert [(one["deployment"], one["model"]) for one in ready] == [("fp16", "qwen"), ("llm_int4", "qwen-int4")]
        assert [one["base_url"] for one in ready] == [f"http://127.0.0.1:{port}/v1" for port in ports]
        assert running.end() == 0


@pytest.mark.parametrize("code", [2, 78])
def test_wrong_arguments_are_not_tried_again(tmp_path: Path, model: Path, code: int) -> None:
    environment = {**COMMAND, "MALHA_VLLM_ARGUMENTS": f"--fake-exit {code}"}
    with serving(tmp_path, "tiny", "--model", str(model), "--port", "0", environment=environment) as running:
        assert running.process.wait(STOP_SECONDS) == code


def test_what_is_missing_is_said(tmp_path: Path, model: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        cases = (
            (("tiny", "--model", str(tmp_path)), COMMAND, 78, "there is no config.json in it"),
            (("tiny", "--model", str(model)), {}, 78, "needs: pip install 'malha-services[vllm]'"),
            (("tiny", "--model", str(model), "--port", str(port)), COMMAND, 1, f"port {port} of 127.0.0.1 cannot be had"),
            (("unheard-of",), COMMAND, 78, "no vllm table for 'unheard-of'"),
            (("--port", "8100"), COMMAND, 2, "goes with --model"),
        )
        for arguments, environment, code, said in cases:
            with serving(tmp_path, *arguments, environment=environment) as running:
                assert running.process.wait(STOP_SECONDS) == code, arguments
            assert said in (tmp_path / "llm.log").read_text().splitlines()[-1]


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]
