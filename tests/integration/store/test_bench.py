"""``malha bench store`` as a user runs it."""

import json
from pathlib import Path

from integration.cli.program import run_malha


def test_it_measures_on_a_database_of_its_own(tmp_path: Path) -> None:
    options = ("--calls", "20", "--seconds", "1", "--finals", "50")
    done = run_malha(tmp_path, "bench", "store", *options, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["finals"] == 50
    assert 0 < report["commit_ms"]["p50"] <= report["commit_ms"]["p99"]
    assert report["rows_per_s"] > 0
    assert not (tmp_path / "data" / "postgres").exists()
