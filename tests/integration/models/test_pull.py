"""Pulling a model from a hub on a local port that breaks off, lies, refuses and fails."""

import asyncio
import hashlib
import json
import random
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from fakes.hub import COMMIT, FakeHub
from malha.models import catalogue
from malha.models.catalogue import Model, Pin
from malha.models.hub import HubOptions
from malha.models.part import disk_error
from malha.models.pull import Progress, pull
from malha.models.store import ModelStore, default_models_directory
from malha.runtime.errors import (
    Aborted,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
)

WEIGHTS = random.Random(1).randbytes(700_000)
FILES = {
    "model.bin": WEIGHTS,
    "config.json": b"{}",
    "tokenizer.json": b"[" + b" " * 5_000 + b"]",
    "vocabulary.txt": b"a\nb\n",
    "README.md": b"# not wanted",
}
MODEL = replace(
    catalogue.find("whisper/tiny"),
    repository="someone/whisper-tiny",
    revision=COMMIT,
    pins={"model.bin": Pin(len(WEIGHTS), hashlib.sha256(WEIGHTS).hexdigest())},
)


@pytest_asyncio.fixture
async def hub() -> AsyncIterator[FakeHub]:
    async with FakeHub(MODEL.repository, FILES) as serving:
        yield serving


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models")


def options(hub: FakeHub, **changes: object) -> HubOptions:
    return HubOptions(endpoint=hub.endpoint, pause_seconds=0.01, read_seconds=5, **changes)


def part_of(store: ModelStore) -> Path:
    return store.path(MODEL.name) / f"model.bin.{hashlib.sha256(WEIGHTS).hexdigest()[:12]}.part"


async def test_brings_the_files_with_a_manifest_and_progress(hub: FakeHub, store: ModelStore) -> None:
    seen: list[Progress] = []
    path = await pull(MODEL, store, options(hub), progress=seen.append)
    assert path == store.directory / "whisper" / "tiny" == store.find("whisper/tiny")
    names = {"model.bin", "config.json", "tokenizer.json", "vocabulary.txt"}
    assert {entry.name for entry in path.iterdir()} == names | {"manifest.json"}
    assert all((path / name).read_bytes() == FILES[name] for name in names)
    manifest = json.loads((path / "manifest.json").read_text())
    assert (manifest["repository"], manifest["commit"], manifest["licence"]) == (MODEL.repository, COMMIT, "MIT")
    assert {file["path"]: (file["size_bytes"], file["sha256"]) for file in manifest["files"]} == {
        name: (len(FILES[name]), hashlib.sha256(FILES[name]).hexdigest()) for name in names
    }
    assert seen[-1].done_bytes == seen[-1].total_bytes == sum(len(FILES[name]) for name in names)
    assert store.verify("whisper/tiny") == ()
    (local,) = store.list_local()
    assert (local.name, local.manifest.commit) == ("whisper/tiny", COMMIT)


async def test_a_pulled_model_is_not_asked_for_again(hub: FakeHub, store: ModelStore) -> None:
    await pull(MODEL, store, options(hub))
    asked = len(hub.requests)
    await pull(MODEL, store, options(hub))
    assert len(hub.requests) == asked


@pytest.mark.parametrize("damage", [None, b"{]"])
async def test_only_what_is_missing_or_damaged_is_fetched_again(hub: FakeHub, store: ModelStore, damage: bytes | None) -> None:
    path = await pull(MODEL, store, options(hub))
    (path / "config.json").unlink()
    if damage is not None:
        (path / "config.json").write_bytes(damage)
    hub.requests.clear()
    await pull(MODEL, store, options(hub))
    assert [request.path.rpartition("/")[2] for request in hub.asked("resolve")] == ["config.json"]
    assert store.verify(MODEL.name) == ()


async def test_goes_on_where_a_connection_broke(hub: FakeHub, store: ModelStore) -> None:
    model = replace(MODEL, name="whisper/cut")
    hub.files = {name: FILES[name] for name in ("model.bin", "config.json", "tokenizer.json", "vocabulary.txt")}
    path = store.path(model.name)
    path.mkdir(parents=True)
    for name in ("config.json", "tokenizer.json", "vocabulary.txt"):
        (path / name).write_bytes(FILES[name])
    hub.faults.cut_after = [400_000, 200_000]
    seen: list[Progress] = []
    await pull(model, store, options(hub), progress=seen.append)
    ranges = [request.headers.get("range") for request in hub.asked("/storage/model.bin")]
    assert ranges == [None, "bytes=400000-", "bytes=600000-"]
    assert (path / "model.bin").read_bytes() == WEIGHTS
    assert [progress.done_bytes for progress in seen] == sorted(progress.done_bytes for progress in seen)


async def test_goes_on_where_an_earlier_process_ended(hub: FakeHub, store: ModelStore) -> None:
    part_of(store).parent.mkdir(parents=True)
    part_of(store).write_bytes(WEIGHTS[:500_000])
    path = await pull(MODEL, store, options(hub))
    assert [request.headers.get("range") for request in hub.asked("/storage/model.bin")] == ["bytes=500000-"]
    assert (path / "model.bin").read_bytes() == WEIGHTS
    assert not part_of(store).exists()


@pytest.mark.parametrize("left", [b"x" * 1_000, b"x" * len(WEIGHTS), WEIGHTS + b"more"])
async def test_a_rotten_rest_of_an_earlier_try_is_thrown_away(hub: FakeHub, store: ModelStore, left: bytes) -> None:
    part_of(store).parent.mkdir(parents=True)
    part_of(store).write_bytes(left)
    path = await pull(MODEL, store, options(hub))
    assert (path / "model.bin").read_bytes() == WEIGHTS


async def test_a_hub_that_cannot_resume_is_read_from_the_start(hub: FakeHub, store: ModelStore) -> None:
    hub.faults.ignore_range = True
    hub.faults.cut_after = [400_000]
    part_of(store).parent.mkdir(parents=True)
    part_of(store).write_bytes(WEIGHTS[:100_000])
    path = await pull(MODEL, store, options(hub))
    assert (path / "model.bin").read_bytes() == WEIGHTS


@pytest.mark.parametrize("name", ["model.bin", "config.json"])
async def test_wrong_content_is_refused_and_leaves_nothing(hub: FakeHub, store: ModelStore, name: str) -> None:
    hub.faults.corrupt[name] = 1
    with pytest.raises(Aborted, match=f"{name} does not have the digest"):
        await pull(MODEL, store, options(hub))
    assert store.find(MODEL.name) is None
    assert not list(store.path(MODEL.name).glob(f"{name}*"))
    path = await pull(MODEL, store, options(hub))
    assert (path / "model.bin").read_bytes() == WEIGHTS


async def test_other_weights_than_the_catalogues_are_not_even_fetched(hub: FakeHub, store: ModelStore) -> None:
    hub.files["model.bin"] = WEIGHTS[::-1]
    with pytest.raises(Aborted, match=r"another model\.bin than the catalogue's"):
        await pull(MODEL, store, options(hub))
    assert not hub.asked("resolve")


async def test_another_commit_than_the_pinned_one_is_refused(hub: FakeHub, store: ModelStore) -> None:
    with pytest.raises(NotFound):
        await pull(replace(MODEL, revision="f" * 40), store, options(hub))
    path = await pull(replace(MODEL, revision="main"), store, options(hub))
    assert json.loads((path / "manifest.json").read_text())["commit"] == COMMIT


async def test_passing_failures_are_waited_out(hub: FakeHub, store: ModelStore) -> None:
    hub.faults.statuses.update({503: 2, 429: 1})
    assert await pull(MODEL, store, options(hub))


async def test_lasting_failures_end_in_one_line(hub: FakeHub, store: ModelStore) -> None:
    hub.faults.statuses[503] = 100
    with pytest.raises(Unavailable, match="answers 503 again and again"):
        await pull(MODEL, store, options(hub, attempts=3))
    assert len(hub.requests) == 3


async def test_what_the_hub_does_not_have(hub: FakeHub, store: ModelStore) -> None:
    with pytest.raises(NotFound, match="answers 404"):
        await pull(replace(MODEL, repository="someone/else"), store, options(hub))
    del hub.files["tokenizer.json"]
    with pytest.raises(NotFound, match=r"has no tokenizer\.json"):
        await pull(MODEL, store, options(hub))


@pytest.mark.parametrize("path", ["../vocabulary.txt", "/etc/vocabulary.txt", "a/../../x", "vocabulary\\..\\x", "vocabulary.\ntxt", ""])
async def test_a_file_outside_the_repository_spoils_the_whole(hub: FakeHub, store: ModelStore, path: str) -> None:
    hub.faults.extra_files.append({"type": "file", "path": path, "oid": "a" * 40, "size": 4})
    with pytest.raises(Aborted, match="outside its repository"):
        await pull(MODEL, store, options(hub))
    assert not store.directory.exists()


@pytest.mark.parametrize(
    "entry", [{"oid": "../../x", "size": 4}, {"oid": "a" * 40}, {"oid": "a" * 40, "size": -1}, {"oid": "a" * 40, "size": "4"}]
)
async def test_a_file_without_size_or_digest_spoils_the_whole(hub: FakeHub, store: ModelStore, entry: dict[str, object]) -> None:
    hub.faults.extra_files.append({"type": "file", "path": "vocabulary.json"} | entry)
    with pytest.raises(Aborted, match="without its size or digest"):
        await pull(MODEL, store, options(hub))


async def test_folders_of_a_repository_are_left_alone(hub: FakeHub, store: ModelStore) -> None:
    hub.files["vocabulary.d/x"] = b"x"
    path = await pull(MODEL, store, options(hub))
    assert not (path / "vocabulary.d").exists()


async def test_the_token_is_sent_to_the_hub_alone(store: ModelStore) -> None:
    async with FakeHub(MODEL.repository, FILES, token="secret") as hub:
        with pytest.raises(Unauthenticated, match="HF_TOKEN"):
            await pull(MODEL, store, options(hub))
        given = options(hub, token="secret")
        assert "secret" not in repr(given)
        await pull(MODEL, store, given)
        assert hub.asked("/storage/")
        assert not any("authorization" in request.headers for request in hub.asked("/storage/"))
        hub.faults.next_page = hub._url(1) + "/elsewhere"
        with pytest.raises(Aborted, match="another host"):
            await pull(MODEL, ModelStore(store.directory / "other"), given)
        assert not hub.asked("elsewhere")


async def test_no_hub_in_reach_is_one_line(store: ModelStore) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: a connection is refused
        endpoint = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(Unavailable, match="no model hub in reach at http") as caught:
            await pull(MODEL, store, HubOptions(endpoint=endpoint, pause_seconds=0.01, attempts=2))
    assert "\n" not in caught.value.message
    assert not store.directory.exists()


async def test_a_server_that_is_no_hub(store: ModelStore) -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\n<html>")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
        endpoint = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        with pytest.raises(Unavailable, match="not as a model hub does"):
            await pull(MODEL, store, HubOptions(endpoint=endpoint))


async def test_a_full_disk_names_the_bytes_needed(hub: FakeHub, store: ModelStore) -> None:
    """Nothing holds 2**60 bytes, and nothing of it is fetched."""
    hub.faults.extra_files.append({"type": "file", "path": "vocabulary.json", "oid": "a" * 40, "size": 2**60})
    with pytest.raises(ResourceExhausted, match=f"{2**60 + 705_008} more bytes are needed"):
        await pull(MODEL, store, options(hub))
    assert not hub.asked("resolve")


def test_a_disk_that_fills_up_meanwhile_is_told_likewise(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left") as caught, Path("/dev/full").open("wb", buffering=0) as full:
        full.write(b"x")
    told = disk_error(caught.value, tmp_path / "model.bin", 12_345)
    assert isinstance(told, ResourceExhausted)
    assert "12345 more bytes are needed" in told.message


async def test_a_place_that_cannot_be_written_names_the_setting(hub: FakeHub, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FailedPrecondition, match="set MALHA_MODELS_DIR"):
        await pull(MODEL, ModelStore(tmp_path / "file"), options(hub))


async def test_two_pulls_of_one_model_do_not_meet(hub: FakeHub, store: ModelStore) -> None:
    results = await asyncio.gather(pull(MODEL, store, options(hub)), pull(MODEL, store, options(hub)), return_exceptions=True)
    refused = [result for result in results if isinstance(result, Aborted)]
    assert len(refused) == 1
    assert "another process is pulling" in refused[0].message
    assert store.verify(MODEL.name) == ()


async def test_a_cancelled_pull_goes_on_later(hub: FakeHub, store: ModelStore) -> None:
    begun = asyncio.Event()
    task = asyncio.create_task(pull(MODEL, store, options(hub), progress=lambda _: begun.set()))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert store.find(MODEL.name) is None
    await pull(MODEL, store, options(hub))
    assert store.verify(MODEL.name) == ()


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


@pytest.mark.parametrize("name", ["", "whisper", "../x", "whisper/../x", "whisper/", "/whisper/tiny", "Whisper/Tiny", "a/b/c"])
def test_what_is_no_name_leads_nowhere(store: ModelStore, name: str) -> None:
    with pytest.raises(InvalidArgument, match="family/variant"):
        store.find(name)


def test_the_catalogue_is_whole() -> None:
    assert list(catalogue.MODELS) == [f"whisper/{size}" for size in ("tiny", "base", "small", "medium", "large-v3", "turbo")]
    for name, model in catalogue.MODELS.items():
        assert isinstance(model, Model)
        assert model.name == name
        assert model.licence == "MIT"
        assert len(model.revision) == 40
        assert len(model.pins["model.bin"].sha256) == 64
        assert 0 < model.size_bytes - model.pins["model.bin"].size_bytes < 5_000_000
    with pytest.raises(NotFound, match="whisper/small"):
        catalogue.find("whisper/huge")


def test_models_lie_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALHA_MODELS_DIR", str(tmp_path))
    assert default_models_directory() == tmp_path == ModelStore().directory
    monkeypatch.setenv("MALHA_MODELS_DIR", "")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert default_models_directory() in {Path("/srv/models"), tmp_path / "malha" / "models"}
    monkeypatch.delenv("MALHA_MODELS_DIR")
    (tmp_path / ".env").write_text(f"MALHA_MODELS_DIR={tmp_path / 'named'}\n")
    monkeypatch.chdir(tmp_path)
    assert default_models_directory() == tmp_path / "named"
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example")
    monkeypatch.setenv("HF_TOKEN", "secret")
    assert HubOptions.from_environment() == HubOptions(endpoint="https://mirror.example", token="secret")
