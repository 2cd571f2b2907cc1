"""``malha bench chaos`` against a server of its own."""

import json
from pathlib import Path

import pytest
from integration.cli.program import run_malha


@pytest.mark.slow
def test_a_long_call_is_resumed_and_short_turns_are_told_whole(tmp_path: Path) -> None:
    arguments = ("--calls", "2", "--rounds", "1", "--every", "3", "--engine", "null", "--talk", "0.4", "--hours", "0.02", "--json")
    done = run_malha(tmp_path, "bench", "chaos", *arguments, seconds=240)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["lost"], report["duplicated"], report["failed"]) == (0, 0, [])
    assert report["utterances"] >= 4
    long_call = report["long_call"]
    assert long_call["lost"] == 0
    assert long_call["durable_events"] >= 5
    assert {way: figures["count"] for way, figures in long_call["resume_ms"].items()} == {
        "edge": 20,
        "live": 20,
        "from_the_first_event": 20,
    }
    assert all(0 < figures["p95"] < 2_000 for figures in long_call["resume_ms"].values())
