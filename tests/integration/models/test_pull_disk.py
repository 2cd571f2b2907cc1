"""Pulling onto a disk that is full, fills up, or cannot be written."""

import asyncio
import sys
from asyncio.subprocess import DEVNULL, PIPE
from pathlib import Path

import pytest
from integration.models.pulling import MODEL, options

from fakes.hub import COMMIT, FakeHub
from malha.models.part import disk_error
from malha.models.pull import pull
from malha.models.store import ModelStore
from malha.runtime.errors import FailedPrecondition, ResourceExhausted


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
