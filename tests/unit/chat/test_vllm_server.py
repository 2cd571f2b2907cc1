"""What `malha serve llm` takes from models.toml, and the command that comes of it."""

import json
import os
import socket
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from malha.chat.models_file import ModelsFile
from malha.chat.vllm_served import Served, served_by
from malha.chat.vllm_server import command, environment, free_port, program, spec
from malha.chat.vllm_settings import VllmSettings
from malha.runtime.errors import FailedPrecondition, Unavailable


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return _model(tmp_path / "model")


def _model(folder: Path) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    return folder


def _adapter(folder: Path, rank: object) -> Path:
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"r": rank}))
    return folder


def _models(deployments: dict[str, Any], **aliases: Any) -> ModelsFile:
    entries = {name: {"engine": "openai", **entry} for name, entry in deployments.items()}
    return ModelsFile.model_validate({"default": next(iter(aliases)), "aliases": aliases, "deployments": entries})


def _settings(**given: Any) -> VllmSettings:
    return VllmSettings(_env_file=None, **{"vllm_command": "vllm", **given})


def test_an_alias_is_all_that_may_be_asked_first(model: Path) -> None:
    vllm = {"model_dir": model}
    models = _models(
        {
            "fp16": {"model": "qwen", "vllm": {**vllm, "port": 8100}},
            "int4": {"vllm": {**vllm, "served_name": "qwen-int4", "port": 8101, "quantization": "awq", "max_model_len": 2048}},
            "cloud": {"base_url": "https://example.com/v1", "model": "big"},
        },
        v1={"deployment": "fp16", "routing": {"short": "int4", "short_prompt_tokens": 100}},
        v2={"deployment": "cloud", "routing": {"critical": "fp16", "critical_purposes": ["alert"]}},
        v3={"deployment": "cloud"},
    )
    both = [("fp16", ("qwen",), 8100, "", None), ("int4", ("qwen-int4",), 8101, "awq", 2048)]
    for name in ("", "v1"):
        found = [(one.name, one.served_names, one.port, one.quantization, one.max_model_len) for one in served_by(models, name)]
        assert found == both
    assert [one.name for one in served_by(models, "v2")] == ["fp16"]
    assert [one.name for one in served_by(models, "int4")] == ["int4"]
    for name in ("v3", "cloud", "nothing"):
        with pytest.raises(FailedPrecondition, match="there are v1, v2, fp16, int4"):
            served_by(models, name)


def test_deployments_of_one_port_are_one_server(tmp_path: Path, model: Path) -> None:
    adapter = _adapter(tmp_path / "adapter", 8)
    vllm = {"model_dir": model, "lora": {"sales": adapter}}
    shared = {"base": {"model": "qwen", "vllm": {"model_dir": model}}, "tuned": {"model": "sales", "vllm": vllm}}
    for first, second, names in (("base", "tuned", ("qwen", "tuned")), ("tuned", "base", ("tuned", "qwen"))):
        alias = {"deployment": first, "routing": {"short": second, "short_prompt_tokens": 9}}
        (one,) = served_by(_models(shared, v1=alias), "v1")
        assert one.name == first
        assert one.served_names == names, "an adapter's name is not the model's"
        assert one.adapters == {"sales": adapter}
        given = command(one, _settings(), 1)
        place = given.index("--served-model-name")
        assert given[place + 1 : place + 3] == names
    for odd in ({"model_dir": _model(tmp_path / "other")}, {**vllm, "max_model_len": 9}):
        with pytest.raises(FailedPrecondition, match=r"base and tuned share a vllm\.port"):
            served_by(
                _models(
                    {**shared, "tuned": {"vllm": odd}},
                    v1={**alias, "deployment": "base", "routing": {"short": "tuned", "short_prompt_tokens": 9}},
                ),
                "v1",
            )


def test_the_key_is_the_one_that_chat_sends(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLM_KEY", "s3cret")
    models = _models({"fp16": {"model": "qwen", "key_env": "LLM_KEY", "vllm": {"model_dir": model}}}, v1={"deployment": "fp16"})
    (one,) = served_by(models, "v1")
    assert environment(one)["VLLM_API_KEY"] == "s3cret"
    assert "s3cret" not in repr(one) + " ".join(command(one, _settings(), 1))
    assert "VLLM_API_KEY" not in environment(Served("a", model, ("a",), 0))


@pytest.mark.parametrize(("ranks", "highest"), [((), "16"), ((4,), "16"), ((17, 8), "32"), ((512,), "512")])
def test_adapters_decide_the_highest_rank(tmp_path: Path, model: Path, ranks: tuple[int, ...], highest: str) -> None:
    adapters = {f"a{rank}": _adapter(tmp_path / f"a{rank}", rank) for rank in ranks}
    given = command(Served("qwen", model, ("qwen",), 0, adapters=adapters), _settings(), 1)
    assert dict(pairwise(given))["--max-lora-rank"] == highest
    assert {f"{name}={place}" for name, place in adapters.items()} <= set(given)
    assert ("--lora-modules" in given) == bool(ranks)


def test_what_is_no_model_or_adapter_is_refused_at_once(tmp_path: Path, model: Path) -> None:
    with pytest.raises(FailedPrecondition, match=r"no config\.json"):
        Served("qwen", tmp_path, ("qwen",), 0)
    for rank in (513, None, "many"):
        place = _adapter(tmp_path / str(rank), rank)
        with pytest.raises(FailedPrecondition, match="rank"):
            Served("qwen", model, ("qwen",), 0, adapters={"a": place})
    with pytest.raises(FailedPrecondition, match="no LoRA adapter"):
        Served("qwen", model, ("qwen",), 0, adapters={"a": tmp_path / "absent"})


def test_the_arguments_of_the_settings_come_last(model: Path) -> None:
    given = command(
        Served("qwen", model, ("qwen",), 0), _settings(vllm_arguments="--port 9 --kv-cache-dtype 'fp 8'", vllm_drain_seconds=7), 8100
    )
    assert given[:3] == ("vllm", "serve", str(model))
    assert given[-4:] == ("--port", "9", "--kv-cache-dtype", "fp 8")
    assert dict(pairwise(given))["--shutdown-timeout"] == "7"
    assert not {"--quantization", "--max-model-len"} & set(given)
    with pytest.raises(ValueError, match="quotation"):
        _settings(vllm_arguments="'")


def test_vllm_is_looked_for_in_this_environment_then_in_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "python"))
    with pytest.raises(FailedPrecondition, match=r"pip install 'malha-services\[vllm\]'") as refused:
        program(_settings(vllm_command=""))
    assert refused.value.reason == "MISSING_EXTRA"
    for place in (tmp_path / ".venvs/vllm/bin/vllm", tmp_path / "bin/vllm"):
        place.parent.mkdir(parents=True)
        place.touch(mode=0o755)
        place.with_name("python").touch(mode=0o755)
        assert program(_settings(vllm_command="")) == (str(place),)
    assert program(_settings(vllm_command="nice -n 5 vllm")) == ("nice", "-n", "5", "vllm")


def test_an_environment_that_is_being_made_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "python"))
    programs = tmp_path / ".venvs/vllm/bin"
    programs.mkdir(parents=True)
    (programs / "vllm").touch(mode=0o755)
    (programs / "python3").touch(mode=0o755)
    with pytest.raises(FailedPrecondition, match="needs"):
        program(_settings(vllm_command=""))


def test_a_taken_port_is_refused(model: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Unavailable) as refused:
            spec(Served("qwen", model, ("qwen",), port), _settings())
        assert refused.value.reason == "PORT_TAKEN"
    assert free_port(0) > 0
    child = spec(Served("qwen", model, ("qwen",), 0), _settings(vllm_drain_seconds=20))
    assert child.name == "qwen"
    assert child.stop_seconds > 20
    assert str(os.getpid()) in child.command
