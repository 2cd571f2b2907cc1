import json
from pathlib import Path

import pytest
from integration.cli.program import run_malha

from malha.bench.whisper_weights import build_whisper

SCRIPT = ["obrigada", "pela", "chamada"]


@pytest.mark.slow
@pytest.mark.engine("faster-whisper")
def test_the_portuguese_call_runs_with_a_model_that_is_here(tmp_path: Path) -> None:
    pytest.importorskip("ctranslate2")
    build_whisper(tmp_path / "models" / "whisper" / "small", script=" ".join(SCRIPT))
    done = run_malha(tmp_path, "demo", "--lang", "pt", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["language"], report["engine"]) == ("pt", "faster-whisper")
    assert report["segments"] >= 7
    assert {line["speaker"] for line in report["transcript"]} == {"agent", "customer"}
    assert all(word in SCRIPT for line in report["transcript"] for word in line["text"].lower().split())
    assert 20 < report["duration_seconds"] < 70
    assert report["final_ms"]["p95"] > 0
    assert [replay["language"] for replay in report["replays"]] == ["pt", "es"]
    for replay in report["replays"]:
        assert replay["turns"] >= 24
        assert set(replay["types"]) == {"partial_summary", "next_step", "risk_alert"}
        assert replay["insights"] >= 8
        assert replay["latency_ms"]["p50"] > 0


@pytest.mark.slow
@pytest.mark.engine("pocketsphinx")
def test_the_english_call_is_understood(tmp_path: Path) -> None:
    done = run_malha(tmp_path, "demo")
    assert done.returncode == 0, done.stderr
    agent = [line for line in done.stdout.splitlines() if " agent " in line and line.endswith(" ms")]
    customer = [line for line in done.stdout.splitlines() if " customer " in line and line.endswith(" ms")]
    assert agent
    assert customer
    assert any(" ... " in line for line in agent), "no partial was shown"
    assert "recognised by pocketsphinx" in done.stdout
    assert "after the acoustic end" in done.stdout
    understood = done.stdout.lower()
    assert sum(word in understood for word in ("thank", "calling", "internet", "account", "number", "router", "price", "goodbye")) >= 5
    assert "make demo DEMO_LANG=pt" in done.stdout.splitlines()[-1]
    call, replays = done.stdout.split("recognised by", 1)
    assert "risk alert Risk of cancellation" in call
    assert "partial summary The customer" in call
    assert "next step " in call
    assert "rests on customer at" in call
    assert "want to cancel my contract" in call
    assert " is 472915  amended" in call
    assert 'Risco de cancelamento ("quero cancelar o contrato")' in replays
    assert 'Riesgo de baja ("voy a cancelar la cuenta")' in replays
