import subprocess
import sys
from collections.abc import Iterator

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from malha.cli.main import app

HEAVY = ("grpc", "numpy", "av", "rich", "pydantic", "httpx", "uvloop", "malha.sdk", "malha.api", "malha.runtime.settings")


def _commands() -> Iterator[list[str]]:
    def walk(command: object, path: list[str]) -> Iterator[list[str]]:
        for name, child in getattr(command, "commands", {}).items():
            yield [*path, name]
            yield from walk(child, [*path, name])

    yield from walk(get_command(app), [])


COMMANDS = list(_commands())
GROUPS = {
    "models": {"list", "pull", "path", "verify"},
    "bench": {"live", "asr", "store", "chaos", "pii", "insight", "synthesize", "ocr", "diarize", "batching"},
    "db": {"upgrade", "current", "check", "import-state"},
    "token": {"create", "list", "revoke"},
    "tenant": {"list", "quota", "budget"},
    "import": {"conversations"},
    "recordings": {"list", "export"},
    "retention": {"set", "run", "hold", "release", "holds"},
    "jobs": {"list", "show", "cancel"},
    "speakers": {"enroll", "list", "delete"},
}


def test_the_commands_are_those_promised() -> None:
    programs = {"up", "serve", "serve llm", "demo", "call", "transcribe", "insights", "say", "backup", "restore", "erase", "version"}
    programs |= {"licences", "ocr", "smoke-test", "diarize"}
    assert {command[0] for command in COMMANDS} == programs | GROUPS.keys()
    for group, commands in GROUPS.items():
        assert {command[1] for command in COMMANDS if command[0] == group and len(command) == 2} == commands


@pytest.mark.parametrize("command", [command for command in COMMANDS if command[0] not in GROUPS or len(command) == 2], ids=" ".join)
def test_every_command_explains_itself_with_examples(command: list[str]) -> None:
    result = CliRunner().invoke(app, [*command, "--help"])
    assert result.exit_code == 0, result.output
    assert "Examples:" in result.output
    assert f"malha {' '.join(command)}" in result.output.split("Examples:")[1]
    if command != ["serve"]:
        assert "--json" in result.output


def test_help_loads_nothing_heavy() -> None:
    program = f"import malha.cli.main, sys; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
