"""``malha recordings`` as a user runs it."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from integration.recording.conftest import Conversation, Make, play, read
from typer.testing import CliRunner

from malha.cli import recordings
from malha.cli.output import explain
from malha.store.settings import StoreSettings


@pytest.fixture
def place(store: StoreSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MALHA_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("MALHA_DATABASE_URL", store.database_url)
    monkeypatch.setenv("MALHA_DATABASE_OWNER_URL", store.database_owner_url)
    return tmp_path


async def run(*arguments: str) -> Any:
    """In a thread: the command brings an event loop of its own."""
    return await asyncio.to_thread(CliRunner().invoke, recordings.app, [*arguments])


async def test_listed_and_exported(conversation: Conversation, make: Make, place: Path) -> None:
    whose = ("--tenant", f"tenant-{conversation.tenant}")
    assert (await run("list", *whose)).stderr == "nothing is recorded: malha retention set --recording\n"
    made = await make()
    recorder = await conversation.record(made)
    play(recorder, {0: 400}, 0, 3)
    recorder.close()
    await made.close()
    listed = await run("list", *whose, "--json")
    (found,) = json.loads(listed.stdout)["recordings"]
    assert (found["conversation"], found["seconds"], found["files"]) == (str(conversation.id), 3.0, 1)
    assert "  3 s  1 channel" in (await run("list", *whose)).stdout
    done = await run("export", "--conversation", "call", *whose, "--json")
    assert done.exit_code == 0, done.output
    (path,) = json.loads(done.stdout)["files"]
    assert read(Path(path)).shape[1] == 1
    assert await conversation.value("SELECT count(*) FROM audit WHERE action = 'recording.play' AND actor = 'cli'") == 1
    missing = await run("export", "--conversation", "nothing", *whose)
    assert explain(missing.exception)[1] == "there is no such conversation"
