"""The commands that import, on a real database."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer import Typer
from typer.testing import CliRunner

from malha.cli import import_conversations
from malha.cli.import_state import import_state
from malha.cli.output import explain
from malha.store.settings import StoreSettings

app = Typer()
app.add_typer(import_conversations.app, name="import")
app.command("import-state")(import_state)


@pytest.fixture
def place(store: StoreSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to be in; the database is set as a person would."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MALHA_DATABASE_URL", store.database_url)
    monkeypatch.setenv("MALHA_DATABASE_OWNER_URL", store.database_owner_url)
    return tmp_path


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, [*arguments])


def test_conversations_then_their_state_then_undone(place: Path) -> None:
    (place / "old.jsonl").write_text(
        '{"id": "c", "messages": [{"sender_type": "agent", "text": "Oi"}]}\n{"id": "d", "channel": "secret"}\n'
    )
    result = run("import", "conversations", "old.jsonl", "--json")
    assert result.exit_code == 1, result.output
    told = json.loads(result.stdout)
    assert (told["conversations"], told["messages"], told["bad"]) == ({"added": 1, "there": 0}, {"added": 1, "there": 0}, 1)
    assert told["problems"][0].startswith("line 2: channel: ")
    (place / "old.jsonl").write_text('{"id": "c"}\n')
    again = run("import", "conversations", "old.jsonl")
    assert (again.exit_code, again.stdout.splitlines()[1]) == (0, "0 conversations added, 1 were there")

    (place / "states.jsonl").write_text('{"conversation": "c", "key": "k", "value": {"n": 1}}\n')
    done = run("import-state", "states.jsonl", "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert (told["added"], told["replaced"]) == (1, 0)
    undone = run("import-state", "--undo", told["receipt"])
    assert (undone.exit_code, undone.stdout) == (0, "0 restored, 1 removed, 0 left because they changed since\n")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("import", "conversations", "nothing.jsonl"), "nothing.jsonl: No such file or directory"),
        (("import", "conversations", "x", "--tenant", "nobody"), "there is no tenant of this name"),
        (
            ("import", "conversations", "postgresql://u:secret@127.0.0.1:1/x"),
            "the database to import from cannot be opened (ConnectionRefusedError)",
        ),
        (("import-state", "nothing.jsonl"), "nothing.jsonl: No such file or directory"),
    ],
)
def test_what_fails_says_why_in_a_line(place: Path, arguments: tuple[str, ...], told: str) -> None:
    result = run(*arguments)
    assert isinstance(result.exception, Exception)
    assert explain(result.exception)[1] == told


def test_help_shows_the_format(place: Path) -> None:
    assert '"sender_type": "customer"' in run("import", "conversations", "--help").stdout
