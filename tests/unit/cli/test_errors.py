import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from malha.cli.output import explain
from malha.runtime.errors import FailedPrecondition, NotFound, Unavailable
from malha.runtime.settings import RuntimeSettings
from malha.sdk import QuotaExceeded

EXIT_USAGE, EXIT_FAILURE, EXIT_CONFIGURATION = 2, 1, 78


def _run(tmp_path: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MALHA_")}
    places = {"MALHA_DATA_DIR": str(tmp_path / "data"), "MALHA_MODELS_DIR": str(tmp_path / "models")}
    command = [sys.executable, "-m", "malha.cli.main", *arguments]
    return subprocess.run(
        command,
        env=kept | places | environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_standard_streams_that_are_closed_are_as_ones_nobody_is_at(tmp_path: Path, closed: str) -> None:
    shell = ["sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, "-m", "malha.cli.main", "say", "-", "-l", "en"]
    environment = {**os.environ, "MALHA_DATA_DIR": str(tmp_path), "MALHA_TOKEN": "t", "MALHA_GRPC_PORT": "1"}
    done = subprocess.run(shell, env=environment, capture_output=True, text=True, check=False, timeout=60, input="")
    assert done.returncode == EXIT_FAILURE
    assert done.stdout == ""
    assert done.stderr == "" if "2>" in closed else done.stderr.startswith("malha: ") and "defect" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "environment", "code", "words"),
    [
        (["transcribe", "{audio}"], {}, EXIT_FAILURE, ["no token", "malha up"]),
        (
            ["transcribe", "{audio}", "--target", "127.0.0.1:1"],
            {"MALHA_TOKEN": "t"},
            EXIT_FAILURE,
            ["no server answers at 127.0.0.1:1", "malha up"],
        ),
        (["say", "hello", "--target", "127.0.0.1:1", "-l", "en"], {"MALHA_TOKEN": "t"}, EXIT_FAILURE, ["no server answers", "malha up"]),
        (["say", "hello", "-l", "en"], {"MALHA_TOKEN": "t", "MALHA_GRPC_PORT": "2"}, EXIT_FAILURE, ["no server answers at 127.0.0.1:2"]),
        (["say", "hello"], {}, EXIT_FAILURE, ["--language"]),
        (["say", " ", "-l", "en"], {}, EXIT_FAILURE, ["nothing to say"]),
        (["call", "{text}"], {"MALHA_TOKEN": "t"}, EXIT_FAILURE, ["not readable audio"]),
        (["models", "path", "whisper/small"], {}, EXIT_FAILURE, ["malha models pull whisper/small"]),
        (["models", "pull", "whisper/enormous"], {}, EXIT_FAILURE, ["whisper/enormous", "whisper/small"]),
        (["models", "pull", "whisper/tiny"], {"HF_ENDPOINT": "http://127.0.0.1:1"}, EXIT_FAILURE, ["127.0.0.1:1"]),
        (["models", "pull"], {"HF_ENDPOINT": "mirror.example"}, EXIT_CONFIGURATION, ["HF_ENDPOINT", "https://"]),
        (["demo", "--lang", "pt"], {}, EXIT_CONFIGURATION, ["--yes"]),
        (["demo", "--lang", "pt", "--yes"], {"HF_ENDPOINT": "http://127.0.0.1:1"}, EXIT_FAILURE, ["127.0.0.1:1"]),
        (["serve", "telepathy"], {}, EXIT_CONFIGURATION, ["telepathy", "transcribe"]),
        (["serve", "transcribe"], {"MALHA_GRPC_PORT": "many"}, EXIT_CONFIGURATION, ["MALHA_GRPC_PORT", "integer"]),
        (["bench", "live", "--curve", "10,x"], {}, EXIT_USAGE, ["'x'", "CALLS@CHUNK_MS"]),
        (["bench", "asr", "missing.wav"], {}, EXIT_USAGE, ["missing.wav"]),
        (["transcribe", "missing.wav"], {}, EXIT_USAGE, ["missing.wav"]),
        (["demo", "--lang", "de"], {}, EXIT_USAGE, ["de"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_failures_are_a_line_that_says_what_to_do(
    tmp_path: Path, arguments: list[str], environment: dict[str, str], code: int, words: list[str]
) -> None:
    audio, text = tmp_path / "call.wav", tmp_path / "notes.txt"
    audio.write_bytes(b"RIFF....WAVE")
    text.write_text("no audio at all")
    done = _run(tmp_path, *(argument.format(audio=audio, text=text) for argument in arguments), **environment)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    if code != EXIT_USAGE:
        assert done.stderr.strip().splitlines()[-1].startswith("malha: ")
    for word in words:
        assert word in done.stderr.splitlines()[-1], done.stderr


def test_the_program_finds_the_token_where_env_says(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "token").write_text("t\n")
    (tmp_path / ".env").write_text("MALHA_DATA_DIR=kept\nMALHA_GRPC_PORT=2\n")
    done = _run(tmp_path, "say", "hello", "-l", "en", MALHA_DATA_DIR="")
    assert "no server answers at 127.0.0.1:2" in done.stderr


def test_settings_that_are_no_utf8_are_told(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes("# configuração\n".encode("latin-1"))
    done = _run(tmp_path, "serve", "transcribe")
    assert (done.returncode, done.stderr) == (EXIT_CONFIGURATION, "malha: .env is no UTF-8 text: save it as UTF-8\n")


def test_what_a_server_logs_is_json(tmp_path: Path) -> None:
    settings = {"MALHA_HOST": "192.0.2.1", "MALHA_INSECURE": "true", "MALHA_API_TOKENS": "t", "MALHA_TRANSCRIBE_ENGINE": "null"}
    *logged, last = _run(tmp_path, "serve", "transcribe", **settings).stderr.splitlines()
    assert [json.loads(line)["event"] for line in logged] == ["process_started", "process_stopped"]
    assert last.startswith("malha: port 50051 on 192.0.2.1 cannot be had")


def test_the_kind_of_error_decides_the_exit_code() -> None:
    assert explain(FailedPrecondition("set it up")) == (EXIT_CONFIGURATION, "set it up")
    assert explain(NotFound("nowhere")) == (EXIT_FAILURE, "nowhere")
    assert explain(Unavailable("away")) == (EXIT_FAILURE, "away")
    assert explain(QuotaExceeded("too much")) == (EXIT_FAILURE, "too much")
    assert explain(FileNotFoundError(2, "No such file or directory", "x.wav")) == (EXIT_FAILURE, "x.wav: No such file or directory")


def test_a_wrong_setting_is_named_without_its_value() -> None:
    with pytest.raises(ValidationError) as raised:
        RuntimeSettings(_env_file=None, grpc_port="secret", admin_port=70_000)
    code, message = explain(raised.value)
    assert code == EXIT_CONFIGURATION
    assert "MALHA_GRPC_PORT" in message
    assert "MALHA_ADMIN_PORT" in message
    assert "secret" not in message


def test_a_defect_says_where_it_was_raised() -> None:
    def broken() -> None:
        raise LookupError("what a user said")

    with pytest.raises(LookupError) as raised:
        broken()
    code, message = explain(raised.value)
    assert code == EXIT_FAILURE
    assert "LookupError at test_errors.py:" in message
    assert "what a user said" not in message
