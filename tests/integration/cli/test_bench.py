import json
import subprocess
from pathlib import Path

import pytest
from integration.cli.program import run_malha

from malha.bench.private_server import Running
from malha.runtime.standby import STANDBY_SECONDS

LIVE_KEYS = {"sessions", "seconds", "lost", "duplicated", "added_ms", "cpu_ms_per_audio_s", "rss_mb"}
ASR_KEYS = {"engine", "sessions", "rtf", "final_ms", "wer", "files"}


def _report(done: subprocess.CompletedProcess[str]) -> dict:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_live_measures_calls_through_a_server_of_its_own(tmp_path: Path) -> None:
    saved = tmp_path / "result.json"
    arguments = ("bench", "live", "--sessions", "6", "--seconds", "4", "--json", "--save", str(saved))
    report = _report(run_malha(tmp_path, *arguments))
    assert report.keys() >= LIVE_KEYS
    assert (report["sessions"], report["lost"], report["duplicated"], report["errors"]) == (6, 0, 0, {})
    assert report["added_ms"].keys() == {"p50", "p95", "p99"}
    assert 0 < report["added_ms"]["p50"] <= report["added_ms"]["p99"]
    assert set(report["cpu_ms_per_audio_s"]) >= {"edge", "live"}
    assert all(report["cpu_ms_per_audio_s"][name] > 0 for name in ("edge", "live"))
    assert all(report["rss_mb"][name] > 20 for name in ("edge", "live"))
    assert report["finals"] > 0
    assert report["references"]["segments"] > 0
    assert report["engine"] == "null"
    assert report["unplaced"] == 0
    assert report["settled_seconds"] >= STANDBY_SECONDS
    assert report["command"] == f"malha bench live --sessions 6 --seconds 4 --json --save {saved}"
    assert json.loads(saved.read_text()) == report


def test_live_measures_a_running_server_as_stereo_at_a_faster_pace(server: Running, tmp_path: Path) -> None:
    pids = ("--edge-pid", str(server.pids["edge"]), "--live-pid", str(server.pids["live"]))
    arguments = ("--url", server.websocket, "--token", server.token, *pids, "--stereo", "--pace-factor", "5")
    measured = run_malha(
        tmp_path, "bench", "live", "--sessions", "3", "--seconds", "3", "--json", *arguments, MALHA_TEST_DATA=str(tmp_path)
    )
    report = _report(measured)
    assert report["audio"]["source"] == "espeak-ng"  # there are no recordings in that folder
    assert (report["lost"], report["duplicated"], report["channels"]) == (0, 0, 2)
    assert report["audio_seconds"] == pytest.approx(3 * 3 * 5, rel=0.05)
    assert report["rss_over_time"]
    assert server.token not in json.dumps(report)


def test_live_without_process_ids_measures_no_cpu(server: Running, tmp_path: Path) -> None:
    arguments = ("--url", server.websocket, "--token", server.token)
    done = run_malha(tmp_path, "bench", "live", "--curve", "1,2@200", "--seconds", "2", *arguments)
    assert done.returncode == 0, done.stderr
    first, second = (
        line.split() for line in done.stdout.splitlines() if line.split()[:4] in (["1", "100", "0", "0"], ["2", "200", "0", "0"])
    )
    assert len(first) == len(second) == 13
    assert first[7:11] == ["-"] * 4  # CPU and memory of processes nobody named


def test_live_with_a_wrong_token_is_one_line(server: Running, tmp_path: Path) -> None:
    done = run_malha(tmp_path, "bench", "live", "--sessions", "2", "--seconds", "2", "--url", server.websocket, "--token", "wrong")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("malha: cannot open 2 sessions")


def test_asr_measures_recordings_with_and_without_a_true_text(server: Running, speech: Path, tmp_path: Path) -> None:
    pytest.importorskip("jiwer")
    silent = speech.with_name("other.wav")
    silent.write_bytes(speech.read_bytes())
    speech.with_suffix(".txt").write_text("Good morning. I would like to pay my bill.")
    arguments = ("bench", "asr", str(speech), str(silent), "--sessions", "2", "--target", server.grpc, "--token", server.token, "--json")
    report = _report(run_malha(tmp_path, *arguments))
    assert report.keys() >= ASR_KEYS
    assert (report["engine"], report["sessions"], report["hangover_ms"]) == ("null", 2, 300)
    assert report["wer"] >= 1.0  # the null engine understands nothing
    assert [file["file"] for file in report["files"]] == ["speech.wav", "other.wav"]
    assert report["files"][1]["wer"] is None
    assert report["final_ms"]["p50"] >= 200  # the hangover is in it, less what the synthesiser's own silence gives
    assert 0 < report["rtf"] < 1
