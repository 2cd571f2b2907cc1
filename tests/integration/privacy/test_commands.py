"""The commands, as a user runs them; one of them killed in the middle."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from integration.cli.program import run_malha
from integration.privacy.people import more_conversations, person, rows
from typer import Typer
from typer.testing import CliRunner

from malha.cli import retention
from malha.cli.erase import erase
from malha.cli.output import explain
from malha.store.database import Database
from malha.store.settings import StoreSettings

app = Typer()
app.command("erase")(erase)
app.add_typer(retention.app, name="retention")
PROGRAM = "import typer; from malha.cli.erase import erase; typer.run(erase)"


@pytest.fixture
def place(store: StoreSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to be in; the database is set as a person would."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MALHA_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("MALHA_DATABASE_URL", store.database_url)
    monkeypatch.setenv("MALHA_DATABASE_OWNER_URL", store.database_owner_url)
    return tmp_path


def run(*arguments: str) -> Any:
    """In a thread's event loop of its own: the command brings one."""
    return CliRunner().invoke(app, [*arguments])


async def in_thread(*arguments: str) -> Any:
    return await asyncio.to_thread(run, *arguments)


async def test_it_says_what_goes_asks_once_and_prints_a_report_that_can_be_checked(database: Database, place: Path) -> None:
    someone = await person(database)
    tenant = f"tenant {someone.tenant}"
    asked = await in_thread("erase", "--customer", "c", "--tenant", tenant)
    assert "add --yes" in explain(asked.exception)[1]
    assert await rows(database, someone.tenant, "customer") == 1
    done = await in_thread("erase", "--customer", "c", "--tenant", tenant, "--yes", "--json")
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert report["counts"]["message"] == report["counts"]["customer"] == 1
    assert f"customer {someone.item}: " in done.stderr
    assert "1 message" in done.stderr
    (place / "report.json").write_text(done.stdout)
    assert (await in_thread("erase", "--verify", "report.json")).stdout.startswith("genuine: customer ")
    (place / "report.json").write_text(done.stdout.replace('"message": 1', '"message": 0'))
    forged = await in_thread("erase", "--verify", "report.json")
    assert explain(forged.exception) == (1, "the report was changed, or another installation signed it")
    again = await in_thread("erase", "--customer", str(someone.item), "--tenant", tenant)
    assert again.exit_code == 0, again.output
    assert "was erased on" in again.stderr
    (place / "spoken.txt").write_text(again.stdout)
    assert (await in_thread("erase", "--verify", "spoken.txt", "--json")).exit_code == 0


async def test_killed_in_the_middle_it_goes_on(database: Database, place: Path) -> None:
    someone = await person(database)
    conversations = sorted([someone.item, *await more_conversations(database, someone, 40)])
    command = [sys.executable, "-c", PROGRAM, "--customer", "c", "--tenant", f"tenant {someone.tenant}", "--yes", "--json"]
    async with database.tenant_tx(someone.tenant) as connection:  # it comes as far as here, and waits
        await connection.execute("SELECT FROM conversation WHERE id = $1 FOR UPDATE", conversations[25])
        process = subprocess.Popen(command, env=dict(os.environ), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        async with asyncio.timeout(60):
            while await rows(database, someone.tenant, "conversation") > 41 - 25:
                await asyncio.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert await rows(database, someone.tenant, "conversation") == 41 - 25
    assert await rows(database, someone.tenant, "customer") == 1
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    report = json.loads(done.stdout)
    assert report["counts"]["conversation"] == len(report["objects"]["conversations"]) == 41
    assert report["counts"]["event"] == 1 + 40 * 2
    assert await rows(database, someone.tenant, "customer") == 0


async def test_a_backup_restored_by_the_program_holds_nothing_of_the_erased(store: StoreSettings, place: Path) -> None:
    async with await Database.connect(store) as database:
        gone, kept = await person(database), await person(database)
    environment = {name: os.environ[name] for name in ("MALHA_DATABASE_URL", "MALHA_DATABASE_OWNER_URL")}
    assert run_malha(place, "backup", "old.backup", **environment).returncode == 0
    done = await in_thread("erase", "--conversation", "call", "--tenant", f"tenant {gone.tenant}", "--yes", "--json")
    assert done.exit_code == 0, done.output
    restored = run_malha(place, "restore", "old.backup", "--replace", **environment)
    assert restored.returncode == 0, restored.stderr
    async with await Database.connect(store) as database:
        for table in ("conversation", "message", "segment", "event", "recording_key"):
            assert await rows(database, gone.tenant, table) == 0, table
            assert await rows(database, kept.tenant, table) == 1, table


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("erase", "--customer", "nobody"), "there is no tenant of this name"),
        (("erase", "--customer", "nobody", "--tenant", "KNOWN"), "there is no such customer"),
        (("erase",), None),
        (("erase", "--customer", "a", "--conversation", "b"), None),
        (("retention", "hold"), None),
        (("retention", "release", "--customer", "c", "--tenant", "KNOWN"), "no legal hold is set on this customer"),
    ],
)
async def test_what_fails_says_why_in_a_line(database: Database, place: Path, arguments: tuple[str, ...], told: str | None) -> None:
    someone = await person(database)
    result = await in_thread(*(argument.replace("KNOWN", f"tenant {someone.tenant}") for argument in arguments))
    if told is None:
        assert result.exit_code == 2
    else:
        assert explain(result.exception)[1] == told


async def test_holds_and_retention(database: Database, place: Path) -> None:
    someone = await person(database)
    tenant = f"tenant {someone.tenant}"
    shown = await in_thread("retention", "set", "--tenant", tenant, "--days", "30", "--recording-days", "7", "--recording", "--json")
    assert json.loads(shown.stdout) == {
        "tenant": tenant,
        "retention_days": 30,
        "recording": {"enabled": True, "retention_days": 7},
        "speakers": {},
    }
    told = await in_thread("retention", "set", "--tenant", tenant, "--recording-days", "0", "--no-recording")
    assert told.stdout == f"{tenant}: conversations are kept 30 days; calls are not recorded; voice prints are kept until erased\n"
    held = await in_thread("retention", "hold", "--customer", "c", "--tenant", tenant, "--reason", "case 12", "--json")
    assert json.loads(held.stdout) == {"kind": "customer", "id": str(someone.item), "held": True}
    assert "case 12" in (await in_thread("retention", "holds", "--tenant", tenant)).stdout
    refused = await in_thread("erase", "--customer", "c", "--tenant", tenant, "--yes")
    assert explain(refused.exception)[0] == 78
    assert "legal hold" in explain(refused.exception)[1]
    ended = await in_thread("retention", "release", "--customer", "c", "--tenant", tenant)
    assert ended.stdout == f"customer {someone.item} is held no more\n"
    swept = await in_thread("retention", "run", "--json")
    assert json.loads(swept.stdout)["tenants"][tenant] == {
        "conversations": 0,
        "customers": 0,
        "recordings": 0,
        "speakers": 0,
        "left_files": 0,
    }
