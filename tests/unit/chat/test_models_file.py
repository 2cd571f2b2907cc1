"""models.toml: what it says, and what is refused with its place and without its content."""

from pathlib import Path

import pytest

from malha.chat import models_file
from malha.chat.models_file import load_models, read_models
from malha.chat.settings import ChatSettings
from malha.runtime.errors import FailedPrecondition, NotFound
from malha.runtime.remote import read_key

BASE = """
default = "a"
aliases.a.deployment = "one"
[deployments.one]
engine = "openai"
base_url = "http://127.0.0.1:1/v1"
"""


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "models.toml"
    file.write_text(text)
    return file


def test_the_example_is_valid_and_routes_as_it_says() -> None:
    file = read_models(Path(models_file.__file__).with_name("models.example.toml"))
    alias = file.aliases[file.alias_for("", "chat")]
    assert alias.start("chat", 100) == "llm_int4"
    assert alias.start("chat", 2000) == "llm_fp16"
    assert alias.start("insight.risk_alert", 100) == "llm_fp16"
    assert file.chain("llm_int4") == ("llm_int4", "llm_fp16", "claude")
    assert file.deployments["llm_int4"].url == "http://127.0.0.1:8100/v1"
    assert file.alias_for("", "insight.partial_summary") == "paneas-v1"
    with pytest.raises(NotFound):
        file.alias_for("unknown", "chat")


def test_without_a_file_there_is_the_extractive_engine_and_the_server_that_is_set(tmp_path: Path) -> None:
    alone = load_models(ChatSettings(_env_file=None), tmp_path)
    assert (alone.default, alone.chain(alone.aliases[alone.default].deployment)) == ("extractive", ("extractive",))
    settings = ChatSettings(_env_file=None, chat_base_url="http://127.0.0.1:8100/v1", chat_model="m", chat_api_key_file=tmp_path / "key")
    one = load_models(settings, tmp_path)
    assert one.deployments["default"].model_name == "m"
    assert set(one.aliases) == {"default", "extractive"}
    written(tmp_path, BASE)
    assert load_models(settings, tmp_path).default == "a"


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (BASE + "modle = 'x'", "deployments.one.modle"),
        (BASE + "timeouts = { total_seconds = 0 }", "deployments.one.timeouts.total_seconds"),
        (BASE + "api_key = 'sk-very-secret'", "deployments.one"),
        (BASE + "fallback = 'nobody'", "deployments.one.fallback"),
        (BASE + "fallback = 'one'", "comes back"),
        (BASE + "fallback = 'two'\n[deployments.two]\nengine = 'anthropic'\nmodel='m'\nfallback = 'one'", "comes back"),
        (BASE + "key_env = 'A'\nkey_file = 'b'", "one of them"),
        (BASE + "max_tokens = 9000", "max_tokens"),
        (BASE + "continues = 'vllm'", "deployments.one.continues"),
        (BASE + "[deployments.quotes]\nengine = 'extractive'\ncontinues = true", "deployments.quotes"),
        (
            BASE + "[deployments.vectors]\nengine = 'openai'\nbase_url = 'http://a/v1'\nembeddings = true\ncontinues = true",
            "deployments.vectors",
        ),
        (BASE.replace("http://127", "http://user:sk-very-secret@127"), "base_url"),
        (BASE.replace("http:", "file:"), "base_url"),
        (BASE.replace('default = "a"', 'default = "b"'), "default"),
        ("embeddings = 'one'\n" + BASE, "embeddings"),
        ("purposes.chat = 'b'\n" + BASE, "purposes.chat"),
        (BASE.replace('"one"', '"two"', 1), "aliases.a"),
        ("x = = 3", "at line 1"),
        ("", "default"),
        (BASE + "[aliases.b]\ndeployment='one'\nrouting = { short_prompt_tokens = 5 }", "aliases.b.routing"),
    ],
)
def test_what_is_wrong_is_refused_with_its_place_and_no_value(tmp_path: Path, text: str, place: str) -> None:
    with pytest.raises(FailedPrecondition) as refused:
        read_models(written(tmp_path, text))
    assert refused.value.reason == "MODELS_FILE_INVALID"
    assert place in refused.value.message
    assert "sk-very-secret" not in refused.value.message + str(refused.value.violations)


def test_a_file_that_is_not_there_or_no_text_is_refused(tmp_path: Path) -> None:
    bad = tmp_path / "bad.toml"
    bad.write_bytes(b"\xff\xfe")
    for file in (tmp_path / "absent.toml", bad, tmp_path):
        with pytest.raises(FailedPrecondition) as refused:
            read_models(file)
        assert refused.value.reason == "MODELS_FILE_UNREADABLE"


def test_keys_come_from_files_of_their_owner_and_from_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = tmp_path / "key"
    key.touch(mode=0o600)
    with pytest.raises(FailedPrecondition):
        read_key(key)
    key.write_text(" sk-1 \n")
    assert read_key(key) == "sk-1"
    key.chmod(0o644)
    with pytest.raises(FailedPrecondition) as refused:
        read_key(key)
    assert refused.value.reason == "SECRET_FILE_OPEN"
    one = read_models(written(tmp_path, BASE + "key_env = 'SOME_KEY'")).deployments["one"]
    with pytest.raises(FailedPrecondition):
        one.key()
    monkeypatch.setenv("SOME_KEY", "sk-2")
    assert one.key() == "sk-2"
