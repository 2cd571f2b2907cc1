"""Models that lie in a directory: which are whole, what they are called, and where the directory is."""

import json
from pathlib import Path

import pytest
from integration.models.pulling import MODEL, WEIGHTS, options

from fakes.hub import FakeHub
from malha.models.hub import HubOptions
from malha.models.pull import pull
from malha.models.store import ModelStore, default_models_directory
from malha.runtime.errors import FailedPrecondition, InvalidArgument, NotFound


async def test_verification_finds_what_changed(hub: FakeHub, store: ModelStore) -> None:
    path = await pull(MODEL, store, options(hub))
    (path / "model.bin").write_bytes(WEIGHTS[:-1] + b"!")
    (path / "config.json").write_bytes(b"{} ")
    (path / "vocabulary.txt").unlink()
    assert sorted(store.verify(MODEL.name)) == [
        "config.json: 3 bytes, not 2",
        "model.bin: not the SHA-256 it had when it was pulled",
        "vocabulary.txt: missing",
    ]
    assert store.find(MODEL.name) is None
    (path / "manifest.json").unlink()
    with pytest.raises(FailedPrecondition, match=r"no manifest\.json"):
        store.verify(MODEL.name)
    with pytest.raises(NotFound, match="`malha models pull whisper/base`"):
        store.verify("whisper/base")


def test_a_model_copied_by_hand_is_found(store: ModelStore) -> None:
    path = store.path("whisper/ours")
    path.mkdir(parents=True)
    for name in ("model.bin", "config.json", "tokenizer.json"):
        (path / name).touch()
        assert store.find("whisper/ours") is None
    (path / "vocabulary.json.0123456789ab.part").touch()
    assert store.find("whisper/ours") is None
    (path / "vocabulary.json").touch()
    assert store.find("whisper/ours") == path
    assert [(model.name, model.manifest) for model in store.list_local()] == [("whisper/ours", None)]


@pytest.mark.parametrize("name", ["", "whisper", "../x", "whisper/../x", "whisper/", "/whisper/tiny", "Other/tiny", "a/b/c"])
def test_what_is_no_name_leads_nowhere(store: ModelStore, name: str) -> None:
    with pytest.raises(InvalidArgument, match="family/variant"):
        store.find(name)


def test_models_lie_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALHA_MODELS_DIR", str(tmp_path))
    assert default_models_directory() == tmp_path == ModelStore().directory
    monkeypatch.setenv("MALHA_MODELS_DIR", "")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setattr("malha.models.store.SHARED_DIRECTORY", tmp_path / "srv")
    assert default_models_directory() == tmp_path / "malha" / "models"
    (tmp_path / "srv").mkdir()
    assert default_models_directory() == tmp_path / "srv"
    monkeypatch.setattr("os.access", lambda path, _: path != tmp_path / "srv")
    assert default_models_directory() == tmp_path / "malha" / "models"
    monkeypatch.delenv("MALHA_MODELS_DIR")
    (tmp_path / ".env").write_text(f"MALHA_MODELS_DIR={tmp_path / 'named'}\n")
    monkeypatch.chdir(tmp_path)
    assert default_models_directory() == tmp_path / "named"
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example")
    monkeypatch.setenv("HF_TOKEN", "secret")
    assert HubOptions.from_environment() == HubOptions(endpoint="https://mirror.example", token="secret")
    for wrong in ("mirror.example", "127.0.0.1:8080", "https://", "ftp://mirror.example"):
        monkeypatch.setenv("HF_ENDPOINT", wrong)
        with pytest.raises(FailedPrecondition, match="HF_ENDPOINT"):
            HubOptions.from_environment()


def test_weights_in_shards_are_whole_only_with_all_of_them(store: ModelStore) -> None:
    path = store.path("qwen2.5-14b-instruct-awq")
    assert path == store.directory / "qwen" / "qwen2.5-14b-instruct-awq"
    path.mkdir(parents=True)
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "model-00001-of-00002.safetensors"):
        (path / name).touch()
    assert store.find("qwen2.5-14b-instruct-awq") == path  # nothing says that there should be more
    index = path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}))
    assert store.find("qwen2.5-14b-instruct-awq") is None
    with pytest.raises(FailedPrecondition, match=r"malha models pull qwen2\.5-14b-instruct-awq"):
        store.get("qwen2.5-14b-instruct-awq")
    (path / "model-00002-of-00002.safetensors").touch()
    assert store.get("qwen/qwen2.5-14b-instruct-awq") == path
    index.write_text("[]")
    assert store.find("qwen/qwen2.5-14b-instruct-awq") is None
