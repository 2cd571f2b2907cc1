"""``malha bench synthesize`` on a server of its own."""

import json
from pathlib import Path

import pytest
from integration.cli.program import run_malha

pytestmark = pytest.mark.engine("espeak")


def test_it_measures_first_chunks_and_paces(tmp_path: Path) -> None:
    done = run_malha(tmp_path, "bench", "synthesize", "--requests", "4", "--seconds", "8", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["engine"], report["requests"]) == ("espeak", 4)
    assert 0 < report["first_chunk_ms"]["p50"] <= report["first_chunk_ms"]["p99"]
    assert set(report["first_chunk_ms_by_format"]) == {"pcm", "wav"}
    assert set(report["formats"]) == {"pcm", "wav", "mulaw", "ogg", "mp3"}
    for kind, figures in report["formats"].items():
        assert 0 < figures["rtf"] < 10, kind
        assert figures["seconds"] == pytest.approx(8, abs=5)
    assert report["rtf"] == report["formats"]["pcm"]["rtf"]
    rates = {kind: figures["kilobits_per_second"] for kind, figures in report["formats"].items()}
    assert rates["pcm"] == pytest.approx(352.8, abs=0.1)
    assert rates["mulaw"] == pytest.approx(64, rel=0.05)
    assert rates["ogg"] < 45
    assert rates["mp3"] == pytest.approx(64, rel=0.1)
