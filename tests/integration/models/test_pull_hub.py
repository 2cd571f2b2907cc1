"""Pulling from a hub that lies, refuses, fails, asks to wait, or is none."""

import asyncio
import socket
import time
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from integration.models.pulling import FILES, MODEL, WEIGHTS, options

from fakes.hub import FakeHub
from malha.models.answers import TransientStatusError
from malha.models.hub import HubOptions
from malha.models.pull import pull
from malha.models.store import ModelStore
from malha.runtime.errors import Aborted, FailedPrecondition, NotFound, Unauthenticated, Unavailable


@pytest.mark.parametrize("name", ["model.bin", "config.json"])
async def test_wrong_content_is_refused_and_leaves_nothing(hub: FakeHub, store: ModelStore, name: str) -> None:
    hub.faults.corrupt[name] = 1
    with pytest.raises(Aborted, match=f"{name} does not have the digest"):
        await pull(MODEL, store, options(hub))
    assert store.find(MODEL.name) is None
    assert not list(store.path(MODEL.name).glob(f"{name}*"))
    path = await pull(MODEL, store, options(hub))
    assert (path / "model.bin").read_bytes() == WEIGHTS


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


@pytest.mark.parametrize("served", [WEIGHTS[:-1], WEIGHTS + b"more"], ids=["shorter", "longer"])
async def test_another_size_than_stated_is_refused_at_once(hub: FakeHub, store: ModelStore, served: bytes) -> None:
    hub.faults.served["model.bin"] = served
    with pytest.raises(Aborted, match=r"model\.bin is not as long as what the hub states"):
        await pull(MODEL, store, options(hub))
    assert len(hub.asked("/storage/model.bin")) == 1
    assert not list(store.path(MODEL.name).glob("model.bin*"))


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
