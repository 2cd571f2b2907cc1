import json
from pathlib import Path

import pytest
from integration.cli.program import run_malha

from malha.bench.chaos import Options
from malha.cli.demo_chaos import run_chaos_demo


@pytest.mark.slow
@pytest.mark.engine("pocketsphinx")
def test_calls_on_screen_outlive_each_of_their_servers(capsys: pytest.CaptureFixture[str]) -> None:
    options = Options(calls=2, rounds=1, every_seconds=5.0, engine="pocketsphinx", stagger_seconds=2.0, dialogue="en")
    assert run_chaos_demo(json=False, options=options) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "4 kills, 0 lost, 0 twice"
    for target in ("PostgreSQL", "edge", "live", "engine worker"):
        assert sum("kill -9 " + target in line for line in lines) == 1
    for target in ("edge", "live"):
        assert any(f"{target}: 2 of 2 calls went on within" in line for line in lines)
    for number in (1, 2):
        assert any(f"call {number}: " in line for line in lines)
    assert sum(word in "\n".join(lines) for word in ("thank", "calling", "internet", "account", "number")) >= 3


@pytest.mark.slow
@pytest.mark.engine("pocketsphinx")
def test_twelve_kills_lose_nothing(tmp_path: Path) -> None:
    done = run_malha(tmp_path, "demo", "--chaos", "--json", seconds=300)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert sum(kill["count"] for kill in report["kills"]) == 12
    assert (report["lost"], report["duplicated"], report["failed"]) == (0, 0, [])
    assert report["utterances"] >= 4 * 7


def test_the_chaos_demo_is_english(tmp_path: Path) -> None:
    done = run_malha(tmp_path, "demo", "--chaos", "--lang", "pt")
    assert done.returncode == 2
    assert "--chaos plays English calls" in done.stderr
