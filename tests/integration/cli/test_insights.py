import asyncio
import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from integration.cli.program import run_malha

from fakes.openai_server import FakeOpenAI
from fakes.openai_server_faults import Received
from malha.bench import transcripts
from malha.bench.private_server import Running

Run = Callable[..., subprocess.CompletedProcess[str]]
CALL = Path(transcripts.__file__).parent / "transcripts_text" / "telecom.pt.txt"


def events(done: subprocess.CompletedProcess[str]) -> list[dict]:
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_conversation_is_advised_on_as_if_it_were_live(malha: Run) -> None:
    done = malha("insights", str(CALL), "--language", "pt")
    assert done.returncode == 0, done.stderr
    assert 'risk alert Risco de cancelamento ("quero cancelar o contrato")' in done.stdout
    assert 'rests on customer at 83.0 s: "quero cancelar o contrato"' in done.stdout
    assert "partial summary" in done.stdout
    assert "Promessa de pagamento" in done.stdout
    assert "Concorrente" not in done.stderr
    assert "[CPF]" in done.stdout
    assert "390533" not in done.stdout.replace(" ", "")
    assert "insights on 27 turns, by rules" in done.stderr


def test_json_tells_each_event_with_what_it_rests_on(malha: Run) -> None:
    told = events(malha("insights", str(CALL), "--types", "risk_alert", "--why", "--json"))
    assert [told[0]["event"], told[-1]["event"]] == ["opened", "closed"]
    said = {event["segment_id"]: event["text"] for event in told if event["event"] == "segment"}
    insights = [event for event in told if event["event"] == "insight"]
    assert len(insights) == told[-1]["insights"] >= 3
    assert {insight["type"] for insight in insights} == {"risk_alert"}
    for insight in insights:
        for evidence in insight["evidence"]:
            assert all(part in said[evidence["segment_id"]] for part in evidence["quote"].split(" … "))
        assert 0 < insight["latency_ms"] < 60_000
        assert not insight["degraded"]
    assert {"TOO_LITTLE", "NO_TOPIC_OR_KEYWORD"} & {event["reason"] for event in told if event["event"] == "decision"}


def test_a_rate_paces_it(malha: Run, tmp_path: Path) -> None:
    file = tmp_path / "call.jsonl"
    file.write_text('{"role": "customer", "text": "quero cancelar o contrato", "start": 10, "end": 20}')
    begin = time.monotonic()
    told = events(malha("insights", str(file), "--language", "pt", "--types", "risk_alert", "--rate", "4", "--json"))
    assert time.monotonic() - begin > 20 / 4
    assert [event["type"] for event in told if event["event"] == "insight"] == ["risk_alert"]


def test_what_the_server_refuses_is_one_line(malha: Run) -> None:
    done = malha("insights", str(CALL), "--language", "pt", "--policy", "nonsense")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("malha: there is no such policy: there are call_center, counter")
    assert len(done.stderr.splitlines()) == 1


def test_a_token_nobody_knows_and_a_server_that_is_not_there(server: Running, tmp_path: Path) -> None:
    done = run_malha(tmp_path, "insights", str(CALL), "-l", "pt", MALHA_TARGET=server.grpc, MALHA_TOKEN="wrong")
    assert done.returncode == 1
    assert "this token is not known here" in done.stderr
    done = run_malha(tmp_path, "insights", str(CALL), "-l", "pt", MALHA_TARGET="127.0.0.1:1", MALHA_TOKEN="any")
    assert done.returncode == 1
    assert "no server answers at 127.0.0.1:1" in done.stderr
    done = run_malha(tmp_path, "insights", str(CALL), "-l", "pt", MALHA_TARGET=server.grpc)
    assert done.returncode == 1
    assert "no token" in done.stderr


@pytest.mark.slow
def test_where_no_server_runs_one_is_started(tmp_path: Path) -> None:
    done = run_malha(tmp_path, "insights", str(CALL), MALHA_GRPC_PORT="0")
    assert done.returncode == 0, done.stderr
    assert "taken for pt" in done.stderr
    assert "started one in" in done.stderr
    assert "Risco de cancelamento" in done.stdout


@pytest.mark.slow
def test_bench_insight_measures_rules_a_model_and_the_first_token(tmp_path: Path) -> None:
    saved = tmp_path / "result.json"

    async def run() -> subprocess.CompletedProcess[str]:
        async with FakeOpenAI(reply=_good_answer) as model:
            sizes = ("--calls", "3", "--seconds", "6", "--rate", "16", "--pairs", "10")
            arguments = ("bench", "insight", *sizes, "--chat-url", model.base_url, "--json", "--save", str(saved))
            return await asyncio.to_thread(run_malha, tmp_path, *arguments, seconds=180)

    done = asyncio.run(run())
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    for name in ("rules_ms", "llm_ms", "chat_first_token_added_ms"):
        assert report[name]["p50"] <= report[name]["p95"]
    assert report["rules_ms"]["p50"] > 0
    assert report["rules"]["alerts"] >= 6
    assert report["rules"]["audio_calls"] == 3
    assert report["llm"]["questions"] == sum(report["llm"]["outcomes"].values()) >= 3
    assert report["llm"]["outcomes"].get("model", 0) >= 1
    assert report["chat_first_token"]["pairs"] == 10
    assert json.loads(saved.read_text()) == report


def _good_answer(request: Received) -> str:
    """A summary that rests on the first words of the last thing said; to anything else a sentence."""
    if request.schema is None:
        return "Vamos reiniciar o roteador."
    said = json.loads(request.body["messages"][-1]["content"])["transcript"][-1]
    quote = " ".join(said["text"].split()[:6])
    answer = {"type": "partial_summary", "message": f"O cliente diz que {quote}.", "confidence": 0.9, "evidence": [{"quote": quote}]}
    return json.dumps(answer)
