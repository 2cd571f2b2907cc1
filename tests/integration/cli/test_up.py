import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from integration.cli.program import run_malha

from malha.bench.private_server import first_line, private_server
from malha.runtime.errors import Unavailable

PORTS = ("--port", "0", "--grpc-port", "0", "--admin-port", "0")


@contextmanager
def _up(directory: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MALHA_")}
    settings = {"MALHA_DATA_DIR": str(directory / "data"), "MALHA_TRANSCRIBE_ENGINE": "null", "MALHA_DRAIN_SECONDS": "2"}
    command = [sys.executable, "-m", "malha.cli.main", "up", *PORTS, *arguments]
    with subprocess.Popen(command, env=kept | settings, cwd=directory, stdout=subprocess.PIPE, stdin=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def _told(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    return json.loads(first_line(process.stdout, 60))


def _health(told: dict[str, Any]) -> httpx.Response:
    token = Path(told["token_file"]).read_text().strip()
    return httpx.get(f"{told['url']}/api/v1/health", headers={"Authorization": f"Bearer {token}"}, timeout=10, trust_env=False)


def _gone(pids: dict[str, int]) -> bool:
    return all(map(_ended, pids.values()))


def _ended(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_up_tells_where_it_is_and_ctrl_c_stops_all(tmp_path: Path) -> None:
    with _up(tmp_path) as process:
        text = ""
        while "Ctrl-C" not in text:
            line = process.stdout.readline().decode()
            assert line, text
            text += line
        assert "http://127.0.0.1:" in text
        assert str(tmp_path / "data" / "token") in text
        command = next(line.strip() for line in text.splitlines() if line.strip().startswith("curl"))
        spoken = subprocess.run(
            ["sh", "-c", command.replace("curl", "curl -sSf", 1)], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
        )
        assert spoken.returncode == 0, spoken.stderr
        assert (tmp_path / "hello.wav").read_bytes()[:4] == b"RIFF"
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    assert (tmp_path / "data" / "token").stat().st_mode & 0o777 == 0o600
    assert "serving" in (tmp_path / "data" / "logs" / "up.log").read_text()
    token = (tmp_path / "data" / "token").read_text().strip()
    assert token not in (tmp_path / "data" / "logs" / "up.log").read_text()


def test_a_child_that_dies_is_started_again_on_its_ports(tmp_path: Path) -> None:
    with _up(tmp_path, "--json") as process:
        told = _told(process)
        os.kill(told["pids"]["live"], signal.SIGKILL)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            time.sleep(0.2)
            if (
                _health(told).status_code == 200
                and "service_serving" in (tmp_path / "data" / "logs" / "up.log").read_text().split("child_lost")[-1]
            ):
                break
        else:
            pytest.fail("live did not come back")
        process.terminate()
        assert process.wait(30) == 0


@pytest.mark.parametrize("end", ["eof", "kill"])
def test_no_server_outlives_the_one_who_started_it(tmp_path: Path, end: str) -> None:
    with _up(tmp_path, "--json", "--until-eof") as process:
        told = _told(process)
        assert not _gone(told["pids"])
        if end == "eof":
            process.stdin.close()
            assert process.wait(30) == 0
        else:
            process.kill()
            process.wait(10)
        deadline = time.monotonic() + 30
        while not _gone(told["pids"]):
            assert time.monotonic() < deadline, "children are left"
            time.sleep(0.1)


@pytest.mark.parametrize("option", ["--port", "--grpc-port", "--admin-port"])
def test_a_taken_port_is_one_line(tmp_path: Path, option: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ports = [*PORTS, option, port]
        done = run_malha(tmp_path, "up", *ports, MALHA_TRANSCRIBE_ENGINE="null")
    assert done.returncode == 78
    assert done.stderr.splitlines()[-1].startswith("malha: ")
    assert len(done.stderr.splitlines()) == 1
    assert port in done.stderr


def test_an_address_others_reach_needs_insecure(tmp_path: Path) -> None:
    done = run_malha(tmp_path, "up", *PORTS, "--host", "0.0.0.0", MALHA_TRANSCRIBE_ENGINE="null")
    assert done.returncode == 78
    assert "--insecure" in done.stderr


def test_a_private_server_that_cannot_start_says_why() -> None:
    with pytest.raises(Unavailable, match="no engine 'psychic'"), private_server({"MALHA_TRANSCRIBE_ENGINE": "psychic"}):
        pass


def test_whoever_stops_reading_what_up_tells_ends_no_server(tmp_path: Path) -> None:
    log = tmp_path / "data" / "logs" / "up.log"
    with _up(tmp_path) as process:
        first_line(process.stdout, 60)
        process.stdout.close()
        live = next(event["pid"] for event in map(json.loads, log.read_text().splitlines()) if event.get("child") == "live")
        os.kill(live, signal.SIGKILL)
        deadline = time.monotonic() + 60
        while '"child_ready"' not in log.read_text().split("child_lost")[-1]:
            assert process.poll() is None, "all was stopped"
            assert time.monotonic() < deadline, "live did not come back"
            time.sleep(0.1)
        process.terminate()
        assert process.wait(30) == 0
