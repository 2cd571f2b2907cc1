"""``malha jobs``, as a program, over a real database."""

import asyncio
import json
import os
import subprocess
import sys
import uuid
from typing import Any

from integration.jobs.test_faults import made

from malha.runtime.settings import RuntimeSettings
from malha.store.database import Database
from malha.store.settings import StoreSettings


async def malha(store: StoreSettings, *arguments: str) -> subprocess.CompletedProcess[str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "malha.cli.main",
        "jobs",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "MALHA_DATABASE_URL": store.database_url, "MALHA_DATABASE_OWNER_URL": store.database_owner_url},
    )
    out, err = await asyncio.wait_for(process.communicate(), 120)
    return subprocess.CompletedProcess(arguments, process.returncode or 0, out.decode(), err.decode())


async def test_jobs_are_listed_shown_and_cancelled(settings: RuntimeSettings, database: Database, store: StoreSettings) -> None:
    job = await made(database, settings.data_dir)
    listed: dict[str, Any] = json.loads((await malha(store, "list", "--json")).stdout)
    assert [(each["id"], each["status"]) for each in listed["jobs"]] == [(job, "queued")]
    assert job in (await malha(store, "list", "--status", "queued")).stdout
    assert json.loads((await malha(store, "cancel", job, "--json")).stdout)["status"] == "cancelled"
    assert "cancelled" in (await malha(store, "show", job)).stdout
    unknown = await malha(store, "show", str(uuid.uuid4()))
    assert unknown.returncode != 0
    assert "no such job" in unknown.stderr
    assert "there are no jobs" in (await malha(store, "list", "--status", "failed")).stderr
