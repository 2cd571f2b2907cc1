"""Pulls that break off, stand still, are given up or meet: the next goes on from what came."""

import asyncio
from dataclasses import replace

import pytest
from integration.models.pulling import FILES, MODEL, WEIGHTS, options, part_of

from fakes.hub import FakeHub
from malha.models.catalogue import Files
from malha.models.pull import Progress, pull
from malha.models.store import ModelStore
from malha.runtime.errors import Aborted


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
