"""Pulling a model from a hub on a local port that breaks off, lies, refuses and fails."""

import asyncio
import hashlib
import json
import random
import socket
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from fakes.hub import COMMIT, FakeHub
from malha.models import catalogue
from malha.models.answers import TransientStatusError
from malha.models.catalogue import Files
from malha.models.hub import HubOptions
from malha.models.part import disk_error
from malha.models.pull import Progress, needs_agreement, pull
from malha.models.store import ModelStore, default_models_directory
from malha.runtime.errors import (
    Aborted,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
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
    pins={"model.bin": hashlib.sha256(WEIGHTS).hexdigest()},
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


async def test_a_gated_model_says_what_to_do(store: ModelStore) -> None:
    async with FakeHub(MODEL.repository, FILES, gates={MODEL.repository: "secret"}) as hub:
        with pytest.raises(Unauthenticated, match=f"{hub.endpoint}/{MODEL.repository}, then set HF_TOKEN"):
            await pull(MODEL, store, options(hub))
        with pytest.raises(PermissionDenied, match=f"accept its conditions at {hub.endpoint}/{MODEL.repository} with the account"):
            await pull(MODEL, store, options(hub, token="another's"))
        assert store.find(MODEL.name) is None
        assert await pull(MODEL, store, options(hub, token="secret"))


GATED = replace(MODEL, gated=True)


async def test_a_licence_that_asks_is_agreed_to_once(hub: FakeHub, store: ModelStore) -> None:
    with pytest.raises(FailedPrecondition, match="--accept-licence whisper/tiny"):
        await pull(GATED, store, options(hub))
    assert not hub.requests
    assert needs_agreement(GATED, store)
    path = await pull(GATED, store, options(hub), agreed=True)
    assert not needs_agreement(GATED, store)
    agreed_at = json.loads((path / "manifest.json").read_text())["agreed_at"]
    assert agreed_at
    (path / "config.json").unlink()
    await pull(GATED, store, options(hub))  # to mend it, nobody is asked again
    assert json.loads((path / "manifest.json").read_text())["agreed_at"] == agreed_at
    other_terms = replace(GATED, terms=catalogue.LICENCES["CPML-1.0"])
    assert needs_agreement(other_terms, store)


async def test_a_branch_is_looked_up_once_and_stayed_with(hub: FakeHub, store: ModelStore) -> None:
    model = replace(MODEL, revision="main")
    path = await pull(model, store, options(hub))
    (path / "config.json").unlink()
    hub.requests.clear()
    await pull(model, store, options(hub))
    assert hub.asked(f"/revision/{COMMIT}")
    assert not hub.asked("/revision/main")


async def test_a_new_commit_in_the_catalogue_is_pulled(hub: FakeHub, store: ModelStore) -> None:
    path = await pull(MODEL, store, options(hub))
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps(manifest | {"commit": "f" * 40}))
    hub.requests.clear()
    await pull(MODEL, store, options(hub))
    assert hub.asked("/revision/")
    assert not hub.asked("resolve")  # the same files: nothing to fetch
    assert json.loads((path / "manifest.json").read_text()) == manifest


async def test_small_files_have_to_be_those_of_the_catalogue_too(hub: FakeHub, store: ModelStore) -> None:
    model = replace(MODEL, pins=MODEL.pins | {"config.json": hashlib.sha256(b"other").hexdigest()})
    with pytest.raises(Aborted, match=r"another config\.json than the catalogue's"):
        await pull(model, store, options(hub))
    assert store.find(MODEL.name) is None
    with pytest.raises(NotFound, match=r"has no scales\.bin"):
        await pull(replace(MODEL, pins={"scales.bin": "0" * 64}), store, options(hub))


async def test_files_in_folders_land_in_folders(hub: FakeHub, store: ModelStore) -> None:
    hub.files |= {"plda/plda.npz": WEIGHTS[:2_000], "plda/notes.txt": b"x", "deep/plda/plda.npz": b"x"}
    model = replace(MODEL, files=Files(required=("model.bin", "plda/*.npz")), pins={})
    path = await pull(model, store, options(hub))
    assert {str(entry.relative_to(path)) for entry in path.rglob("*") if entry.is_file()} == {"model.bin", "plda/plda.npz", "manifest.json"}
    assert store.verify(MODEL.name) == ()


@pytest.mark.parametrize("served", [WEIGHTS[:-1], WEIGHTS + b"more"], ids=["shorter", "longer"])
async def test_another_size_than_stated_is_refused_at_once(hub: FakeHub, store: ModelStore, served: bytes) -> None:
    hub.faults.served["model.bin"] = served
    with pytest.raises(Aborted, match=r"model\.bin is not as long as what the hub states"):
        await pull(MODEL, store, options(hub))
    assert len(hub.asked("/storage/model.bin")) == 1
    assert not list(store.path(MODEL.name).glob("model.bin*"))


async def test_a_part_that_begins_elsewhere_is_not_appended(hub: FakeHub, store: ModelStore) -> None:
    hub.faults.wrong_ranges = 1
    hub.faults.cut_after = [400_000]
    hub.files = {name: FILES[name] for name in ("model.bin", "config.json", "tokenizer.json", "vocabulary.txt")}
    part_of(store).parent.mkdir(parents=True)
    for name in ("config.json", "tokenizer.json", "vocabulary.txt"):
        (store.path(MODEL.name) / name).write_bytes(FILES[name])
    path = await pull(MODEL, store, options(hub))
    assert [request.headers.get("range") for request in hub.asked("/storage/model.bin")] == [None, "bytes=400000-", None]
    assert (path / "model.bin").read_bytes() == WEIGHTS


async def test_a_silent_server_is_left_and_asked_for_the_rest(hub: FakeHub, store: ModelStore) -> None:
    hub.faults.stall_after = [300_000]
    hub.files = {"model.bin": WEIGHTS}
    model = replace(MODEL, files=Files(required=("model.bin",)))
    path = await pull(model, store, replace(options(hub), read_seconds=1))
    assert [request.headers.get("range") for request in hub.asked("/storage/model.bin")] == [None, "bytes=300000-"]
    assert (path / "model.bin").read_bytes() == WEIGHTS


async def test_a_slow_server_is_waited_for(hub: FakeHub, store: ModelStore) -> None:
    hub.faults.trickle_seconds = 0.05
    await pull(MODEL, store, options(hub))
    assert len(hub.asked("/storage/model.bin")) == 1


async def test_a_file_that_is_listed_and_not_there_is_named(hub: FakeHub, store: ModelStore) -> None:
    hub.faults.unserved.add("tokenizer.json")
    with pytest.raises(NotFound, match="answers 404 for someone/whisper-tiny"):
        await pull(MODEL, store, options(hub))
    assert store.find(MODEL.name) is None


@pytest.mark.parametrize("headers", [{"Retry-After": "1"}, {"RateLimit": '"api";r=0;t=1'}], ids=["Retry-After", "RateLimit"])
async def test_a_hub_that_asks_to_wait_is_given_the_time(hub: FakeHub, store: ModelStore, headers: dict[str, str]) -> None:
    hub.faults.statuses[429] = 1
    hub.faults.retry_after = headers
    begin = time.monotonic()
    await pull(MODEL, store, options(hub))
    assert time.monotonic() - begin >= 1


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7),
        ({"Retry-After": "9999"}, 300),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0),
        ({"Retry-After": "Fri, 31 Dec 2199 23:59:59 GMT"}, 300),
        ({"Retry-After": "soon"}, 0),
        ({"RateLimit": '"resolvers";r=0;t=12'}, 12),
        ({}, 0),
    ],
)
def test_how_long_a_hub_asks_to_wait(headers: dict[str, str], seconds: float) -> None:
    response = httpx.Response(429, headers=headers)
    assert TransientStatusError(response).retry_after == seconds


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


FILLING = """
import asyncio, sys
from dataclasses import replace
from pathlib import Path
from malha.models import catalogue
from malha.models.hub import HubOptions
from malha.models.pull import pull
from malha.models.store import ModelStore
from malha.runtime.errors import MalhaError

endpoint, directory, commit = sys.argv[1:]
model = replace(catalogue.find("whisper/tiny"), repository="someone/whisper-tiny", revision=commit, pins={})
store, options = ModelStore(Path(directory) / "models"), HubOptions(endpoint=endpoint)
filler = Path(directory) / "filler"

def fill(progress):
    if not filler.exists():
        with filler.open("wb", buffering=0) as file:
            try:
                while file.write(bytes(65536)):
                    pass
            except OSError:
                pass

try:
    asyncio.run(pull(model, store, options, progress=fill))
except MalhaError as error:
    print(error.reason, flush=True)
filler.unlink()
asyncio.run(pull(model, store, options))
print(*store.verify("whisper/tiny"), "whole")
"""


async def test_a_disk_that_really_fills_up_leaves_what_came_to_go_on_from(hub: FakeHub, tmp_path: Path) -> None:
    unshare = ["unshare", "--user", "--map-root-user", "--mount"]
    probe = await asyncio.create_subprocess_exec(*unshare, "mount", "-t", "tmpfs", "tmpfs", str(tmp_path), stderr=DEVNULL)
    if await probe.wait():
        pytest.skip("this machine lets nobody mount a small disk")
    hub.faults.trickle_seconds = 0.02
    script = 'mount -t tmpfs -o size=18m tmpfs "$1" && shift && exec "$@"'
    command = [*unshare, "sh", "-c", script, "sh", str(tmp_path), sys.executable, "-c", FILLING, hub.endpoint, str(tmp_path), COMMIT]
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE)
    out, err = await process.communicate()
    assert out.decode().split() == ["DISK_FULL", "whole"], err.decode()


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


def test_the_token_may_lie_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.delenv("HF_TOKEN_PATH", raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    assert HubOptions.from_environment().token == ""
    (tmp_path / "token").write_text("of-the-hub's-own-tools\n")
    assert HubOptions.from_environment().token == "of-the-hub's-own-tools"
    (tmp_path / "ours").write_text("ours\n")
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "ours"))
    assert HubOptions.from_environment().token == "ours"
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "nowhere"))
    with pytest.raises(FailedPrecondition, match="HF_TOKEN_PATH names no file"):
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
